package netconn_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// parking is a network whose tasks park each connection after its head.
type parking struct {
	parked chan transport.Parked
	gone   atomic.Int32
}

func (p *parking) serve(t *testing.T, again func(transport.Conn)) func(transport.Conn) {
	return func(c transport.Conn) {
		first := make([]byte, 4)
		io.ReadFull(c, first)
		parked, err := c.Park(first, again, func() { p.gone.Add(1) })
		if err != nil {
			t.Errorf("park: %v", err)
			return
		}
		c.Close() // does nothing
		if _, err := c.Park(nil, again, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("parking what is parked: %v", err)
		}
		p.parked <- parked
	}
}

func newParking() *parking { return &parking{parked: make(chan transport.Parked, 100)} }

func never(t *testing.T) func(transport.Conn) {
	return func(transport.Conn) { t.Error("it was resumed") }
}

// send sends what follows the head, if anything, and waits until the connection is
// parked.
func (p *parking) send(c net.Conn, early string) transport.Parked {
	io.WriteString(c, "head")
	parked := <-p.parked
	io.WriteString(c, early)
	return parked
}

func TestParkedConnectionGoesOn(t *testing.T) {
	for _, early := range []string{"", "and", "and much more"} {
		n, _ := newNetwork(t)
		p := newParking()
		to, _ := listen(t, n, p.serve(t, echo))
		c := dial(t, to)
		parked := p.send(c, early)
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("while parked, read %d bytes, %v", n, err)
		}
		c.SetReadDeadline(time.Now().Add(testkit.Patience))
		parked.Resume()
		parked.Resume()
		parked.Close()
		wantEcho(t, c, "")
		got := make([]byte, 4+len(early))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "head"+early {
			t.Fatalf("read %q, %v", got, err)
		}
		wantEcho(t, c, "hello")
		if p.gone.Load() != 0 {
			t.Error("gone was called")
		}
	}
}

func TestPeerOfParkedGoesAway(t *testing.T) {
	for _, early := range []string{"", "and much more"} {
		peerOfParkedGoesAway(t, early)
	}
}

func peerOfParkedGoesAway(t *testing.T, early string) {
	for _, leave := range []func(*net.TCPConn){
		func(c *net.TCPConn) { c.Close() },
		func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		func(c *net.TCPConn) { c.CloseWrite() },
	} {
		n, _ := newNetwork(t)
		p := newParking()
		to, _ := listen(t, n, p.serve(t, never(t)))
		c := dial(t, to)
		parked := p.send(c, early)
		leave(c)
		for end := time.Now().Add(testkit.Patience); p.gone.Load() == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		parked.Resume()
		parked.Close()
		n.Close()
		if got := p.gone.Load(); got != 1 {
			t.Errorf("gone was called %d times", got)
		}
	}
}

func TestParkedIsClosed(t *testing.T) {
	for _, early := range []string{"", "and much more"} {
		n, _ := newNetwork(t)
		p := newParking()
		to, _ := listen(t, n, p.serve(t, never(t)))
		c := dial(t, to)
		parked := p.send(c, early)
		parked.Close()
		parked.Close()
		parked.Resume()
		// With unread bytes it is a reset.
		if got, err := io.ReadAll(c); len(got) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %q, %v", got, err)
		}
		n.Close()
		if p.gone.Load() != 0 {
			t.Error("gone was called")
		}
	}
}

func TestNetworkClosesWhatIsParked(t *testing.T) {
	for _, early := range []string{"", "and much more"} {
		n, _ := newNetwork(t)
		p := newParking()
		to, _ := listen(t, n, p.serve(t, never(t)))
		for range 5 {
			p.send(dial(t, to), early)
		}
		n.Close()
		n.Close()
		if got := p.gone.Load(); got != 5 {
			t.Errorf("gone was called %d times, want 5", got)
		}
	}
}

// Whether the client or Resume comes first, exactly one of gone and resume is
// called.
func TestParkedGoesAwayAsItIsResumed(t *testing.T) {
	n, _ := newNetwork(t)
	p := newParking()
	var resumed atomic.Int32
	to, _ := listen(t, n, p.serve(t, func(c transport.Conn) { resumed.Add(1) }))
	for range 100 {
		c := dial(t, to)
		parked := p.send(c, "")
		go c.Close()
		parked.Resume()
	}
	n.Close()
	if got := p.gone.Load() + resumed.Load(); got != 100 {
		t.Errorf("%d gone and %d resumed of 100", p.gone.Load(), resumed.Load())
	}
}
