package attack

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	attacker = "127.0.0.66"
	pause    = 200 * time.Millisecond // between the messages of a good session
)

// How many good sessions there are, and how long an attack lasts.
var (
	goodSessions = kit.UnlessBenching(20, 500)
	attackTime   = time.Duration(kit.UnlessBenching(1, 10)) * time.Second
)

// start starts a balancer with a backend that echoes, and more of a file.
func start(t *testing.T, more string) *kit.Balancer {
	t.Helper()
	return kit.StartBalancer(t, fmt.Sprintf(`
admin: {address: "127.0.0.1:0"}
pools: {main: {backends: [{name: a, address: %q}]}}
%s`, startEcho(t), more))
}

// startEcho starts a server that echoes at /echo, as fast as it can, and returns its
// address.
func startEcho(t *testing.T) string {
	t.Helper()
	p := kit.StartHoldfast(t, "bench-server", "--listen", "127.0.0.1:0")
	var address string
	p.Stdout.Find(t, "address", 0, func(line string) bool {
		_, rest, ok := strings.Cut(line, "ws://")
		address, _, _ = strings.Cut(rest, "/")
		return ok
	})
	return address
}

// good are sessions that exchange messages at a steady pace and check each answer.
type good struct {
	t       *testing.T
	all     []*wspeer.Conn
	current atomic.Pointer[histogram.Histogram]
	mu      sync.Mutex // guards what current points to
	stop    chan struct{}
	running sync.WaitGroup
	echoes  atomic.Int64
}

// startGood opens good sessions. config is of TLS; nil is none.
func startGood(t *testing.T, b *kit.Balancer, config *tls.Config) *good {
	t.Helper()
	g := &good{t: t, all: make([]*wspeer.Conn, goodSessions), stop: make(chan struct{})}
	g.current.Store(new(histogram.Histogram))
	err := kit.InParallel(goodSessions, func(i int) (err error) {
		g.all[i], err = dialGood(b, i, config)
		return err
	})
	t.Cleanup(func() { kit.CutAll(g.all) })
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range g.all {
		g.running.Go(func() { g.talk(i, w) })
	}
	return g
}

// dialGood opens a session from an address of its own.
func dialGood(b *kit.Balancer, i int, config *tls.Config) (*wspeer.Conn, error) {
	conn, err := kit.ConnectFrom(fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250), b.Address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	if config != nil {
		conn = tls.Client(conn, config)
	}
	w := wspeer.NewClient(conn)
	if _, err := w.Handshake("good.example", "/echo", nil); err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

func (g *good) talk(i int, w *wspeer.Conn) {
	pace := time.NewTicker(pause)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-g.stop:
			return
		case <-pace.C:
		}
		began := time.Now()
		w.SetDeadline(began.Add(testkit.Patience))
		if err := w.RoundTrip(fmt.Sprintf("message %d of good session %d", n, i)); err != nil {
			g.t.Errorf("good session %d: %v", i, err)
			return
		}
		took := time.Since(began)
		g.echoes.Add(1)
		g.mu.Lock()
		g.current.Load().Record(took)
		g.mu.Unlock()
	}
}

// during returns how long answers took while f ran, and at least until each good
// session has had one on average.
func (g *good) during(f func()) *histogram.Histogram {
	g.mu.Lock()
	h := new(histogram.Histogram)
	g.current.Store(h)
	g.mu.Unlock()
	before := g.echoes.Load()
	f()
	testkit.Eventually(g.t, "answers to good sessions", func() bool {
		return g.t.Failed() || g.echoes.Load() >= before+int64(len(g.all))
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current.Store(new(histogram.Histogram))
	return h
}

// attackedBy notes how answers during an attack of b, whose sessions these are, compare
// with those before it, and with those during the same attack of another balancer: that one
// has a backend of its own, and shares only the machine. Without it, one would measure what
// the attackers take of the processors. The last argument attacks a balancer, and returns
// what ends that; it is called for both. At the end there are no good sessions any more.
func (g *good) attackedBy(b, other *kit.Balancer, attack func(to *kit.Balancer) (end func())) {
	g.t.Helper()
	before := g.during(func() { time.Sleep(attackTime) })
	end := func() {}
	elsewhere := g.during(func() { end = attack(other) })
	end()
	other.Kill(g.t)
	during := g.during(func() { g.t.Cleanup(attack(b)) })
	close(g.stop)
	g.running.Wait()
	calm, beside, p99 := before.Quantile(0.99), elsewhere.Quantile(0.99), during.Quantile(0.99)
	g.t.Logf("p99 of %d good sessions: %v before, %v during an attack of another balancer, %v during one of theirs", len(g.all), calm, beside, p99)
	g.t.Logf("an attack of another balancer makes it %.2f times as long", float64(beside)/float64(calm))
	kit.AtMost(g.t, "p99 of good sessions during the attack / before it", float64(p99)/float64(calm), 2.0)
	kit.AtMost(g.t, "p99 of good sessions during the attack / during one of another balancer", float64(p99)/float64(beside), 2.0)
}

// until runs n attackers until the attack is over. Each is called again and again;
// pauses are its own.
func until(n int, attack func(i int)) {
	over := time.Now().Add(attackTime)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			for time.Now().Before(over) {
				attack(i)
			}
		})
	}
	running.Wait()
}

// connections are those of an attacker, which are closed at the end.
type connections struct {
	mu  sync.Mutex // guards the following
	all []net.Conn
}

func (c *connections) add(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, conn)
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.all {
		conn.Close()
	}
}
