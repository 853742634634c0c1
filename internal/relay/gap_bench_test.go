package relay_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// gapReattacher is a carousel that records the gaps.
type gapReattacher struct {
	carousel
	gaps      chan time.Duration
	now, most atomic.Int64 // calls of Reattach at once
}

func (m *gapReattacher) Swapped(relay.ReattachRequest, uint32) {}

func (m *gapReattacher) Moved(_ relay.ReattachRequest, _ uint32, gap time.Duration, err error) {
	if err == nil {
		m.gaps <- gap
	} else {
		m.ended <- err
	}
}

func (m *gapReattacher) Reattach(near transport.Conn, mv relay.ReattachRequest) (relay.NewBackend, error) {
	defer m.now.Add(-1)
	for n := m.now.Add(1); ; {
		if most := m.most.Load(); n <= most || m.most.CompareAndSwap(most, n) {
			break
		}
	}
	c, err := m.engine.Dial(near, hostport.At(m.lns[m.turns.Add(1)%int64(len(m.lns))].AddrPort()), mv.Deadline)
	if err == nil {
		buf := make([]byte, 200) // as large as a handshake
		if _, err = c.Write(buf); err == nil {
			_, err = io.ReadFull(c, buf)
		}
	}
	return relay.NewBackend{Conn: c, ID: 1}, err
}

// BenchmarkMove moves 1,000 sessions at once over loopback. It reports how long
// their clients were not read, and the memory.
func BenchmarkMove(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) { benchmarkMove(b, e) })
	}
}

func benchmarkMove(b *testing.B, e engine) {
	const sessions = 1000
	r := newBenchFixture(b, e, sessions, 0)
	var gaps []time.Duration
	var most int64
	for b.Loop() {
		runtime.GC()
		before := memory()
		r.engine.MoveSessions(moveOnly())
		gaps = append(gaps, r.awaitMoves(b, sessions, func(i int) {
			if i%100 == 50 {
				most = max(most, memory()-before)
			}
		})...)
	}
	reportGaps(b, gaps)
	b.ReportMetric(float64(most)/sessions, "B/session")
}

// BenchmarkLoss cuts the connections of a backend with 3,000 sessions over loopback.
// The handshakes of the other backends take the given time. It reports how long all
// moves took, how long clients were not read, how many sessions searched at once,
// and the peak memory beyond that of the sessions. Both ends of all connections are
// in this process.
func BenchmarkLoss(b *testing.B) {
	for _, e := range engines {
		for _, takes := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
			b.Run(fmt.Sprintf("%s/%v", e.name, takes), func(b *testing.B) { benchmarkLoss(b, e, takes) })
		}
	}
}

func benchmarkLoss(b *testing.B, e engine, takes time.Duration) {
	const sessions = 3000
	r := newBenchFixture(b, e, sessions, takes)
	var gaps []time.Duration
	var most int64
	r.most.Store(0)
	for b.Loop() {
		runtime.GC()
		before := memory()
		r.cut()
		gaps = append(gaps, r.awaitMoves(b, sessions, func(i int) {
			if i%100 == 50 {
				most = max(most, memory()-before)
			}
		})...)
	}
	reportGaps(b, gaps)
	b.ReportMetric(float64(r.most.Load()), "at-once")
	b.ReportMetric(float64(most)/(1<<20), "MB")
}

func memory() int64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc + s.StackInuse)
}

func reportGaps(b *testing.B, gaps []time.Duration) {
	slices.Sort(gaps)
	b.ReportMetric(float64(gaps[len(gaps)/2].Microseconds())/1000, "ms-gap-p50")
	b.ReportMetric(float64(gaps[len(gaps)*99/100].Microseconds())/1000, "ms-gap-p99")
}

// benchFixture is an engine with sessions, and backends whose handshakes take a
// given time.
type benchFixture struct {
	*gapReattacher

	mu   sync.Mutex // guards the following
	open []net.Conn // of backends, since the last cut
}

func newBenchFixture(b *testing.B, e engine, sessions int, takes time.Duration) *benchFixture {
	r := &benchFixture{gapReattacher: &gapReattacher{carousel: carousel{ended: make(chan error, sessions)}, gaps: make(chan time.Duration, sessions)}}
	var err error
	if r.engine, err = e.make(quick, slog.New(slog.DiscardHandler), func(session.Summary) {}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.engine.Close)
	r.engine.SetReattacher(r.gapReattacher)
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ln.Close() })
		r.lns = append(r.lns, ln.Addr().(*net.TCPAddr))
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go r.serveBackend(c, takes)
			}
		}()
	}
	ln, err := r.engine.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		near, err := r.Reattach(c, relay.ReattachRequest{Deadline: time.Now().Add(patience)})
		if err != nil {
			b.Error(err)
			return
		}
		s := relay.Start{Movable: true, OnLoss: true, Info: session.Info{ID: session.NewID(), Started: time.Now()}}
		if err := r.engine.Start(c, near.Conn, s); err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	for range sessions {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
	}
	for r.engine.Active() < sessions {
		time.Sleep(time.Millisecond)
	}
	return r
}

func (r *benchFixture) serveBackend(c net.Conn, takes time.Duration) {
	defer c.Close()
	r.mu.Lock()
	r.open = append(r.open, c)
	r.mu.Unlock()
	buf := make([]byte, 200)
	if _, err := io.ReadFull(c, buf); err != nil {
		return
	}
	time.Sleep(takes)
	c.Write(buf)
	echo(c, 1)
}

// cut closes the backends' present connections, but none that is opened later.
func (r *benchFixture) cut() {
	r.mu.Lock()
	all := r.open
	r.open = nil
	r.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// awaitMoves waits for the ends of n moves, and calls f after each.
func (r *benchFixture) awaitMoves(b *testing.B, n int, f func(i int)) (gaps []time.Duration) {
	for i := range n {
		select {
		case g := <-r.gaps:
			gaps = append(gaps, g)
		case err := <-r.ended:
			b.Fatal(err)
		}
		f(i)
	}
	return gaps
}
