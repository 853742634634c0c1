package relay_test

import (
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// gapMover is a carousel that notes the gaps.
type gapMover struct {
	carousel
	gaps chan time.Duration
}

func (m *gapMover) Moved(_ relay.Moving, _ uint32, gap time.Duration, err error) {
	if err == nil {
		m.gaps <- gap
	} else {
		m.ended <- err
	}
}

func (m *gapMover) Reattach(near transport.Conn, mv relay.Moving) (relay.Found, error) {
	c, err := m.engine.Dial(near, m.lns[m.turns.Add(1)%int64(len(m.lns))].AddrPort(), mv.Deadline)
	if err == nil {
		buf := make([]byte, 200) // a handshake's worth
		if _, err = c.Write(buf); err == nil {
			_, err = io.ReadFull(c, buf)
		}
	}
	return relay.Found{Backend: c, ID: 1}, err
}

// BenchmarkMove moves 1,000 sessions at once, over loopback, and tells how
// long their clients were not read and what memory it took.
func BenchmarkMove(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) { benchmarkMove(b, e) })
	}
}

func benchmarkMove(b *testing.B, e engine) {
	const sessions = 1000
	m := &gapMover{carousel: carousel{ended: make(chan error, sessions)}, gaps: make(chan time.Duration, sessions)}
	engine, err := e.make(quick, slog.New(slog.DiscardHandler), func(session.Summary) {})
	if err != nil {
		b.Fatal(err)
	}
	defer engine.Close()
	m.engine = engine
	engine.SetMover(m)
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer ln.Close()
		m.lns = append(m.lns, ln.Addr().(*net.TCPAddr))
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					buf := make([]byte, 200)
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					c.Write(buf)
					echo(c, 1)
				}()
			}
		}()
	}
	ln, err := engine.Listen("127.0.0.1:0", func(c transport.Conn) {
		near, err := m.Reattach(c, relay.Moving{Deadline: time.Now().Add(patience)})
		if err != nil {
			b.Error(err)
			return
		}
		s := relay.Start{Movable: true, Info: session.Info{ID: session.NewID(), Started: time.Now()}}
		if err := engine.Start(c, near.Backend, s); err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	for range sessions {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
	}
	for engine.Active() < sessions {
		time.Sleep(time.Millisecond)
	}
	memory := func() uint64 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc + s.StackInuse
	}
	var gaps []time.Duration
	var most uint64
	for b.Loop() {
		runtime.GC()
		before := memory()
		engine.CloseSessions(moveOnly())
		for i := range sessions {
			select {
			case g := <-m.gaps:
				gaps = append(gaps, g)
			case err := <-m.ended:
				b.Fatal(err)
			}
			if i%100 == 50 {
				most = max(most, memory()-min(before, memory()))
			}
		}
	}
	slices.Sort(gaps)
	b.ReportMetric(float64(gaps[len(gaps)/2].Microseconds())/1000, "ms-gap-p50")
	b.ReportMetric(float64(gaps[len(gaps)*99/100].Microseconds())/1000, "ms-gap-p99")
	b.ReportMetric(float64(most)/sessions, "B/session")
}
