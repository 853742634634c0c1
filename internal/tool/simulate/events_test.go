package simulate

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
)

func deploy(s *Scenario) {
	s.Events = []Event{{At: 10 * time.Second, Restart: &Restart{Servers: 3, Parallel: 1}}}
}

// A drain closes sessions evenly over its spread: no second has more than 1.2 times
// the mean, and each session is closed once per backend.
func TestDrainIsEven(t *testing.T) {
	s := scenario(3000, 3)
	s.Duration = 10 * time.Minute
	s.Servers.Capacity = 1000
	deploy(s)
	r := run(t, s, nil)
	most := 0
	for _, second := range r.Series[:50] { // the first of three
		most = max(most, second.Closes)
	}
	if mean := 1000.0 / 20; float64(most) > 1.2*mean || r.Missing > 0 || r.Closes < 3000 {
		t.Errorf("%d closes in a second, %d in all, %d clients missing; want %.0f a second", most, r.Closes, r.Missing, mean)
	}
}

func TestTimeoutZeroClosesAllAtOnce(t *testing.T) {
	s := scenario(3000, 3)
	s.Pools[0].Drain = drain.Plan{}
	deploy(s)
	if r := run(t, s, nil); r.PeakCloses < 1000 {
		t.Errorf("%d closes in the worst second, want all 1000 of a backend", r.PeakCloses)
	}
}

// If sessions are moved, no client notices a deploy.
func TestReattachOnDrain(t *testing.T) {
	s := scenario(3000, 3)
	s.Pools[0].Reattach = session.Reattach{Drain: true, Timeout: 10 * time.Second}
	s.Duration = 10 * time.Minute
	deploy(s)
	r := run(t, s, func(w *world) {
		if w.clientsByState[connected] != 3000 {
			t.Fatalf("%d clients are connected after %v", w.clientsByState[connected], w.now)
		}
	})
	if r.Closes != 0 || r.Moved < 3000 || r.AllBack != 0 {
		t.Errorf("%d closes, %d moves, all back after %v", r.Closes, r.Moved, r.AllBack)
	}
}

func TestReattachOnLoss(t *testing.T) {
	s := scenario(300, 3)
	s.Pools[0].Reattach = session.Reattach{Loss: true, Timeout: 10 * time.Second}
	s.Events = []Event{{At: 10 * time.Second, Kill: &Kill{Servers: 1, Back: never}}}
	if r := run(t, s, nil); r.Closes != 0 || r.Moved != 100 || r.NotMoved != 0 {
		t.Errorf("%d closes, %d moved, %d not", r.Closes, r.Moved, r.NotMoved)
	}
	// If no server can take them, they are closed when their time is over.
	s.Events[0].Kill.Servers = 3
	r := run(t, s, func(w *world) {
		if w.now < 20*time.Second && w.clientsByState[connected] != 300 {
			t.Fatalf("%d clients are connected after %v", w.clientsByState[connected], w.now)
		}
	})
	if r.Closes != 300 || r.Missing != 300 || r.NotMoved != 0 {
		t.Errorf("%d closes, %d missing, want all 300", r.Closes, r.Missing)
	}
	// None is closed if the servers are back within that time.
	s.Events[0].Kill.Back = 0
	if r := run(t, s, nil); r.Closes != 0 || r.Moved != 300 {
		t.Errorf("%d closes, %d moved", r.Closes, r.Moved)
	}
	// Servers that didn't answer have a lower rate at first.
	s.Pools[0].Admit = &ratelimit.Options{Rate: 40, Burst: 5, Queue: 100, QueueTimeout: time.Minute}
	s.Pools[0].Reattach.Timeout = 30 * time.Second
	if r := run(t, s, nil); r.Closes != 0 || r.Moved != 300 || r.SessionsMin == 0 {
		t.Errorf("%d closes, %d moved, %d sessions at least", r.Closes, r.Moved, r.SessionsMin)
	}
}

// In a pool with a rate, moves wait for tokens as handshakes do.
func TestReattachUnderAdmission(t *testing.T) {
	s := scenario(300, 3)
	s.Pools[0].Reattach = session.Reattach{Loss: true, Timeout: 20 * time.Second}
	s.Pools[0].Admit = &ratelimit.Options{Rate: 5, Burst: 5, Queue: 100, QueueTimeout: time.Minute}
	s.Events = []Event{{At: 10 * time.Second, Kill: &Kill{Servers: 1, Back: never}}}
	r := run(t, s, nil)
	if r.Closes != 0 || r.Moved != 100 || r.Peak > 10 {
		t.Errorf("%d closes, %d moved, %d handshakes in a second", r.Closes, r.Moved, r.Peak)
	}
	// A session that would have to wait too long is closed at once.
	s.Pools[0].Reattach.Timeout = 5 * time.Second
	if r := run(t, s, nil); r.Moved < 50 || r.Moved > 60 || r.PeakCloses != 100-r.Moved || r.Missing > 0 {
		t.Errorf("%d moved, %d closed at once, %d missing", r.Moved, r.PeakCloses, r.Missing)
	}
}

