package discovery

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

const srvOne, srvTwo = "ws.internal. 5 IN SRV 0 0 3000 ws1.internal.", "ws.internal. 5 IN SRV 0 0 3000 ws2.internal."

func TestApplyKeepsWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.dns.set("ws.internal. SRV", records(srvOne))
		w.dns.set("other.internal. SRV", records("other.internal. 5 IN SRV 0 0 3000 other1.internal."))
		chat, other := srvSpec("ws.internal."), srvSpec("other.internal.")
		w.Apply(map[string]Spec{"chat": chat, "other": other}, time.Second)
		before := w.pools["chat"].feeds[0]
		w.dns.take()

		again := srvSpec("ws.internal.")
		again.DNS.Refresh = defaultRefresh // what 0 means
		w.Apply(map[string]Spec{"chat": again}, time.Second)
		if w.pools["chat"].feeds[0] != before {
			t.Error("an unchanged source was started again")
		}
		if asked := w.dns.take(); len(asked) > 0 {
			t.Errorf("asked %v for what stayed", asked)
		}
		if w.Members("other") != nil || len(w.States()) != 1 {
			t.Errorf("a pool that left has members %v, states %v", w.Members("other"), w.States())
		}
		sleep(time.Minute)
		for _, q := range w.dns.take() {
			if q.name != "ws.internal. SRV" {
				t.Errorf("asked for %s, which left", q.name)
			}
		}
		w.wantChanges()
		w.wantLog("")
	})
}

// A reload while DNS is down must not lose the members, unless the name is another.
func TestApplyKeepsTheAnswerOfTheSameName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.dns.set("ws.internal. SRV", records(srvOne))
		w.Apply(map[string]Spec{"chat": srvSpec("ws.internal.")}, time.Second)
		w.dns.set("ws.internal. SRV", broken)
		spec := srvSpec("ws.internal.")
		spec.DNS.Refresh, spec.DNS.Server = time.Minute, hostport.MustParse("10.0.0.9:53")
		w.Apply(map[string]Spec{"chat": spec}, time.Second)
		w.wantMembers("chat", "ws1.internal:3000")
		w.wantLog(`level=WARN msg="pool chat: DNS SRV ws.internal.: 10.0.0.9:53 sent nonsense; going on with the last list, 1 backend"` + "\n")
		w.Apply(map[string]Spec{"chat": srvSpec("another.internal.")}, time.Second)
		w.wantMembers("chat")
	})
}

func TestOnChangeOncePerChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		spec := map[string]Spec{"a": srvSpec("ws.internal."), "b": srvSpec("ws.internal."), "c": srvSpec("ws.internal.")}
		w.dns.set("ws.internal. SRV", records(srvOne, srvTwo))
		w.Apply(spec, time.Second)
		w.dns.set("ws.internal. SRV", records(srvTwo, srvOne)) // shuffled
		sleep(time.Minute)
		w.wantChanges()
		w.dns.set("ws.internal. SRV", records(srvOne, "ws.internal. 5 IN SRV 0 0 3000 ws3.internal.", "ws.internal. 5 IN SRV 0 0 3000 ws4.internal."))
		sleep(time.Minute)
		changes := w.takeChanges()
		slices.Sort(changes)
		if !slices.Equal(changes, []string{"a", "b", "c"}) {
			t.Errorf("Changed was called for %q, want each once", changes)
		}
		if got := w.log.take(); strings.Count(got, "DNS SRV ws.internal. changed: 3 backends, 2 new, 1 gone") != 3 {
			t.Errorf("logged\n%s", got)
		}
		w.dns.set("ws.internal. SRV", records(srvOne, "ws.internal. 5 IN SRV 0 7 3000 ws3.internal.", "ws.internal. 5 IN SRV 0 0 3000 ws4.internal."))
		sleep(time.Minute)
		w.wantMembers("a", "ws1.internal:3000", "ws3.internal:3000 7", "ws4.internal:3000")
		if got := w.log.take(); strings.Count(got, "changed: other weights or bounds for 3 backends") != 3 {
			t.Errorf("logged\n%s", got)
		}
	})
}

// Changes are collected for a moment; a list that is as before by then isn't
// announced. Calls are made one at a time, however long they take.
func TestOnChangeIsDebouncedAndSerial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		var mu sync.Mutex
		inside := 0
		w.called = func() {
			mu.Lock()
			inside++
			if inside > 1 {
				t.Error("two calls of Changed at once")
			}
			mu.Unlock()
			time.Sleep(10 * time.Second)
			mu.Lock()
			inside--
			mu.Unlock()
		}
		w.dns.set("ws.internal. SRV", records(srvOne))
		w.Apply(map[string]Spec{"a": srvSpec("ws.internal."), "b": srvSpec("ws.internal.")}, time.Second)
		a, b := w.pools["a"].feeds[0], w.pools["b"].feeds[0]
		ctx := t.Context()
		list := func(names ...string) (members []Member) {
			for _, n := range names {
				members = append(members, Member{Name: n, Address: n, Weight: 1})
			}
			return members
		}
		before := a.members

		a.update(ctx, list("x:1"))
		time.Sleep(settle / 2)
		a.update(ctx, before)
		sleep(settle)
		w.wantChanges()

		a.update(ctx, list("x:1"))
		time.Sleep(settle / 2)
		a.update(ctx, list("x:1", "y:1"))
		b.update(ctx, list("z:1"))
		sleep(settle/2 - 1)
		w.wantChanges()
		sleep(1)
		w.wantChanges("a", "b")
		a.update(ctx, list("x:1")) // while its change is reported
		sleep(10 * time.Second)
		w.wantChanges()
		sleep(30 * time.Second)
		w.wantChanges("a", "b") // and what DNS said again meanwhile
	})
}

func TestDNSAndFileTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		file := filepath.Join(t.TempDir(), "backends.json")
		write(t, file, `[{"name": "ws9", "address": "WS1.internal:3000", "weight": 9}, {"name": "ws2.internal:3000", "address": "10.0.0.2:3000"}]`)
		w.dns.set("ws.internal. SRV", records(srvOne, srvTwo, "ws.internal. 5 IN SRV 0 0 3000 ws3.internal."))
		both := srvSpec("ws.internal.")
		both.File = file
		w.Apply(map[string]Spec{"chat": both}, time.Second)
		w.wantMembers("chat", "ws2.internal:3000", "ws3.internal:3000", "ws9 9")
		if m := w.Members("chat")[0]; m.Address != "10.0.0.2:3000" {
			t.Errorf("of two with one name, %v counts; want that of the file", m)
		}
		var sources []string
		for _, s := range w.States() {
			sources = append(sources, fmt.Sprint(s.Pool, " ", s.Source, " ", s.Backends))
		}
		if want := []string{"chat file " + file + " 2", "chat DNS SRV ws.internal. 3"}; !slices.Equal(sources, want) {
			t.Errorf("states %q, want %q", sources, want)
		}
		w.Apply(map[string]Spec{"chat": {File: file}}, time.Second)
		w.wantMembers("chat", "ws2.internal:3000", "ws9 9")
		sleep(time.Minute)
		w.wantChanges()
	})
}

func TestCloseEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dns.delay = 1500 * time.Millisecond
		file := filepath.Join(t.TempDir(), "none")
		done := make(chan struct{})
		go func() {
			w.Apply(map[string]Spec{"chat": srvSpec("ws"), "file": {File: file}}, time.Hour)
			close(done)
		}()
		sleep(time.Second)
		w.Close()
		<-done // Apply waits no longer either
		w.log.take()
		w.Apply(map[string]Spec{"chat": srvSpec("ws")}, time.Hour)
		w.Close()
		w.dns.take()
		sleep(time.Hour)
		if asked := w.dns.take(); len(asked) > 0 {
			t.Errorf("asked %v after Close", asked)
		}
		w.wantLog("")
		w.wantChanges()
	})
}

// A Watcher needs neither a log nor a listener.
func TestNoOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backends.json")
	write(t, file, `[{"address": "10.0.0.1:3000"}]`)
	w := New(Options{})
	defer w.Close()
	w.Apply(map[string]Spec{"chat": {File: file}, "none": {File: file + "x"}}, 10*time.Second)
	if got := short(w.Members("chat")); !slices.Equal(got, []string{"10.0.0.1:3000"}) {
		t.Errorf("members %q", got)
	}
	if s := w.States(); len(s) != 2 || !strings.HasSuffix(s[1].LastError, ": "+os.ErrNotExist.Error()) && !strings.Contains(s[1].LastError, "no such file") {
		t.Errorf("states %+v", s)
	}
}

// If Apply is called repeatedly while answers come, the outcome is that of the last.
func TestApplyUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		var n int
		var mu sync.Mutex
		w.dns.delay = time.Millisecond
		w.dns.set("ws.internal. SRV", func(n1, s string, q *dns.Msg) (*dns.Msg, error) {
			mu.Lock()
			defer mu.Unlock()
			n++
			return records(fmt.Sprintf("ws.internal. 0 IN SRV 0 0 %d ws1.internal.", n%1000+1))(n1, s, q)
		})
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for j := range 50 {
					spec := srvSpec("ws.internal.")
					spec.DNS.Refresh = time.Duration(i+j+2) * time.Second
					w.Apply(map[string]Spec{"chat": spec, fmt.Sprint(i, j): spec}, time.Duration(j)*time.Millisecond)
					w.Members("chat")
					w.States()
				}
			})
		}
		all.Wait()
		w.Apply(map[string]Spec{"chat": srvSpec("ws.internal.")}, time.Second)
		w.dns.set("ws.internal. SRV", records(srvTwo))
		sleep(20 * time.Second)
		w.wantMembers("chat", "ws2.internal:3000")
		if s := w.States(); len(s) != 1 {
			t.Errorf("states %v", s)
		}
	})
}
