package relay_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// TestStorm opens and ends many sessions at a time in every way, while the engine
// lists and counts them. Then it checks what is left.
func TestStorm(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { storm(t, e) })
	}
}

// descriptors is how many are open, including those that the runtime creates with the
// first connection.
func descriptors() int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	ln.Close()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // not available on this system
	}
	return len(d)
}

func storm(t *testing.T, e engine) {
	const sessions, workers = 2000, 20
	before, goroutines := descriptors(), runtime.NumGoroutine()

	var started, ended, messages, bytes atomic.Int64
	engine, err := e.make(quick, slog.New(slog.NewTextHandler(complaints{t}, nil)), func(s session.Summary) {
		ended.Add(1)
		for _, f := range s.From {
			messages.Add(int64(f.Messages))
			bytes.Add(int64(f.Bytes))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var backends sync.WaitGroup
	backends.Go(func() {
		for n := 0; ; n++ {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			backends.Go(func() { echo(c, n) })
		}
	})
	to := backend.Addr().(*net.TCPAddr).AddrPort()
	ln, err := engine.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		b, err := engine.Dial(c, hostport.At(to), time.Now().Add(patience))
		if err != nil {
			return // the client may be gone already
		}
		started.Add(1)
		if err := engine.Start(c, b, relay.Start{Limits: relay.Limits{KeepaliveInterval: time.Second, KeepaliveTimeout: patience}}); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}

	stop := make(chan struct{})
	var asking, clients sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			seen := 0
			engine.Each(func(session.Summary) { seen++ })
			if n := engine.Active(); n < 0 || n > sessions || seen > sessions {
				t.Errorf("Active = %d, Each tells of %d", n, seen)
			}
			engine.CloseSessions(relay.CloseRequest{Selection: relay.OfBackend(99), // none
				Close: relay.Close{Cause: session.BackendRemoved, Code: 1012}})
			engine.Trim()
		}
	})
	for w := range workers {
		clients.Go(func() {
			for i := range sessions / workers {
				if err := oneClient(ln.Addr().String(), w+i); err != nil {
					t.Errorf("client %d of worker %d: %v", i, w, err)
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	asking.Wait()
	ln.Close()
	// The end of a session is reported after it stops being counted as active.
	for end := time.Now().Add(patience); (engine.Active() > 0 || ended.Load() < started.Load()) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := engine.Active(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	sum := engine.Traffic()
	if n := int64(sum[0].Messages + sum[1].Messages); n != messages.Load() {
		t.Errorf("Traffic tells of %d messages, the sessions of %d", n, messages.Load())
	}
	if n := int64(sum[0].Bytes + sum[1].Bytes); n != bytes.Load() {
		t.Errorf("Traffic tells of %d bytes, the sessions of %d", n, bytes.Load())
	}
	engine.Close()
	backend.Close()
	backends.Wait()
	if started.Load() != ended.Load() {
		t.Errorf("%d sessions began, %d ended", started.Load(), ended.Load())
	}
	settled := func() bool { return descriptors() <= before && runtime.NumGoroutine() <= goroutines }
	for end := time.Now().Add(patience); !settled() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if !settled() {
		t.Errorf("%d descriptors before, %d after; %d goroutines before, %d after", before, descriptors(), goroutines, runtime.NumGoroutine())
	}
}

// echo is a backend. It returns messages until its connection ends. Every seventh
// connection is closed after one message.
func echo(c net.Conn, n int) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	p := &peer{TCPConn: c.(*net.TCPConn), side: session.Backend}
	p.r = bufio.NewReader(c)
	for {
		g, err := p.next()
		if err != nil {
			return
		}
		switch g.first {
		case fin | opPing:
			g.first = fin | opPong
		case fin | opPong:
			continue
		}
		if _, err := c.Write(p.frame(g.first, g.payload)); err != nil || g.first == fin|opClose || n%7 == 0 {
			return
		}
	}
}

// oneClient opens a session, sends messages, and ends it in one of several ways.
func oneClient(address string, n int) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	p := &peer{TCPConn: c.(*net.TCPConn), side: session.Client}
	p.r = bufio.NewReader(c)
	if n%11 == 0 {
		return nil // it sends nothing
	}
	for i := range 3 {
		text := fmt.Sprintf("message %d of %d", i, n)
		if _, err := c.Write(p.frame(fin|opText, text)); err != nil {
			return nil // the backend has disconnected
		}
		g, err := p.next()
		for err == nil && g.first == fin|opPing { // on a slow machine
			g, err = p.next()
		}
		if err != nil || g.first == fin|opClose {
			return err
		}
		if g.payload != text {
			return fmt.Errorf("%q came back as %v", text, g)
		}
	}
	switch n % 3 {
	case 0:
		p.reset()
	case 1:
		if _, err := c.Write(p.frame(fin|opClose, "\x03\xe8")); err != nil {
			return nil
		}
		g, err := p.next()
		for err == nil && g.first == fin|opPing {
			g, err = p.next()
		}
		if err != nil || g.first != fin|opClose {
			return fmt.Errorf("its Close was answered with %v (%v)", g, err)
		}
	}
	return nil
}
