package health

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// fixture is a Checker with fake checks: they record when they ran and return what was
// set for the backend and kind.
type fixture struct {
	*Checker
	log      logBook
	registry *pool.Registry

	mu      sync.Mutex
	asked   map[string][]time.Time // by backend and kind
	answers map[string]result
	delay   map[string]time.Duration
	counted map[string]int // by backend, result and time
}

func newLab(t testing.TB) *fixture {
	l := &fixture{asked: map[string][]time.Time{}, answers: map[string]result{}, delay: map[string]time.Duration{}, counted: map[string]int{}}
	l.registry = pool.New(pool.Options{Logger: l.log.logger()})
	l.Checker = New(Options{Log: l.log.logger(), Checked: func(b *pool.Backend, result string, took time.Duration) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.counted[fmt.Sprint(b.Name, " ", result, " ", took)]++
	}})
	l.newChecks = func(m pool.Member, s Spec) (checks []check) {
		for _, c := range s.Checks {
			checks = append(checks, fakeCheck(func(ctx context.Context) result { return l.answer(ctx, key(m.Backend.Name, kindOf(c)), s.Timeout) }))
		}
		return checks
	}
	t.Cleanup(func() { l.Close(); l.registry.Close() })
	return l
}

func key(name string, k reflect.Type) string { return fmt.Sprint(name, "/", k) }

func (l *fixture) answer(ctx context.Context, key string, timeout time.Duration) result {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != timeout {
		panic("a probe without its timeout")
	}
	l.mu.Lock()
	l.asked[key] = append(l.asked[key], time.Now())
	a, ok := l.answers[key]
	delay := l.delay[key]
	l.mu.Unlock()
	if !ok {
		a = pass
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return result{finding: finding{verdict: failed, reason: "no answer"}}
	}
	return a
}

func (l *fixture) set(key string, a result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[key] = a
}

// times returns when the checks ran, since start.
func (l *fixture) times(key string, start time.Time) (times []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.asked[key] {
		times = append(times, t.Sub(start))
	}
	return times
}

var (
	pass = result{finding: finding{verdict: passed, reason: "status 200"}, reportsLoad: true, capacity: 1}
	fail = result{finding: finding{verdict: failed, reason: "status 500, want 200"}, reportsLoad: true, capacity: 1}
	busy = result{finding: finding{verdict: drains, reason: "status 503"}, reportsLoad: true, capacity: 1}
)

// settle waits until all that is due now has happened.
func settle() { time.Sleep(time.Millisecond); synctest.Wait() }

const a1, a2, a3 = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"

var health10 = Spec{Checks: []CheckSpec{HTTP{Path: "/health"}}, Interval: 10 * time.Second, Timeout: 2 * time.Second, Fall: 3, Rise: 2}

func TestIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		start := time.Now()
		b := apply(l.registry, l.Checker, health10, a1)[0]
		time.Sleep(10 * time.Minute)
		asked := l.times(key(a1, kindHTTP), start)
		if asked[0] != 0 {
			t.Errorf("first asked after %v, want at once", asked[0])
		}
		seen := map[time.Duration]bool{}
		for i, at := range asked[1:] {
			pause := at - asked[i]
			seen[pause.Round(100*time.Millisecond)] = true
			if pause < 9*time.Second || pause > 11*time.Second {
				t.Errorf("asked again after %v, want 9 to 11 s", pause)
			}
		}
		if len(asked) < 55 || len(seen) < 8 {
			t.Errorf("asked %d times, with pauses of %d kinds", len(asked), len(seen))
		}
		if b.Operational() != pool.Up || l.log.take() != "" {
			t.Error("a backend that passes from the start does not stay up silently")
		}
	})
}

func TestChecksAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		http, agent := key(a1, kindHTTP), key(a1, kindAgent)
		l.set(http, fail)
		l.set(agent, says("0%"))
		wait := func(of string, d time.Duration) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.delay[of] = d
		}
		wait(http, 300*time.Millisecond)
		wait(agent, 5*time.Second) // longer than its timeout
		spec := health10
		spec.Checks = append(spec.Checks, Agent{Port: 8081})
		apply(l.registry, l.Checker, spec, a1)
		time.Sleep(spec.Timeout)
		settle()
		wait(agent, 0)
		time.Sleep(9 * time.Second)
		settle()
		l.set(agent, result{reportsLoad: true, silent: true})
		time.Sleep(11 * time.Second)
		settle()
		l.mu.Lock()
		defer l.mu.Unlock()
		want := map[string]int{a1 + " failed 300ms": 3, a1 + " passed 2s": 1, a1 + " draining 0s": 1, a1 + " no_answer 0s": 1}
		if !maps.Equal(l.counted, want) {
			t.Errorf("counted %v, want %v", l.counted, want)
		}
	})
}

func TestDownAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		b := apply(l.registry, l.Checker, health10, a1)[0]
		settle()
		l.set(key(a1, kindHTTP), fail)
		time.Sleep(19 * time.Second) // two checks at least, and at most
		if b.Operational() != pool.Up {
			t.Error("down before fall failures")
		}
		time.Sleep(14 * time.Second)
		if got, want := l.log.take(), "backend 10.0.0.1:80 is down, was up: http check /health: status 500, want 200"; got != want {
			t.Errorf("logged %q, want %q", got, want)
		}
		l.set(key(a1, kindHTTP), pass)
		time.Sleep(11 * time.Second) // one to be warming, the next a second later
		time.Sleep(1100 * time.Millisecond)
		if b.Operational() != pool.Up {
			t.Errorf("%v 12 s after its checks pass", b.Operational())
		}
		want := "backend 10.0.0.1:80 is warming, was down: http check /health: status 200\n" +
			"backend 10.0.0.1:80 is up, was warming: http check /health: status 200"
		if got := l.log.take(); got != want {
			t.Errorf("logged\n%s\nwant\n%s", got, want)
		}
	})
}

func TestFirstCheckDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.set(key(a1, kindHTTP), fail)
		l.set(key(a2, kindHTTP), busy)
		b := apply(l.registry, l.Checker, health10, a1, a2, a3)
		settle()
		for i, want := range []pool.Operational{pool.Down, pool.Draining, pool.Up} {
			if got := b[i].Operational(); got != want {
				t.Errorf("%s is %v, want %v", b[i].Name, got, want)
			}
		}
	})
}

func TestJoining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		apply(l.registry, l.Checker, health10, a1)
		time.Sleep(time.Minute)
		start := time.Now()
		b := apply(l.registry, l.Checker, health10, a1, a2)[1]
		settle()
		if b.Operational() != pool.Warming {
			t.Errorf("%v at first", b.Operational())
		}
		time.Sleep(1100 * time.Millisecond)
		if b.Operational() != pool.Up {
			t.Errorf("%v after a second check was due", b.Operational())
		}
		if asked := l.times(key(a2, kindHTTP), start); len(asked) != 2 || asked[0] != 0 {
			t.Errorf("asked at %v", asked)
		}
		asked := l.times(key(a1, kindHTTP), start)
		for i, at := range asked[1:] {
			if at-asked[i] < 9*time.Second {
				t.Errorf("asked at %v: the reload had the other one asked out of turn", asked)
			}
		}
	})
}

func TestManyAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		var addresses []string
		for i := range 1000 {
			addresses = append(addresses, fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1))
		}
		start := time.Now()
		apply(l.registry, l.Checker, health10, addresses...)
		time.Sleep(2 * time.Second)
		tenths := make([]int, 10)
		for _, a := range addresses {
			asked := l.times(key(a, kindHTTP), start)
			if len(asked) != 1 || asked[0] >= time.Second {
				t.Fatalf("%s was asked at %v", a, asked)
			}
			tenths[asked[0]/(100*time.Millisecond)]++
		}
		if slices.Min(tenths) < 100 {
			t.Errorf("asked in each tenth of a second: %v", tenths)
		}
	})
}

func TestReloadsLeaveEqualOnesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		equal := func() Spec {
			return Spec{Checks: []CheckSpec{HTTP{Path: "/health", Expect: []StatusRange{{200, 200}}}}, Fall: 3}
		}
		start := time.Now()
		b := apply(l.registry, l.Checker, equal(), a1)[0]
		settle()
		l.set(key(a1, kindHTTP), fail)
		for range 30 { // a reload each second
			time.Sleep(time.Second)
			apply(l.registry, l.Checker, equal(), a1)
		}
		time.Sleep(4 * time.Second)
		if n := len(l.times(key(a1, kindHTTP), start)); n != 4 || b.Operational() != pool.Down {
			t.Errorf("asked %d times, %v; want 4 and down by the counts it had", n, b.Operational())
		}
	})
}

func TestAnotherSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		b := apply(l.registry, l.Checker, health10, a1)[0]
		settle()
		start := time.Now()
		l.set(key(a1, kindHTTP), fail)
		spec := health10
		spec.Interval = time.Minute
		apply(l.registry, l.Checker, spec, a1)
		settle()
		if asked := l.times(key(a1, kindHTTP), start); len(asked) != 2 {
			t.Errorf("asked at %v, want at once with what is new", asked)
		}
		if b.Operational() != pool.Up {
			t.Error("a known backend went down by one failure")
		}
		time.Sleep(30 * time.Second)
		if asked := l.times(key(a1, kindHTTP), start); len(asked) != 2 {
			t.Errorf("asked at %v: the old checks go on", asked)
		}
	})
}

// The reason of the state is from the current checks, and what they find now.
func TestAnotherSpecExplains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.set(key(a1, kindHTTP), fail)
		b := apply(l.registry, l.Checker, health10, a1)[0]
		settle()
		want := func(state pool.Operational, reason string) {
			t.Helper()
			if s := b.State(); s.Operational != state || !strings.HasSuffix(s.Reason, reason) {
				t.Errorf("%v because of %q, want %v, %q", s.Operational, s.Reason, state, reason)
			}
		}
		want(pool.Down, "http check /health: status 500, want 200")
		refused := result{finding: finding{verdict: failed, reason: "refused"}}
		l.set(key(a1, kindHTTP), refused)
		time.Sleep(12 * time.Second)
		want(pool.Down, "http check /health: refused")
		spec := health10
		spec.Checks = []CheckSpec{HTTP{Path: "/other"}}
		apply(l.registry, l.Checker, spec, a1)
		settle()
		want(pool.Down, "http check /other: refused")
		l.set(key(a1, kindHTTP), pass)
		time.Sleep(30 * time.Second)
		want(pool.Up, "http check /other: status 200")
		apply(l.registry, l.Checker, health10, a1)
		settle()
		want(pool.Up, "http check /health: status 200")
		apply(l.registry, l.Checker, Spec{}, a1)
		want(pool.Up, "it is no longer checked")
	})
}

// A backend that was never up goes through warming, whatever becomes of its Spec.
func TestAnotherSpecWhileItStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.set(key(a2, kindHTTP), busy)
		apply(l.registry, l.Checker, health10, a1)
		b := apply(l.registry, l.Checker, health10, a1, a2)[1]
		settle()
		if b.Operational() != pool.Draining {
			t.Fatalf("%v after a 503", b.Operational())
		}
		spec := health10
		spec.Interval = time.Minute
		l.set(key(a2, kindHTTP), pass)
		apply(l.registry, l.Checker, spec, a1, a2)
		settle()
		if b.Operational() != pool.Warming {
			t.Errorf("%v after its first pass, want warming", b.Operational())
		}
	})
}

func TestChecksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		loaded := fail
		loaded.capacity = 0.5
		l.set(key(a1, kindHTTP), loaded)
		slow := health10
		slow.Checks = append(slow.Checks, WebSocket{})
		l.delay[key(a1, kindWebSocket)] = time.Second
		b := apply(l.registry, l.Checker, slow, a1, a2)
		settle()
		if b[0].Operational() != pool.Down {
			t.Fatalf("%v, want down before the slower check is done", b[0].Operational())
		}
		l.log.take()

		// It is no longer checked while a check is under way: it must not stay
		// down for good, whatever that check finds.
		l.Apply(map[string]*pool.Pool{"chat": {Name: "chat", Members: []pool.Member{{Backend: b[0]}, {Backend: b[1]}}}}, nil)
		if got, want := l.log.take(), "backend 10.0.0.1:80 is up, was down: it is no longer checked"; got != want {
			t.Errorf("logged %q, want %q", got, want)
		}
		if share := b[0].State().Share; share != 1 {
			t.Errorf("share %v, by a load that is no longer read", share)
		}
		start := time.Now()
		time.Sleep(time.Minute)
		for _, k := range []reflect.Type{kindHTTP, kindWebSocket} {
			if asked := l.times(key(a1, k), start); len(asked) != 1 {
				t.Errorf("asked at %v after the end", asked)
			}
		}
		if got := l.log.take(); got != "" {
			t.Errorf("logged after the end: %s", got)
		}
	})
}

func TestBackendLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.set(key(a1, kindHTTP), fail)
		apply(l.registry, l.Checker, health10, a1, a2)
		settle()
		l.log.take()
		apply(l.registry, l.Checker, health10, a2)
		start := time.Now()
		time.Sleep(time.Minute)
		if asked := l.times(key(a1, kindHTTP), start); len(asked) != 1 {
			t.Errorf("asked at %v after it left", asked)
		}
		if got := l.log.take(); got != "" {
			t.Errorf("logged %q about a removed backend", got)
		}
	})
}

func TestApplyAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.Close()
		apply(l.registry, l.Checker, health10, a1)
		time.Sleep(time.Minute)
		if asked := l.times(key(a1, kindHTTP), time.Now()); asked != nil {
			t.Errorf("asked at %v", asked)
		}
	})
}

func TestCloseCutsChecksShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.delay[key(a1, kindHTTP)] = time.Second
		b := apply(l.registry, l.Checker, health10, a1)[0]
		settle()
		start := time.Now()
		l.Close()
		if took := time.Since(start); took != 0 || b.Operational() != pool.Up {
			t.Errorf("Close took %v, the backend is %v", took, b.Operational())
		}
	})
}

// noDNS resolves no name until it is given an address.
type noDNS struct {
	mu sync.Mutex
	ip []netip.Addr
}

func (d *noDNS) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ip == nil {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	return d.ip, nil
}

func TestWithoutAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		dns := &noDNS{}
		l.registry.Close()
		l.registry = pool.New(pool.Options{Resolver: dns, Logger: l.log.logger()})
		l.set(key("ws.internal:80", kindHTTP), fail)
		b := apply(l.registry, l.Checker, health10, "ws.internal:80")[0]
		time.Sleep(2 * time.Minute)
		if asked := l.times(key(b.Name, kindHTTP), time.Now()); asked != nil || b.Operational() != pool.Up {
			t.Errorf("asked at %v, %v", asked, b.Operational())
		}
		dns.mu.Lock()
		dns.ip = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
		dns.mu.Unlock()
		for b.State().Addresses == nil {
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(1100 * time.Millisecond)
		if b.Operational() != pool.Down {
			t.Errorf("%v a second after it got an address, want its first check to decide", b.Operational())
		}
	})
}