// Overloaded servers are killed, and their sessions come back as well, so the pool
// doesn't recover. With a rate, nothing of that happens.
func TestHerd(t *testing.T) {
	s := scenario(1200, 6)
	s.Duration = 6 * time.Minute
	s.Servers.Capacity, s.Servers.Backlog, s.Servers.Slowdown = 4, 20, 3
	s.Servers.HangWait, s.Servers.HangFor = 2*time.Second, 5*time.Second
	s.Clients[0].Timeout = 5 * time.Minute
	s.Events = []Event{{At: 10 * time.Second, Kill: &Kill{Servers: 3, Back: 0}}}
	if herd := run(t, s, nil); herd.Crashes == 0 || herd.Closes <= 600 || herd.Missing == 0 {
		t.Errorf("%d crashes, %d closes, %d missing: there is no herd", herd.Crashes, herd.Closes, herd.Missing)
	}
	s.Pools[0].Admit = &ratelimit.Options{Rate: 2, Burst: 2, Queue: 1200, QueueTimeout: 5 * time.Minute}
	if calm := run(t, s, nil); calm.Crashes > 0 || calm.Closes != 600 || calm.Missing > 0 {
		t.Errorf("%d crashes, %d closes, %d missing; want but those 600 closes", calm.Crashes, calm.Closes, calm.Missing)
	}
}

// A server that is added gets none of the existing sessions: that is what rebalancing
// is for.
func TestAdded(t *testing.T) {
	s := scenario(1000, 2)
	s.Events = []Event{{At: 10 * time.Second, Add: 1}}
	if r := run(t, s, nil); r.SessionsMin != 0 || r.SessionsMax != 500 || r.Closes != 0 {
		t.Errorf("%d to %d sessions, %d closes", r.SessionsMin, r.SessionsMax, r.Closes)
	}
	// It gets all sessions that a death sets free, as far as the algorithm gives
	// them to a newcomer.
	s.Events = append(s.Events, Event{At: 20 * time.Second, Kill: &Kill{Servers: 1, Back: never}})
	if r := run(t, s, nil); r.SessionsMin < 300 || r.Missing > 0 {
		t.Errorf("%d to %d sessions, %d missing", r.SessionsMin, r.SessionsMax, r.Missing)
	}
}

// Rebalancing gives a new server its fair share at its rate, and moves no session
// unnecessarily.
func TestRebalance(t *testing.T) {
	for name, moved := range map[string]bool{"moved": true, "closed": false} {
		t.Run(name, func(t *testing.T) {
			s := scenario(3000, 3)
			s.Duration = 4 * time.Minute
			p := &s.Pools[0]
			p.Rebalance = &Rebalance{Above: 0.1, Rate: 5}
			p.Reattach = session.Reattach{Rebalance: moved, Timeout: 10 * time.Second}
			s.Events = []Event{{At: 10 * time.Second, Add: 1}}
			// 250 of each of three, at 5 a second.
			due, most := 10+250/5, 0
			r := run(t, s, nil)
			for i, second := range r.Series {
				if i < due {
					most = max(most, second.Closes)
				} else if i > due+10 && second.SessionsMin < 675 {
					t.Fatalf("the emptiest has %d sessions %d s after it joined", second.SessionsMin, i-10)
				}
			}
			given := r.Moved
			if !moved {
				given = r.Closes
			}
			if given < 740 || given > 760 || r.SessionsMin < 740 || r.SessionsMax > 760 || r.Missing > 0 {
				t.Errorf("%d sessions given away, there are %d to %d, %d missing", given, r.SessionsMin, r.SessionsMax, r.Missing)
			}
			if moved && r.Closes > 0 || most > 3*5+5 {
				t.Errorf("%d closes, %d in a second", r.Closes, most)
			}
		})
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, scenario(10, 1), 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s := scenario(10, 1)
	s.Pools[0].Balance = "dice"
	if _, err := Run(context.Background(), s, 0, 0); err == nil {
		t.Error("an unknown balance is not an error")
	}
}
