//go:build unix

package kit

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// Crowd is many sessions that exchange numbered messages with their backends
// and check them.
type Crowd struct {
	name    string
	Members []*Member
	running sync.WaitGroup
}

// Member is one session of a Crowd.
type Member struct {
	*Speaker
	ID     string
	Ending Ending        // valid when Over is closed
	Over   chan struct{} // closed when the session has ended
}

// StartCrowd opens n sessions at address, some at a time, and starts their
// messages. Sessions that are still open at the end of the test are cut.
func StartCrowd(t testing.TB, name, address string, n int) *Crowd {
	t.Helper()
	return StartCrowdWith(t, name, address, n, DefaultBehaviour)
}

// StartCrowdWith is StartCrowd with another behaviour.
func StartCrowdWith(t testing.TB, name, address string, n int, how Behaviour) *Crowd {
	t.Helper()
	c := &Crowd{name: name, Members: make([]*Member, n)}
	failed := InParallel(n, func(i int) error {
		id := fmt.Sprintf("%s-%d", name, i)
		path := fmt.Sprintf("/numbers?id=%s&pause=%v&broken=%d", id, how.pause, how.broken)
		if how.Unbroken {
			path += "&unbroken"
		}
		w, err := how.dial(address, path)
		if err != nil {
			return err
		}
		c.Members[i] = &Member{Speaker: newSpeaker(w, how), ID: id, Over: make(chan struct{})}
		c.running.Go(c.Members[i].speak)
		return nil
	})
	t.Cleanup(func() {
		for _, m := range c.Members {
			if m != nil {
				m.wire.Close()
			}
		}
		c.running.Wait()
	})
	if failed != nil {
		t.Fatalf("opening %d sessions: %v", n, failed)
	}
	return c
}

// dial opens a session.
func (b *Behaviour) dial(address, path string) (*wspeer.Conn, error) {
	if b.TLS == nil {
		w, _, err := wspeer.Dial(address, path)
		return w, err
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: testkit.Patience}, "tcp", address, b.TLS)
	if err != nil {
		return nil, err
	}
	w := wspeer.NewClient(conn)
	if _, err := w.Handshake(address, path, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

func (m *Member) speak() {
	defer close(m.Over)
	m.Ending = m.Speaker.speak()
}

// FinishAll ends all sessions in an orderly way and waits until they have ended.
func (c *Crowd) FinishAll(t testing.TB) {
	t.Helper()
	for _, m := range c.Members {
		m.Finish()
	}
	c.AwaitEnd(t)
}

// AwaitEnd waits until all sessions have ended.
func (c *Crowd) AwaitEnd(t testing.TB) {
	t.Helper()
	timeout := time.NewTimer(2 * testkit.Patience)
	defer timeout.Stop()
	for i, m := range c.Members {
		select {
		case <-m.Over:
		case <-timeout.C:
			t.Fatalf("%d of %d sessions of %s have not ended", len(c.Members)-i, len(c.Members), c.name)
		}
	}
}

// Received returns the number of messages that all members got.
func (c *Crowd) Received() (n int64) {
	for _, m := range c.Members {
		n += m.Speaker.Received.Load()
	}
	return n
}

// Faults reports many failures: only the first ten in full.
type Faults struct {
	T testing.TB
	n int
}

// Add reports a failure.
func (f *Faults) Add(format string, args ...any) {
	f.T.Helper()
	if f.n++; f.n <= 10 {
		f.T.Errorf(format, args...)
	}
}

// Sum reports the number of failures if not all were reported.
func (f *Faults) Sum(of string) {
	f.T.Helper()
	if f.n > 10 {
		f.T.Errorf("%d faults in all, of %s", f.n, of)
	}
}