func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		spec := health10
		spec.Checks = append(spec.Checks, WebSocket{Path: "/ws"})
		with := func(capacity float64, trouble string) result {
			a := pass
			a.capacity, a.problem = capacity, trouble
			return a
		}
		silent := result{finding: finding{verdict: failed, reason: "no answer"}}
		b := apply(l.registry, l.Checker, spec, a1)[0]
		for _, step := range []struct {
			http, webSocket result
			want            float64
			log             string
		}{
			{with(0.25, ""), pass, 0.25, ""},
			{with(0.25, ""), with(0.125, ""), 0.125, ""},
			{with(0.5, ""), pass, 0.5, ""},
			{silent, pass, 0.5, ""},
			{with(0, "Holdfast-Load: no"), pass, 0.5, "backend 10.0.0.1:80: http check /health: Holdfast-Load: no"},
			{with(0, "Holdfast-Load: nope"), pass, 0.5, ""},
			{silent, pass, 0.5, ""},
			{with(0.75, ""), pass, 0.75, "backend 10.0.0.1:80: http check /health: fine again"},
			{pass, pass, 1, ""},
		} {
			l.set(key(a1, kindHTTP), step.http)
			l.set(key(a1, kindWebSocket), step.webSocket)
			time.Sleep(11 * time.Second)
			if got := b.State().Share; got != step.want {
				t.Errorf("share %v after %+v and %+v, want %v", got, step.http, step.webSocket, step.want)
			}
			if got := l.log.take(); got != step.log {
				t.Errorf("logged %q, want %q", got, step.log)
			}
		}
	})
}

func TestLoadAcrossSpecs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		a := pass
		a.capacity = 0.25
		l.set(key(a1, kindHTTP), a)
		b := apply(l.registry, l.Checker, health10, a1)[0]
		settle()
		l.delay[key(a1, kindHTTP)] = time.Second
		spec := health10
		spec.Interval = time.Minute
		apply(l.registry, l.Checker, spec, a1)
		settle()
		if got := b.State().Share; got != 0.25 {
			t.Errorf("share %v while the same kind of check is asked again, want it kept", got)
		}
		apply(l.registry, l.Checker, Spec{Checks: []CheckSpec{TCP{}}}, a1)
		if got := b.State().Share; got != 1 {
			t.Errorf("share %v with a check that reports none", got)
		}
	})
}

func says(line string) result { return result{reportsLoad: true, reply: parseAgentReply(line)} }

func TestAgentReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		spec := health10
		spec.Checks = append(spec.Checks, Agent{Port: 8081})
		b := apply(l.registry, l.Checker, spec, a1)[0]
		gone := result{reportsLoad: true, problem: "connect to 10.0.0.1:8081: connection refused"}
		const begin = "backend 10.0.0.1:80"
		for _, step := range []struct {
			agent result
			word  string
			share float64
			log   string
		}{
			{says("75%"), "up", 0.75, ""},
			{says("up maxconn:30"), "up", 0.75, ""},
			{gone, "up", 0.75, begin + ": agent check on port 8081: connect to 10.0.0.1:8081: connection refused"},
			{gone, "up", 0.75, ""},
			{says("drain"), "drain", 0.75, begin + ": agent check on port 8081: fine again\n" +
				begin + " is drain, was ready: agent check on port 8081: it says so"},
			{says("50%"), "drain", 0.5, ""},
			{says("ready"), "up", 0.5, begin + " is ready, was drain: agent check on port 8081: it says so"},
			{says("down #out of memory"), "down", 0.5, begin + ` is down, was up: agent check on port 8081: it says down: "out of memory"`},
			{says("100%"), "down", 1, ""},
			{gone, "down", 1, begin + ": agent check on port 8081: connect to 10.0.0.1:8081: connection refused"},
			{says("up"), "up", 1, begin + ": agent check on port 8081: fine again\n" +
				begin + " is up, was down: agent check on port 8081: it reports no problem"},
			{says("0%"), "draining", 0.01, begin + " is draining, was up: agent check on port 8081: it says 0%"},
			{says("100%"), "up", 1, begin + " is up, was draining: agent check on port 8081: it reports no problem"},
			{says("maint"), "maint", 1, begin + " is maint, was ready: agent check on port 8081: it says so"},
		} {
			l.set(key(a1, kindAgent), step.agent)
			time.Sleep(11 * time.Second)
			state := b.State()
			if state.Name != step.word || state.Share > step.share || state.Share < step.share-0.001 {
				t.Errorf("%s with share %v after %+v, want %s, %v", state.Name, state.Share, step.agent, step.word, step.share)
			}
			if got := l.log.take(); got != step.log {
				t.Errorf("logged\n%s\nwant\n%s", got, step.log)
			}
		}

		// What others have set isn't undone by an agent that doesn't mention
		// it.
		l.set(key(a1, kindAgent), says("up"))
		b.SetAdmin(pool.Ready, "somebody said so")
		b.SetAdmin(pool.Drain, "somebody said so")
		time.Sleep(30 * time.Second)
		if b.Admin() != pool.Drain {
			t.Errorf("%v, want what was set by hand", b.Admin())
		}
	})
}

func TestAgentIsNoLongerAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		spec := health10
		spec.Checks = append(spec.Checks, Agent{Port: 8081})
		l.set(key(a1, kindAgent), says("maint down"))
		b := apply(l.registry, l.Checker, spec, a1)[0]
		settle()

		faster := spec
		faster.Interval = time.Second
		l.set(key(a1, kindAgent), says("50%"))
		apply(l.registry, l.Checker, faster, a1)
		time.Sleep(10 * time.Second)
		if b.Operational() != pool.Down || b.Admin() != pool.Maint {
			t.Errorf("%v and %v with the same agent, want what it said to stand", b.Operational(), b.Admin())
		}
		apply(l.registry, l.Checker, health10, a1)
		time.Sleep(10 * time.Second)
		if b.Operational() != pool.Up || b.Admin() != pool.Ready {
			t.Errorf("%v and %v without an agent", b.Operational(), b.Admin())
		}
	})
}

// A pool whose only check is an agent must not depend on the agent.
func TestUnreachableAgentAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.set(key(a2, kindAgent), result{reportsLoad: true, problem: "connection refused"})
		spec := Spec{Checks: []CheckSpec{Agent{Port: 8081}}}
		apply(l.registry, l.Checker, spec, a1)
		b := apply(l.registry, l.Checker, spec, a1, a2)[1]
		settle()
		if b.Operational() != pool.Up {
			t.Errorf("a backend that joined is %v", b.Operational())
		}
	})
}

// A 503 counts when it comes, not when the slowest check is done.
func TestQuickAnswersCountAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		spec := health10
		spec.Checks = append(spec.Checks, WebSocket{})
		l.set(key(a1, kindHTTP), busy)
		l.delay[key(a1, kindWebSocket)] = time.Hour // the timeout
		b := apply(l.registry, l.Checker, spec, a1)[0]
		settle()
		if b.Operational() != pool.Draining {
			t.Errorf("%v, want draining", b.Operational())
		}
		time.Sleep(2 * time.Second)
		if got := l.log.take(); b.Operational() != pool.Down || !strings.Contains(got, "is down, was draining: websocket check /: no answer") {
			t.Errorf("%v, logged %q", b.Operational(), got)
		}
	})
}

// A check that takes longer than the interval delays the next; two never run at
// once.
func TestSlowChecksDontPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.delay[key(a1, kindHTTP)] = 1500 * time.Millisecond
		spec := health10
		spec.Interval = time.Second
		start := time.Now()
		apply(l.registry, l.Checker, spec, a1)
		time.Sleep(time.Minute)
		for i, at := range l.times(key(a1, kindHTTP), start) {
			if at != time.Duration(i)*1500*time.Millisecond {
				t.Fatalf("asked the %d. time at %v", i+1, at)
			}
		}
	})
}

func TestReloadsWhileChecksRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := pool.New(pool.Options{})
		defer r.Close()
		c := New(Options{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }})
		defer c.Close()
		spec := Spec{Checks: []CheckSpec{HTTP{}, TCP{}, Agent{Port: 1}}, Interval: time.Millisecond}
		for i := range 200 {
			spec.Fall = 1 + i/2%2
			b := apply(r, c, spec, []string{a1, a2, a3}[i%3:]...)
			time.Sleep(time.Duration(i%7) * time.Millisecond)
			if i%7 == 6 && b[0].Operational() != pool.Down {
				t.Fatalf("%v without a network", b[0].Operational())
			}
		}
	})
}
