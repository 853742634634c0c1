package pool

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// one is a pool with one backend, ws1, and what is logged about it.
func one(t *testing.T, s Spec) (*Registry, *Backend, *logLines) {
	log := new(logLines)
	r := New(Options{Logger: log.logger(), Resolver: &fakeDNS{err: errors.New("no DNS here")}})
	t.Cleanup(r.Close)
	s.Name = "chat"
	s.Backends = append([]BackendSpec{{Name: "ws1", Address: "10.0.0.1:3000"}}, s.Backends...)
	pools, _ := r.Apply([]Spec{s})
	return r, pools["chat"].Members[0].Backend, log
}

func TestFitness(t *testing.T) {
	fail := func(b *Backend) { b.HandshakeFailed("refused") }
	operational := func(o Operational) func(*Backend) { return func(b *Backend) { b.SetOperational(o, "") } }
	admin := func(a Admin) func(*Backend) { return func(b *Backend) { b.SetAdmin(a, "") } }
	for _, c := range []struct {
		name string
		what []func(*Backend)
		want Fitness
		word string
	}{
		{"as it begins", nil, Fit, "up"},
		{"ejected", []func(*Backend){fail, fail}, Ejected, "ejected"},
		{"warming", []func(*Backend){operational(Warming)}, Unfit, "warming"},
		{"down", []func(*Backend){operational(Down)}, Unfit, "down"},
		{"ejected and down", []func(*Backend){fail, fail, operational(Down)}, Unfit, "down"},
		{"draining by its 503", []func(*Backend){operational(Draining)}, Closed, "draining"},
		{"ejected and draining", []func(*Backend){fail, fail, operational(Draining)}, Closed, "draining"},
		{"drained", []func(*Backend){admin(Drain)}, Closed, "drain"},
		{"in maintenance", []func(*Backend){admin(Maint)}, Closed, "maint"},
		{"down in maintenance", []func(*Backend){operational(Down), admin(Maint)}, Closed, "maint"},
		{"drained and back", []func(*Backend){admin(Drain), admin(Ready)}, Fit, "up"},
		{"ready and still down", []func(*Backend){operational(Down), admin(Drain), admin(Ready)}, Unfit, "down"},
		{"up and still drained", []func(*Backend){operational(Down), admin(Drain), operational(Up)}, Closed, "drain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, b, _ := one(t, Spec{MaxFails: 2, FailTimeout: time.Hour})
			for _, f := range c.what {
				f(b)
			}
			if got, word := b.Fitness(), b.State().Word; got != c.want || word != c.word {
				t.Errorf("fitness %d, %q, want %d, %q", got, word, c.want, c.word)
			}
			r.Apply(nil)
			if got, word := b.Fitness(), b.State().Word; got != Closed || word != "removed" {
				t.Errorf("once removed: fitness %d, %q", got, word)
			}
		})
	}
	t.Run("no address", func(t *testing.T) {
		r := New(Options{Resolver: &fakeDNS{err: noSuchHost}})
		defer r.Close()
		pools, _ := r.Apply(named())
		b := pools["chat"].Members[0].Backend
		if got, s := b.Fitness(), b.State(); got != Closed || s.Word != "unresolved" || !strings.Contains(s.Reason, "does not resolve") {
			t.Errorf("fitness %d, %+v", got, s)
		}
	})
}

// Every change is one line, counted, and told with its reason; what is no
// change is nothing.
func TestChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, log := one(t, Spec{MaxFails: 2, FailTimeout: 30 * time.Second})
		changes := uint64(0)
		told := func(level slog.Level, what, reason string) {
			t.Helper()
			changes++
			if got, want := log.take(), fmt.Sprintf("level=%v msg=\"backend ws1 is %s: %s\"\n", level, what, reason); got != want {
				t.Errorf("logged %s, want %s", got, want)
			}
			s := b.State()
			if s.Changes != changes || s.Reason != reason || !s.Since.Equal(time.Now()) {
				t.Errorf("state %+v, want change %d, now, for %q", s, changes, reason)
			}
			time.Sleep(time.Second)
		}
		silent := func() {
			t.Helper()
			if got := log.take(); got != "" || b.State().Changes != changes {
				t.Errorf("changes %d, want %d; logged %s", b.State().Changes, changes, got)
			}
		}
		b.SetOperational(Up, "no news")
		b.SetAdmin(Ready, "no news")
		b.SetLoad(0.5)
		b.HandshakeOK()
		b.HandshakeFailed("refused")
		b.HandshakeOK()
		silent()
		b.SetOperational(Down, "refused")
		told(slog.LevelWarn, "down, was up", "refused")
		b.SetOperational(Down, "timed out")
		silent()
		b.SetOperational(Warming, "status 200")
		told(slog.LevelInfo, "warming, was down", "status 200")
		b.SetOperational(Up, "status 200, twice")
		told(slog.LevelInfo, "up, was warming", "status 200, twice")
		b.SetOperational(Draining, "status 503")
		told(slog.LevelInfo, "draining, was up", "status 503")
		b.SetAdmin(Maint, "an agent says so")
		told(slog.LevelInfo, "maint, was ready", "an agent says so")
		b.SetAdmin(Ready, "an agent says so again")
		told(slog.LevelInfo, "ready, was maint", "an agent says so again")
		b.SetOperational(Up, "status 200")
		told(slog.LevelInfo, "up, was draining", "status 200")
		b.HandshakeFailed("timed out")
		b.HandshakeFailed("refused")
		told(slog.LevelWarn, "ejected, was up", "2 handshakes in a row failed, the last: refused; left alone for 30s")
		b.HandshakeFailed("refused") // one that was under way
		silent()
		b.HandshakeOK()
		told(slog.LevelInfo, "up, was ejected", "a handshake succeeded")
	})
}

