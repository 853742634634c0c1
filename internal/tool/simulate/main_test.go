package simulate

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scenario is a small one, in which nothing happens.
func scenario(sessions, servers int) *Scenario {
	return &Scenario{
		Name: "test", Seed: 1, Duration: 2 * time.Minute, Sessions: sessions,
		RoundTrip: 50 * time.Millisecond, Connect: 5 * time.Second, Handshake: 10 * time.Second,
		Servers: Servers{Count: servers, Capacity: 50, Latency: 20 * time.Millisecond, Backlog: 200, Slowdown: 1, Restart: 5 * time.Second},
		Pools:   []Pool{{Name: "plain", MaxFails: 3, FailTimeout: 10 * time.Second, Drain: drain.Plan{Timeout: 30 * time.Second, Spread: 20 * time.Second}}},
		Clients: []Clients{{Name: "fixed", Delay: time.Second, Most: time.Second, Factor: 1, Timeout: 20 * time.Second}},
	}
}

// run makes a world and runs it to its end; look is called after each event.
func run(t testing.TB, s *Scenario, look func(w *world)) *Result {
	t.Helper()
	w, err := newWorld(s, &s.Pools[0], &s.Clients[0])
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, ok := w.next(s.Duration)
		if !ok {
			return w.meter.finish(w)
		}
		w.handle(e)
		if look != nil {
			look(w)
		}
	}
}
