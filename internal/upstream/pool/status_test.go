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

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// one is a pool with one backend, ws1, and what is logged about it.
func one(t *testing.T, s Spec) (*Registry, *Backend, *testkit.Log) {
	log := new(testkit.Log)
	r := New(Options{Logger: log.Logger("level", "msg"), Resolver: &fakeDNS{err: errors.New("no DNS here")}})
	t.Cleanup(r.Close)
	s.Name = "chat"
	s.Backends = append([]BackendSpec{{Name: "ws1", Address: "10.0.0.1:3000"}}, s.Backends...)
	pools, _ := r.Apply([]Spec{s})
	return r, pools["chat"].Members[0].Backend, log
}

func TestFitness(t *testing.T) {
	fail := func(b *Backend) { b.ConnectFailed("refused") }
	operational := func(o Operational) func(*Backend) { return func(b *Backend) { b.SetOperational(o, "") } }
	admin := func(a Admin) func(*Backend) { return func(b *Backend) { b.SetAdmin(a, "") } }
	for _, c := range []struct {
		name string
		what []func(*Backend)
		want Availability
		word string
	}{
		{"as it begins", nil, Available, "up"},
		{"ejected", []func(*Backend){fail, fail}, Ejected, "ejected"},
		{"warming", []func(*Backend){operational(Warming)}, Unhealthy, "warming"},
		{"down", []func(*Backend){operational(Down)}, Unhealthy, "down"},
		{"ejected and down", []func(*Backend){fail, fail, operational(Down)}, Unhealthy, "down"},
		{"draining by its 503", []func(*Backend){operational(Draining)}, Unavailable, "draining"},
		{"ejected and draining", []func(*Backend){fail, fail, operational(Draining)}, Unavailable, "draining"},
		{"drained", []func(*Backend){admin(Drain)}, Unavailable, "drain"},
		{"in maintenance", []func(*Backend){admin(Maint)}, Unavailable, "maint"},
		{"down in maintenance", []func(*Backend){operational(Down), admin(Maint)}, Unavailable, "maint"},
		{"drained and back", []func(*Backend){admin(Drain), admin(Ready)}, Available, "up"},
		{"ready and still down", []func(*Backend){operational(Down), admin(Drain), admin(Ready)}, Unhealthy, "down"},
		{"up and still drained", []func(*Backend){operational(Down), admin(Drain), operational(Up)}, Unavailable, "drain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, b, _ := one(t, Spec{MaxFails: 2, FailTimeout: time.Hour})
			for _, f := range c.what {
				f(b)
			}
			if got, word := b.Availability(), b.State().Name; got != c.want || word != c.word {
				t.Errorf("availability %d, %q, want %d, %q", got, word, c.want, c.word)
			}
			r.Apply(nil)
			if got, word := b.Availability(), b.State().Name; got != Unavailable || word != "removed" {
				t.Errorf("once removed: availability %d, %q", got, word)
			}
		})
	}
	t.Run("no address", func(t *testing.T) {
		r := New(Options{Resolver: &fakeDNS{err: noSuchHost}})
		defer r.Close()
		pools, _ := r.Apply(named())
		b := pools["chat"].Members[0].Backend
		if got, s := b.Availability(), b.State(); got != Unavailable || s.Name != "unresolved" || !strings.Contains(s.Reason, "does not resolve") {
			t.Errorf("availability %d, %+v", got, s)
		}
	})
}