func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, _ := one(t, Spec{MaxFails: 3, FailTimeout: 30 * time.Second})
		fails := func(n int, want Fitness) {
			t.Helper()
			for range n {
				b.HandshakeFailed("refused")
			}
			if got := b.Fitness(); got != want {
				t.Errorf("fitness %d after %d failures, want %d", got, n, want)
			}
		}
		fails(2, Fit)
		time.Sleep(31 * time.Second)
		fails(2, Fit) // the others are too long ago
		b.HandshakeOK()
		fails(2, Fit) // not in a row
		fails(1, Ejected)
		begun := time.Now()
		time.Sleep(30*time.Second - 1)
		if b.Fitness() != Ejected {
			t.Error("taken back before its time")
		}
		time.Sleep(1)
		synctest.Wait()
		if s := b.State(); b.Fitness() != Fit || s.Changes != 2 || s.Reason != "its time is over: it is tried again" || !s.Since.Equal(begun.Add(30*time.Second)) {
			t.Errorf("when its time is over: %+v", s)
		}
		time.Sleep(time.Hour)
		fails(1, Ejected) // one more is enough
		time.Sleep(31 * time.Second)
		b.HandshakeOK()
		fails(2, Fit)
		fails(1, Ejected)
		b.HandshakeOK() // of one that was under way
		if b.Fitness() != Fit {
			t.Error("still ejected though a handshake succeeded")
		}
	})
}

// A server that was restarted is found up long before its ejection would end.
func TestChecksEndAnEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, _ := one(t, Spec{MaxFails: 3, FailTimeout: 30 * time.Second})
		eject := func() {
			for range 3 {
				b.HandshakeFailed("refused")
			}
		}
		eject()
		b.SetOperational(Up, "passed") // as it was: the checks may not see what clients do
		if b.Fitness() != Ejected {
			t.Error("a check that sees no change ends an ejection")
		}
		b.SetOperational(Down, "refused")
		b.SetOperational(Up, "passed twice")
		if b.Fitness() != Fit {
			t.Error("still ejected though it came back")
		}
		b.HandshakeFailed("refused")
		b.HandshakeFailed("refused")
		if b.Fitness() != Fit {
			t.Error("failures from before it came back count")
		}
		eject()
		b.SetOperational(Draining, "503")
		b.SetOperational(Up, "passed")
		if b.Fitness() != Ejected {
			t.Error("a drain that is taken back ends an ejection")
		}
		time.Sleep(31 * time.Second)
	})
}

func TestNoEjectionUnlessConfigured(t *testing.T) {
	r, b, _ := one(t, Spec{})
	for range 100 {
		b.HandshakeFailed("refused")
	}
	if b.Fitness() != Fit {
		t.Error("ejected without max_fails")
	}
	ws1 := BackendSpec{Name: "ws1", Address: "10.0.0.1:3000"}
	r.Apply([]Spec{{Name: "chat", MaxFails: 1, FailTimeout: time.Hour, SlowStart: time.Hour, Backends: []BackendSpec{ws1}}})
	b.HandshakeFailed("refused")
	if b.Fitness() != Ejected {
		t.Error("not ejected by a max_fails that a reload brought")
	}
	r.Apply(spec(ws1))
	if b.Fitness() != Fit || b.Share() != FullShare {
		t.Errorf("fitness %d, share %d once max_fails is gone", b.Fitness(), b.Share())
	}
}

func TestShareFollowsLoad(t *testing.T) {
	_, b, _ := one(t, Spec{})
	for _, c := range []struct {
		capacity float64
		want     uint32
	}{
		{1, FullShare}, {0.5, FullShare / 2}, {0.25, FullShare / 4}, {0, 1}, {-1, 1}, {2, FullShare},
		{math.Inf(1), FullShare}, {math.Inf(-1), 1}, {math.NaN(), 1},
	} {
		b.SetLoad(c.capacity)
		if got := b.Share(); got != c.want {
			t.Errorf("share %d for %v, want %d", got, c.capacity, c.want)
		}
	}
}

