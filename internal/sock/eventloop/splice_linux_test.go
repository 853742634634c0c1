package eventloop

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// socketPair is a TCP connection. Its near end is a descriptor, as loops use them.
func socketPair(t *testing.T) (near int32, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err = connect(hostport.At(ln.Addr().(*net.TCPAddr).AddrPort()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFD(near) })
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(testkit.Patience))
	return near, c.(*net.TCPConn)
}

func newPipe(t *testing.T) Pipe {
	t.Helper()
	fds := descriptors(t)
	p, err := NewPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		testkit.Eventually(t, "the pipe is closed", func() bool { return descriptors(t) <= fds })
	})
	return p
}

// fill waits until there is something to fill p with.
func fill(t *testing.T, p Pipe, from int32, n int) int {
	t.Helper()
	got := 0
	testkit.Eventually(t, "bytes come", func() bool {
		var e syscall.Errno
		if got, e = p.Fill(from, n); e != 0 && e != syscall.EAGAIN {
			t.Fatalf("Fill: %v", e)
		}
		return got > 0
	})
	return got
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// TestPipe moves bytes from one connection to another.
func TestPipe(t *testing.T) {
	p := newPipe(t)
	in, source := socketPair(t)
	out, sink := socketPair(t)
	if n, e := p.Fill(in, 100); n != 0 || e != syscall.EAGAIN {
		t.Fatalf("Fill from an empty socket: %d, %v", n, e)
	}
	sent := random(1 << 20)
	go func() {
		source.Write(sent)
		source.CloseWrite()
	}()
	came := make(chan []byte)
	go func() {
		b, err := io.ReadAll(sink)
		if err != nil {
			t.Error(err)
		}
		came <- b
	}()
	for left := len(sent); left > 0; {
		n := fill(t, p, in, 100_000)
		if left -= n; n > 100_000 || left < 0 {
			t.Fatalf("Fill gave %d, and %d are left", n, left)
		}
		for n > 0 {
			k, e := p.Drain(out, n)
			if e != 0 && e != syscall.EAGAIN {
				t.Fatalf("Drain: %v", e)
			}
			n -= k
		}
	}
	testkit.Eventually(t, "the end comes", func() bool { n, e := p.Fill(in, 1); return n == 0 && e == 0 })
	ShutdownWrite(out)
	if b := <-came; !bytes.Equal(b, sent) {
		t.Errorf("%d bytes came of %d, or they are others", len(b), len(sent))
	}
}

// TestPipeRead: what a socket doesn't accept can be read, and nothing more.
func TestPipeRead(t *testing.T) {
	p := newPipe(t)
	in, source := socketPair(t)
	out, sink := socketPair(t)
	sink.SetReadBuffer(64 << 10)
	var moved, left []byte
	for len(left) == 0 {
		b := random(50_000)
		if _, err := source.Write(b); err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 && len(left) == 0 {
			n := fill(t, p, in, len(b))
			moved, b = append(moved, b[:n]...), b[n:]
			for n > 0 && len(left) == 0 {
				k, e := p.Drain(out, n)
				if n -= k; e == syscall.EAGAIN {
					left = make([]byte, n+1)
				} else if e != 0 {
					t.Fatalf("Drain: %v", e)
				}
			}
		}
	}
	n, e := p.Read(left)
	if n != len(left)-1 || e != 0 {
		t.Fatalf("Read gives %d bytes of %d, %v", n, len(left)-1, e)
	}
	if n, e := p.Read(left[n:]); n != 0 || e != syscall.EAGAIN {
		t.Fatalf("Read of an empty pipe: %d, %v", n, e)
	}
	came := make([]byte, len(moved)-n)
	if _, err := io.ReadFull(sink, came); err != nil {
		t.Fatal(err)
	}
	if came = append(came, left[:n]...); !bytes.Equal(came, moved) {
		t.Error("other bytes came")
	}
}

// TestPipeOfALostConnection: both ends report a reset, and its signal doesn't end
// the process.
func TestPipeOfALostConnection(t *testing.T) {
	p := newPipe(t)
	in, source := socketPair(t)
	out, sink := socketPair(t)
	if _, err := source.Write(random(1000)); err != nil {
		t.Fatal(err)
	}
	fill(t, p, in, 1000)
	sink.SetLinger(0)
	sink.Close()
	testkit.Eventually(t, "the reset has come", func() bool { _, e := Recv(out, make([]byte, 1)); return e != syscall.EAGAIN })
	if n, e := p.Drain(out, 1000); n != 0 || e != syscall.EPIPE {
		t.Errorf("Drain to it: %d, %v", n, e)
	}
	source.SetLinger(0)
	source.Close()
	q := newPipe(t) // the other one is not empty
	testkit.Eventually(t, "the reset has come", func() bool { _, e := q.Fill(in, 1); return e == syscall.ECONNRESET })
}