// Each change is logged once, counted, and has a reason; setting the same state
// again isn't a change.
func TestChangesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, log := one(t, Spec{MaxFails: 2, FailTimeout: 30 * time.Second})
		changes := uint64(0)
		told := func(level slog.Level, what, reason string) {
			t.Helper()
			changes++
			if got, want := log.Take(), fmt.Sprintf("level=%v msg=\"backend ws1 is %s: %s\"\n", level, what, reason); got != want {
				t.Errorf("logged %s, want %s", got, want)
			}
			s := b.State()
			if what == "ready, was maint" { // what its checks found says why it is what it is now
				if s.Changes != changes || s.Reason != "status 503" {
					t.Errorf("state %+v, want change %d, for what its checks found", s, changes)
				}
			} else if s.Changes != changes || s.Reason != reason || !s.Since.Equal(time.Now()) {
				t.Errorf("state %+v, want change %d, now, for %q", s, changes, reason)
			}
			time.Sleep(time.Second)
		}
		silent := func() {
			t.Helper()
			if got := log.Take(); got != "" || b.State().Changes != changes {
				t.Errorf("changes %d, want %d; logged %s", b.State().Changes, changes, got)
			}
		}
		b.SetOperational(Up, "no news")
		b.SetAdmin(Ready, "no news")
		b.SetLoad(0.5)
		b.HandshakeSucceeded()
		b.ConnectFailed("refused")
		b.HandshakeSucceeded()
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
		b.ConnectFailed("timed out")
		b.ConnectFailed("refused")
		told(slog.LevelWarn, "ejected, was up", "2 handshakes in a row failed, the last: refused; ejected for 30s")
		b.ConnectFailed("refused") // one that was under way
		silent()
		b.HandshakeSucceeded()
		told(slog.LevelInfo, "up, was ejected", "a handshake succeeded")
	})
}

// The reason of a state is that of the change that caused it, not of the last.
func TestReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b, _ := one(t, Spec{MaxFails: 1, FailTimeout: time.Hour, Backends: []BackendSpec{{Address: "10.0.0.2:3000"}}})
		want := func(word, reason string, ago time.Duration) {
			t.Helper()
			s := b.State()
			since := time.Now().Add(-ago)
			if s.Name != word || s.Reason != reason || !s.Since.Equal(since) {
				t.Errorf("%+v, want %s since %v: %q", s, word, since, reason)
			}
			time.Sleep(time.Second)
		}
		b.SetAdmin(Drain, "asked for")
		want("drain", "asked for", 0)
		b.SetOperational(Down, "refused")
		want("drain", "asked for", time.Second)
		b.SetAdmin(Ready, "asked for")
		want("down", "refused", time.Second)
		b.UpdateReason(Up, "no news")
		b.UpdateReason(Down, "status 500")
		want("down", "status 500", 2*time.Second)
		b.SetOperational(Up, "status 200")
		want("up", "status 200", 0)
		b.SetAdmin(Maint, "an agent says so")
		b.SetAdmin(Ready, "an agent says so")
		want("up", "", 0) // as ever
		b.ConnectFailed("refused")
		want("ejected", "1 handshakes in a row failed, the last: refused; ejected for 1h0m0s", 0)
		b.HandshakeSucceeded()
		want("up", "a handshake succeeded", 0)
		b.ClearChecks()
		want("up", "a handshake succeeded", time.Second)
		b.SetOperational(Down, "refused")
		b.ClearChecks()
		want("up", "it is no longer checked", 0)
		b.TryAcquire()
		r.Apply(nil)
		want("removed", "it has left the configuration or discovery", 0)
	})
}

// A backend that has always been up has no reason to update.
func TestUpdateReasonWithoutAny(t *testing.T) {
	_, b, _ := one(t, Spec{})
	b.UpdateReason(Up, "status 200")
	b.ClearChecks()
	if s := b.State(); s.Reason != "" || !s.Since.IsZero() || s.Changes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, _ := one(t, Spec{MaxFails: 3, FailTimeout: 30 * time.Second})
		fails := func(n int, want Availability) {
			t.Helper()
			for range n {
				b.ConnectFailed("refused")
			}
			if got := b.Availability(); got != want {
				t.Errorf("availability %d after %d failures, want %d", got, n, want)
			}
		}
		fails(2, Available)
		time.Sleep(31 * time.Second)
		fails(2, Available) // the others are too long ago
		b.HandshakeSucceeded()
		fails(2, Available) // not in a row
		fails(1, Ejected)
		begun := time.Now()
		time.Sleep(30*time.Second - 1)
		if b.Availability() != Ejected {
			t.Error("taken back before its time")
		}
		time.Sleep(1)
		synctest.Wait()
		if s := b.State(); b.Availability() != Available || s.Changes != 2 || s.Reason != "the ejection is over: it is tried again" || !s.Since.Equal(begun.Add(30*time.Second)) {
			t.Errorf("when its time is over: %+v", s)
		}
		time.Sleep(time.Hour)
		fails(1, Ejected) // one more is enough
		time.Sleep(31 * time.Second)
		b.HandshakeSucceeded()
		fails(2, Available)
		fails(1, Ejected)
		b.HandshakeSucceeded() // of one that was under way
		if b.Availability() != Available {
			t.Error("still ejected though a handshake succeeded")
		}
	})
}