// nearly allows for the rounding of a ramp.
func nearly(got uint32, want float64) bool { return math.Abs(float64(got)-want*FullShare) <= 1 }

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, _ := one(t, Spec{SlowStart: 30 * time.Second, MaxFails: 1, FailTimeout: 10 * time.Second})
		ramp := func(why string) {
			t.Helper()
			for _, part := range []float64{0, 0.25, 0.5, 0.75, 1} {
				if got := b.Share(); !nearly(got, part) || got < 1 {
					t.Errorf("%s: share %d after %v of its slow start", why, got, part)
				}
				time.Sleep(7500 * time.Millisecond)
			}
		}
		full := func(why string) {
			t.Helper()
			if got := b.Share(); got != FullShare {
				t.Errorf("%s: share %d, want %d", why, got, FullShare)
			}
		}
		full("at the balancer's start")
		b.SetOperational(Down, "")
		b.SetOperational(Up, "")
		ramp("back from down")
		b.SetOperational(Warming, "")
		time.Sleep(time.Hour)
		b.SetOperational(Up, "")
		ramp("back from warming")
		b.SetOperational(Draining, "")
		b.SetOperational(Up, "")
		full("back from draining, it has its sessions still")

		b.HandshakeFailed("refused")
		full("while ejected: if it is asked at all, then in earnest")
		time.Sleep(10 * time.Second)
		ramp("back from ejection")
		b.HandshakeFailed("refused")
		time.Sleep(5 * time.Second)
		b.HandshakeOK()
		ramp("taken back early")

		b.SetOperational(Down, "")
		b.SetOperational(Up, "")
		b.SetLoad(0.5)
		time.Sleep(15 * time.Second)
		if got := b.Share(); !nearly(got, 0.25) {
			t.Errorf("share %d, want half of half", got)
		}
	})
}

// The longest slow start that a file may have, and then some.
func TestLongSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const year = 365 * 24 * time.Hour
		_, b, _ := one(t, Spec{SlowStart: 2 * year})
		b.SetOperational(Down, "")
		b.SetOperational(Up, "")
		time.Sleep(year)
		if got := b.Share(); !nearly(got, 0.5) {
			t.Errorf("share %d half-way", got)
		}
	})
}

func TestThoseThatJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			spec  Spec
			want  Operational
			share float64
		}{
			{"unchecked", Spec{}, Up, 1},
			{"unchecked, with a slow start", Spec{SlowStart: time.Minute}, Up, 0.5},
			{"checked", Spec{Checked: true, SlowStart: time.Minute}, Warming, 1},
		} {
			r, first, log := one(t, c.spec)
			s := c.spec
			s.Name = "chat"
			s.Backends = []BackendSpec{{Name: "ws1", Address: "10.0.0.1:3000"}, {Name: "ws2", Address: "10.0.0.2:3000"}}
			log.take()
			pools, _ := r.Apply([]Spec{s})
			joined := pools["chat"].Members[1].Backend
			time.Sleep(30 * time.Second)
			if first.Operational() != Up || first.Share() != FullShare {
				t.Errorf("%s: the first is %v with share %d", c.name, first.Operational(), first.Share())
			}
			if joined.Operational() != c.want || !nearly(joined.Share(), c.share) {
				t.Errorf("%s: %v with share %d, want %v and %v", c.name, joined.Operational(), joined.Share(), c.want, c.share)
			}
			if got := log.take(); (c.want == Warming) != strings.Contains(got, "backend ws2 is warming, was up: it joined") {
				t.Errorf("%s: logged %s", c.name, got)
			}
			joined.SetOperational(Up, "its checks passed")
			r.Apply([]Spec{s})
			if joined.Operational() != Up {
				t.Errorf("%s: %v after a reload that changed nothing", c.name, joined.Operational())
			}
		}
	})
}

// Where a reload replaces every backend of a pool, there is nobody to take the
// sessions meanwhile.
func TestThoseThatReplaceAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := one(t, Spec{Checked: true, SlowStart: time.Minute})
		s := Spec{Name: "chat", Checked: true, SlowStart: time.Minute, Backends: []BackendSpec{{Name: "green", Address: "10.0.1.1:3000"}}}
		pools, left := r.Apply([]Spec{s})
		if green := pools["chat"].Members[0].Backend; len(left) != 1 || green.Fitness() != Fit || green.Share() != FullShare {
			t.Errorf("%d left, the new one is %v with share %d", len(left), green.Operational(), green.Share())
		}
	})
}

// What checks found doesn't outlive them. What is wanted does.
func TestChecksThatEnd(t *testing.T) {
	r, b, _ := one(t, Spec{Checked: true})
	b.SetOperational(Down, "status 500")
	b.SetLoad(0.1)
	b.SetAdmin(Drain, "an operator says so")
	ws1 := BackendSpec{Name: "ws1", Address: "10.0.0.1:3000"}
	r.Apply([]Spec{{Name: "chat", Checked: true, Backends: []BackendSpec{ws1}}})
	if b.Operational() != Down {
		t.Errorf("%v after a reload that changed nothing", b.Operational())
	}
	for range 2 {
		r.Apply(spec(ws1))
		if b.Operational() != Up || b.Share() != FullShare || b.Admin() != Drain {
			t.Errorf("%v, share %d, %v; want up, all and drain", b.Operational(), b.Share(), b.Admin())
		}
	}
}
