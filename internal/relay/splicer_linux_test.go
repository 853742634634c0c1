package relay

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// pipes counts the ends of pipes among this process's descriptors.
func pipes(t *testing.T) (n int) {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dir {
		if to, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}

// largeThrough sends a large message from a client to a backend that begins to
// read late, and checks what comes.
func largeThrough(t *testing.T, e *Epoll) {
	t.Helper()
	backends, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backends.Close()
	to := backends.Addr().(*net.TCPAddr).AddrPort()
	ln, err := e.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		b, err := e.Dial(c, hostport.At(to), time.Now().Add(10*time.Second))
		if err == nil {
			err = e.Start(c, b, Start{})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := backends.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.(*net.TCPConn).SetReadBuffer(64 << 10)
	const size = 8 << 20
	f := binary.BigEndian.AppendUint64([]byte{0x82, 0x80 | 127}, size)
	f = append(f, make([]byte, 4+size)...) // a mask of zeros, and the payload
	for i := 14; i < len(f); i += 1000 {
		f[i] = byte(i / 1000)
	}
	go c.Write(f)
	time.Sleep(100 * time.Millisecond) // until many bytes wait
	b.SetReadDeadline(time.Now().Add(2 * time.Minute))
	came := make([]byte, len(f))
	if n, err := io.ReadFull(b, came); err != nil || !bytes.Equal(came, f) {
		t.Fatalf("%d of %d bytes came (%v), or other ones", n, len(f), err)
	}
}

// Large messages make a loop create one pipe. It is empty afterwards and is closed
// with the loop. Without a pipe, or if splice fails, they are passed on nevertheless,
// and Trim allows another attempt.
func TestSplicer(t *testing.T) {
	before := pipes(t)
	ended := make(chan session.Summary, 10)
	e, err := NewEpoll(1, DefaultTimes, slog.New(slog.DiscardHandler), func(s session.Summary) { ended <- s })
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	onLoop := func(f func(sp *splicer)) {
		e.Group.Each(func(i int, _ *eventloop.Loop) { f(&e.loops[i].splicer) })
	}
	want := func(open bool, ends int) {
		t.Helper()
		onLoop(func(sp *splicer) {
			if sp.open != open {
				t.Errorf("open is %v", sp.open)
			}
			if sp.open {
				if n, e := sp.pipe.Read(make([]byte, 1)); n != 0 {
					t.Errorf("the pipe is not empty: %d, %v", n, e)
				}
			}
		})
		if n := pipes(t) - before; n != ends {
			t.Errorf("there are %d ends of pipes, want %d", n, ends)
		}
	}
	want(false, 0)
	largeThrough(t, e)
	want(true, 2)
	largeThrough(t, e)
	want(true, 2)

	onLoop(func(sp *splicer) { sp.close() })
	largeThrough(t, e)
	want(false, 0)

	// What isn't a pipe can't be spliced to.
	onLoop(func(sp *splicer) { sp.pipe, sp.open = eventloop.Pipe{}, true })
	largeThrough(t, e)
	want(false, 0)

	e.Trim()
	largeThrough(t, e)
	want(true, 2)
	e.Close()
	if n := pipes(t) - before; n != 0 {
		t.Errorf("%d ends of pipes are left at the end", n)
	}
}