// The checks find a restarted server up long before its ejection would end.
func TestChecksEndAnEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, _ := one(t, Spec{MaxFails: 3, FailTimeout: 30 * time.Second})
		eject := func() {
			for range 3 {
				b.ConnectFailed("refused")
			}
		}
		eject()
		b.SetOperational(Up, "passed") // as it was: the checks may not see what clients do
		if b.Availability() != Ejected {
			t.Error("a check that sees no change ends an ejection")
		}
		b.SetOperational(Down, "refused")
		b.SetOperational(Up, "passed twice")
		if b.Availability() != Available {
			t.Error("still ejected though it came back")
		}
		b.ConnectFailed("refused")
		b.ConnectFailed("refused")
		if b.Availability() != Available {
			t.Error("failures from before it came back count")
		}
		eject()
		b.SetOperational(Draining, "503")
		b.SetOperational(Up, "passed")
		if b.Availability() != Ejected {
			t.Error("a drain that is taken back ends an ejection")
		}
		time.Sleep(31 * time.Second)
	})
}

func TestNoEjectionUnlessConfigured(t *testing.T) {
	r, b, _ := one(t, Spec{})
	for range 100 {
		b.ConnectFailed("refused")
	}
	if b.Availability() != Available {
		t.Error("ejected without max_fails")
	}
	ws1 := BackendSpec{Name: "ws1", Address: "10.0.0.1:3000"}
	r.Apply([]Spec{{Name: "chat", MaxFails: 1, FailTimeout: time.Hour, SlowStart: time.Hour, Backends: []BackendSpec{ws1}}})
	b.ConnectFailed("refused")
	if b.Availability() != Ejected {
		t.Error("not ejected by a max_fails that a reload brought")
	}
	r.Apply(spec(ws1))
	if b.Availability() != Available || b.Share() != FullShare {
		t.Errorf("availability %d, share %d once max_fails is gone", b.Availability(), b.Share())
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

// nearly allows for the rounding of a slow start.
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

		b.ConnectFailed("refused")
		full("while ejected: if it is asked at all, then in earnest")
		time.Sleep(10 * time.Second)
		ramp("back from ejection")
		b.ConnectFailed("refused")
		time.Sleep(5 * time.Second)
		b.HandshakeSucceeded()
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

// The longest slow start that a file may have, and more.
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

func TestJoining(t *testing.T) {
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
			log.Take()
			pools, _ := r.Apply([]Spec{s})
			joined := pools["chat"].Members[1].Backend
			time.Sleep(30 * time.Second)
			if first.Operational() != Up || first.Share() != FullShare {
				t.Errorf("%s: the first is %v with share %d", c.name, first.Operational(), first.Share())
			}
			if joined.Operational() != c.want || !nearly(joined.Share(), c.share) {
				t.Errorf("%s: %v with share %d, want %v and %v", c.name, joined.Operational(), joined.Share(), c.want, c.share)
			}
			if got := log.Take(); (c.want == Warming) != strings.Contains(got, "backend ws2 is warming, was up: it joined") {
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

// If a reload replaces every backend of a pool, no other can take the sessions
// meanwhile.
func TestReplacingAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := one(t, Spec{Checked: true, SlowStart: time.Minute})
		s := Spec{Name: "chat", Checked: true, SlowStart: time.Minute, Backends: []BackendSpec{{Name: "green", Address: "10.0.1.1:3000"}}}
		pools, left := r.Apply([]Spec{s})
		if green := pools["chat"].Members[0].Backend; len(left) != 1 || green.Availability() != Available || green.Share() != FullShare {
			t.Errorf("%d left, the new one is %v with share %d", len(left), green.Operational(), green.Share())
		}
	})
}

// The results of checks are dropped when the checks end; the administrative state
// stays.
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
