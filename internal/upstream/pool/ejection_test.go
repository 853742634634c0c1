package pool

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// step is one handshake of an ejection's history.
type step struct {
	client, path string // of one that was broken off
	refused      bool
	opened       string        // the path of one that opened a session
	after        time.Duration // that passes before
}

func (s step) play(b *Backend) {
	time.Sleep(s.after)
	switch {
	case s.refused:
		b.ConnectFailed("refused")
	case s.opened != "":
		b.SessionOpened([]byte(s.opened))
	case s.client != "":
		b.HandshakeFailed(netip.MustParseAddr(s.client), []byte(s.path), "broken")
	}
}

// broken returns broken handshakes of the clients 10.0.0.1 to n, on one path or on
// a path for each.
func broken(n int, path string) (steps []step) {
	for i := range n {
		at := path
		if path == "" {
			at = fmt.Sprintf("/room/%d", i)
		}
		steps = append(steps, step{client: fmt.Sprintf("10.0.0.%d", i+1), path: at})
	}
	return steps
}

// Nothing that a single client or path can cause ejects a backend.
func TestWhatEjects(t *testing.T) {
	one := func(s step, n int) (steps []step) {
		for range n {
			steps = append(steps, s)
		}
		return steps
	}
	join := func(all ...[]step) (steps []step) {
		for _, s := range all {
			steps = append(steps, s...)
		}
		return steps
	}
	refused, opened := step{refused: true}, step{opened: "/ws"}
	stranger := step{client: "10.0.0.1", path: "/wrong"}
	wait := step{after: 31 * time.Second}
	for _, c := range []struct {
		name     string
		maxFails int
		steps    []step
		want     Availability
	}{
		{"refused connections", 3, one(refused, 3), Ejected},
		{"too few of them", 3, one(refused, 2), Available},
		{"one client, one path", 3, one(stranger, 100), Available},
		{"one client, many paths", 3, []step{{client: "10.0.0.1", path: "/a"}, {client: "10.0.0.1", path: "/b"}, {client: "10.0.0.1", path: "/c"}, {client: "10.0.0.1", path: "/d"}}, Available},
		{"one client, on a path that works", 3, join(one(opened, 1), one(step{client: "10.0.0.1", path: "/ws"}, 100)), Available},
		{"one IPv6 client with many addresses", 3, []step{{client: "2001:db8::1", path: "/a"}, {client: "2001:db8::2", path: "/b"}, {client: "2001:db8::3", path: "/c"}}, Available},
		{"IPv6 clients", 3, []step{{client: "2001:db8::1", path: "/a"}, {client: "2001:db8:0:1::1", path: "/b"}, {client: "2001:db8:0:2::1", path: "/c"}}, Ejected},
		{"many clients, one path that never worked", 3, broken(100, "/wrong"), Available},
		{"many clients, one path that never worked here, after another that did", 3, join(one(opened, 1), broken(100, "/wrong")), Available},
		{"many clients, on a path that worked", 3, join(one(opened, 1), broken(3, "/ws")), Ejected},
		{"many clients and paths", 3, broken(3, ""), Ejected},
		{"a success between", 3, join(broken(2, ""), one(opened, 1), broken(2, "")), Available},
		{"too long between", 3, join(broken(2, ""), []step{wait}, broken(2, "")), Available},
		{"refused, and one client", 3, append(one(refused, 2), stranger), Ejected},
		{"max_fails of 1, one client", 1, one(stranger, 10), Available},
		{"max_fails of 1, two clients", 1, broken(2, ""), Ejected},
		{"max_fails of 1, refused", 1, one(refused, 1), Ejected},
		{"off", 0, join(broken(10, ""), one(refused, 10)), Available},
		{"again: one refused is enough", 3, join(one(refused, 3), []step{wait, refused}), Ejected},
		{"again: one client is not", 3, join(one(refused, 3), []step{wait}, one(stranger, 10)), Available},
		{"again: two clients are", 3, join(one(refused, 3), []step{wait}, broken(2, "")), Ejected},
		{"again: two clients on one path that never worked are not", 3, join(one(refused, 3), []step{wait}, broken(2, "/wrong")), Available},
		{"again: not after a success", 3, join(one(refused, 3), []step{wait, opened, refused}), Available},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b, _ := startOne(t, c.maxFails)
				for _, s := range c.steps {
					s.play(b)
				}
				if got := b.Availability(); got != c.want {
					t.Errorf("availability %d, want %d: %s", got, c.want, b.State().Reason)
				}
				synctest.Wait()
				if n := len(b.failures.broken); n > max(c.maxFails, 2) {
					t.Errorf("%d witnesses are kept", n)
				}
			})
		})
	}
}

func startOne(t *testing.T, maxFails int) (*Registry, *Backend, *testkit.Log) {
	return one(t, Spec{MaxFails: maxFails, FailTimeout: 30 * time.Second})
}

// A backend that has just joined and has opened no session is judged by the paths
// that its pool serves.
func TestNewcomerThatBreaksHandshakes(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	pools, _ := r.Apply([]Spec{{Name: "chat", MaxFails: 3, FailTimeout: time.Minute, Backends: []BackendSpec{{Address: "10.0.0.1:1"}, {Address: "10.0.0.2:1"}}}})
	well, sick := pools["chat"].Members[0].Backend, pools["chat"].Members[1].Backend
	well.SessionOpened([]byte("/ws"))
	for _, s := range broken(3, "/ws") {
		s.play(sick)
	}
	if sick.Availability() != Ejected {
		t.Error("a newcomer that breaks off what the others serve is not ejected")
	}
}

// HandshakeFailed reports whether a failure is a sign about the backend.
func TestTellingFailures(t *testing.T) {
	_, b, _ := startOne(t, 5)
	tell := func(client, path string) bool {
		return b.HandshakeFailed(netip.MustParseAddr(client), []byte(path), "broken")
	}
	if tell("10.0.0.1", "/wrong") || tell("10.0.0.1", "/wrong") || tell("10.0.0.2", "/wrong") {
		t.Error("one path that was never served tells something")
	}
	if !tell("10.0.0.2", "/other") {
		t.Error("a second client on a second path tells nothing")
	}
	b.SessionOpened([]byte("/ws"))
	if !tell("10.0.0.1", "/ws") {
		t.Error("a path that was served tells nothing")
	}
}
