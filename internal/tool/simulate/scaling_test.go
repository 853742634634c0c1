package simulate

import (
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// A server that joins is warming until its checks pass, and gets nothing. After that its share grows.
func TestWarming(t *testing.T) {
	s := scenario(6000, 2)
	s.Arrive, s.Servers.Capacity = 100*time.Second, 1000 // 60 a second
	s.Events = []Event{{At: 10 * time.Second, Scale: &Scale{To: 3, Warm: 20 * time.Second}}}
	const up = 30 * time.Second
	gets := func(slowStart time.Duration) (atFirst int) {
		s.Pools[0].SlowStart = slowStart
		run(t, s, func(w *world) {
			if len(w.servers) < 3 {
				return
			}
			b := w.servers[2].backend
			if w.now < up && (b.Operational() != pool.Warming || b.Sessions() > 0) {
				t.Fatalf("after %v it is %v and has %d sessions", w.now, b.Operational(), b.Sessions())
			}
			if w.now < up+10*time.Second {
				atFirst = b.Sessions()
			}
		})
		return atFirst
	}
	// 600 clients arrive in those 10 s. An empty backend gets at most twice its share of them.
	if most := gets(0); most < 390 || most > 410 {
		t.Errorf("it got %d sessions in 10 s without slow start, want 400", most)
	}
	if some := gets(time.Minute); some < 50 || some > 200 {
		t.Errorf("it got %d sessions in 10 s with a slow start of a minute, want far fewer than 400", some)
	}
}

// Servers that join one after the other are up at their times.
func TestJoinOneByOne(t *testing.T) {
	s := scenario(100, 2)
	s.Events = []Event{{At: 10 * time.Second, Scale: &Scale{To: 5, Every: 5 * time.Second, Warm: 2 * time.Second}}}
	want := map[int]time.Duration{2: 12 * time.Second, 3: 17 * time.Second, 4: 22 * time.Second}
	got := map[int]time.Duration{}
	s.Arrive = 100 * time.Second
	run(t, s, func(w *world) {
		for i, b := range w.servers {
			if _, known := got[i]; i >= 2 && !known && b.backend.Operational() == pool.Up {
				got[i] = w.now
			}
		}
	})
	for i, at := range want {
		if d := got[i] - at; d < 0 || d > time.Second || len(got) != 3 {
			t.Errorf("server %d was up at %v, want %v", i, got[i], at)
		}
	}
}

// uneven has 4 servers with 900 sessions each and two that joined late, with fewer than 100 each.
func uneven() *Scenario {
	s := scenario(3800, 4)
	s.Servers.Capacity = 1000
	s.Arrive = 38 * time.Second // 100 a second
	s.Events = []Event{{At: 36 * time.Second, Scale: &Scale{To: 6}}}
	s.Duration = 5 * time.Minute
	return s
}

// A scale-in removes the servers that it should.
func TestScaleIn(t *testing.T) {
	for which, want := range map[string]func(removed int) bool{
		Emptiest: func(n int) bool { return n >= 100 && n <= 200 },
		Newest:   func(n int) bool { return n >= 100 && n <= 200 },
		Random:   func(n int) bool { return n > 900 }, // of this seed
	} {
		t.Run(which, func(t *testing.T) {
			s := uneven()
			s.Pools[0].ScaleIn = which
			s.Events = append(s.Events, Event{At: 70 * time.Second, Scale: &Scale{To: 4, Grace: time.Minute}})
			var last *world
			r := run(t, s, func(w *world) { last = w })
			left := 0
			for _, b := range last.servers {
				if b.leaving {
					left++
					if b.up || b.backend.Sessions() > 0 {
						t.Errorf("server %d is up %v and has %d sessions at the end", b.index, b.up, b.backend.Sessions())
					}
				}
			}
			if !want(r.Closes) || left != 2 || r.Missing > 0 {
				t.Errorf("%d sessions were closed, %d servers left, %d clients missing", r.Closes, left, r.Missing)
			}
			if r.PeakCloses > r.Closes/10 {
				t.Errorf("%d of %d closes in a second: they aren't spread", r.PeakCloses, r.Closes)
			}
		})
	}
	// Of servers of which the first are the emptiest, the newest aren't.
	s := scenario(3000, 4)
	s.Duration = 10 * time.Minute
	s.Events = []Event{
		{At: 10 * time.Second, Kill: &Kill{Servers: 1, Back: 0}},
		{At: 5 * time.Minute, Scale: &Scale{To: 5}},
		{At: 7 * time.Minute, Scale: &Scale{To: 4, Grace: time.Minute}},
	}
	for which, index := range map[string]int{Emptiest: 0, Newest: 4} {
		s.Pools[0].ScaleIn = which
		run(t, s, func(w *world) {
			if len(w.servers) < 5 || w.now < 8*time.Minute {
				// Something must happen after that, so that this is looked at.
				if w.now > 6*time.Minute && w.now < 7*time.Minute && which == Emptiest {
					w.servers[4].cost, w.servers[0].cost = 100, 0
				}
				return
			}
			for _, b := range w.servers {
				if b.leaving != (int(b.index) == index) {
					t.Fatalf("%s: server %d leaves: %v", which, b.index, b.leaving)
				}
			}
		})
	}
}

// With reattach no client notices that servers leave.
func TestScaleInMovesSessions(t *testing.T) {
	s := uneven()
	p := &s.Pools[0]
	p.ScaleIn, p.Reattach = Emptiest, session.Reattach{Drain: true, Timeout: 10 * time.Second}
	s.Events = append(s.Events, Event{At: 70 * time.Second, Scale: &Scale{To: 2, Grace: time.Minute}})
	r := run(t, s, nil)
	if r.Closes != 0 || r.Moved < 1900 || r.SessionsMin+r.SessionsMax != 3800 {
		t.Errorf("%d closes, %d moved, %d to %d sessions at the end", r.Closes, r.Moved, r.SessionsMin, r.SessionsMax)
	}
}

// Sessions that are left when the grace period ends are lost; a drain ends before that.
func TestGrace(t *testing.T) {
	s := scenario(300, 3)
	s.Pools[0].ScaleIn = Emptiest
	s.Events = []Event{{At: 70 * time.Second, Scale: &Scale{To: 2, Grace: 12 * time.Second}}}
	r := run(t, s, nil)
	first, last := 0, 0 // seconds with closes
	for i, second := range r.Series {
		if second.Closes > 0 {
			last = i
			if first == 0 {
				first = i
			}
		}
	}
	if r.Closes != 100 || first < 70 || last > 80 || r.PeakCloses > 15 {
		t.Errorf("%d closes between %d s and %d s, %d in a second; want 100 over 10 s", r.Closes, first, last, r.PeakCloses)
	}
	s.Events[0].Scale.Grace = time.Second
	if r := run(t, s, nil); r.Closes != 100 || r.PeakCloses != 100 {
		t.Errorf("%d closes, %d in a second; want all at once", r.Closes, r.PeakCloses)
	}
}

// A rolling deploy goes on without servers that leave meanwhile, and they don't come back.
func TestScaleInDuringDeploy(t *testing.T) {
	s := scenario(900, 6)
	s.Duration = 20 * time.Minute
	s.Servers.Capacity = 1000
	s.Pools[0].ScaleIn = Newest
	s.Events = []Event{
		{At: 10 * time.Second, Restart: &Restart{Servers: 6, Parallel: 1}},
		{At: 15 * time.Second, Scale: &Scale{To: 4, Grace: time.Minute}},
	}
	var last *world
	r := run(t, s, func(w *world) { last = w })
	up := 0
	for _, b := range last.servers {
		if b.up {
			up++
		}
	}
	if up != 4 || r.Missing > 0 || last.servers[0].started < 0 || last.servers[5].started >= 0 {
		t.Errorf("%d servers are up, %d clients missing", up, r.Missing)
	}
}

// A cold server is slow, and less so until it is warm.
func TestCold(t *testing.T) {
	s := scenario(10, 1)
	s.Servers.Capacity, s.Servers.ColdFor, s.Servers.ColdSlowdown = 10, 10*time.Second, 5
	w, err := newWorld(s, &s.Pools[0], &s.Clients[0])
	if err != nil {
		t.Fatal(err)
	}
	b := w.servers[0]
	if got := w.serviceTime(b); got != 100*time.Millisecond {
		t.Errorf("one that was there from the beginning takes %v", got)
	}
	b.started, w.now = time.Second, time.Second
	for age, want := range map[time.Duration]time.Duration{0: 500, 5 * time.Second: 300, 10 * time.Second: 100} {
		w.now = b.started + age
		if got := w.serviceTime(b); got != want*time.Millisecond {
			t.Errorf("%v after its start a handshake takes %v, want %v", age, got, want*time.Millisecond)
		}
	}
}

func TestEvenIn(t *testing.T) {
	s := scenario(3000, 3)
	s.Duration = 4 * time.Minute
	p := &s.Pools[0]
	if r := run(t, s, nil); !r.EvenAtEnd || r.EvenIn != 0 || r.evenIn() != "-" {
		t.Errorf("nothing happens: even %v after %v", r.EvenAtEnd, r.EvenIn)
	}
	s.Events = []Event{{At: 10 * time.Second, Add: 1}}
	if r := run(t, s, nil); r.EvenAtEnd || r.evenIn() != "not" {
		t.Errorf("without rebalancing: even %v", r.EvenAtEnd)
	}
	p.Rebalance, p.Reattach = &Rebalance{Above: 0.05, Rate: 5}, session.Reattach{Rebalance: true, Timeout: 10 * time.Second}
	// 250 of each of three at 5 a second; 225 are enough for nine tenths of the mean.
	if r := run(t, s, nil); !r.EvenAtEnd || r.EvenIn < 43 || r.EvenIn > 52 {
		t.Errorf("with rebalancing: even %v after %v", r.EvenAtEnd, r.EvenIn)
	}
}
