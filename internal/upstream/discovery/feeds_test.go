package discovery

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// newFedWorld is newWorld with Feeds.
func newFedWorld(t *testing.T) (*world, *Feeds) {
	w := &world{t: t}
	feeds := NewFeeds()
	w.Watcher = newWatcher(Options{Log: w.log.logger(), OnChange: w.note, Feeds: feeds}, environment{poll: time.Second})
	return w, feeds
}

func list(names ...string) (members []Member) {
	for i, n := range names {
		members = append(members, Member{Name: n, Address: fmt.Sprintf("10.0.0.%d:80", i+1)})
	}
	return members
}

// TestFeeds: pools follow the lists that a program sets, also if they become empty.
func TestFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, feeds := newFedWorld(t)
		defer w.Close()
		feeds.Set("default/chat:80", list("a", "b"))
		w.Apply(map[string]Spec{"one": {Feed: "default/chat:80"}, "two": {Feed: "default/chat:80"}, "none": {Feed: "default/none:80"}}, time.Hour)
		w.wantMembers("one", "a", "b")
		w.wantMembers("two", "a", "b")
		w.wantMembers("none")
		sleep(time.Hour)
		w.wantChanges() // the members of new pools aren't announced
		if s := w.States(); s[0].Source != "feed default/none:80" || !s[0].Answered.IsZero() || s[1].Backends != 2 || s[1].Answered.IsZero() {
			t.Errorf("states %+v", s)
		}
		feeds.Set("default/chat:80", list("a"))
		w.wantMembers("one", "a")
		sleep(settle - 1)
		w.wantChanges()
		sleep(1)
		w.wantChanges("one", "two")
		feeds.Set("default/chat:80", nil)
		sleep(settle)
		w.wantChanges("one", "two")
		w.wantMembers("one")
		feeds.Set("default/none:80", list("x"))
		feeds.Set("default/unused:80", list("y"))
		sleep(settle)
		w.wantChanges("none")
		// Pools announce what changes at the same time in any order.
		got := slices.Sorted(strings.Lines(w.log.take()))
		want := []string{
			`level=INFO msg="pool one: feed default/chat:80 changed: 0 backends, 0 new, 1 gone"` + "\n",
			`level=INFO msg="pool one: feed default/chat:80 changed: 1 backend, 0 new, 1 gone"` + "\n",
			`level=INFO msg="pool two: feed default/chat:80 changed: 0 backends, 0 new, 1 gone"` + "\n",
			`level=INFO msg="pool two: feed default/chat:80 changed: 1 backend, 0 new, 1 gone"` + "\n",
		}
		if !slices.Equal(got, want) {
			t.Errorf("the log has\n%s", strings.Join(got, ""))
		}

		// A pool that follows another list, or none any more.
		w.Apply(map[string]Spec{"one": {Feed: "default/unused:80"}}, time.Hour)
		w.wantMembers("one", "y")
		w.wantMembers("none")
		feeds.Set("default/none:80", list("x", "y"))
		feeds.Set("default/chat:80", list("x", "y"))
		sleep(time.Hour)
		w.wantChanges()
		feeds.Remove("default/unused:80")
		feeds.Remove("default/unused:80")
		sleep(settle)
		w.wantChanges("one")
		w.wantMembers("one")
		if s := w.States(); len(s) != 1 || !s[0].Answered.IsZero() {
			t.Errorf("states %+v", s)
		}
	})
}

// TestEqualLists: the same list again does nothing at all, and allocates nothing.
func TestEqualLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, feeds := newFedWorld(t)
		defer w.Close()
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("CET", 3600))
		members := list("a", "b", "c")
		members[0].State, members[0].Deadline = Terminating, at
		feeds.Set("chat", members)
		w.Apply(map[string]Spec{"chat": {Feed: "chat"}}, 0)
		w.log.take()
		before := w.Members("chat")
		again := slices.Clone(members)
		again[0].Deadline = at.UTC()
		for range 1000 {
			feeds.Set("chat", again)
		}
		if n := testing.AllocsPerRun(100, func() { feeds.Set("chat", again) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
		other := []Member{again[1], again[0], again[2], again[1]} // the same in another order, one twice
		feeds.Set("chat", other)
		sleep(time.Hour)
		w.wantChanges()
		if now := w.Members("chat"); &now[0] != &before[0] || w.log.take() != "" {
			t.Errorf("it isn't the same list")
		}
		// A state and a deadline are changes.
		again[0].Deadline = at.Add(-time.Second)
		feeds.Set("chat", again)
		sleep(settle)
		w.wantChanges("chat")
		again[0].State = Ready
		feeds.Set("chat", again)
		sleep(settle)
		w.wantChanges("chat")
		again[0].Deadline = at.Add(time.Hour) // of no meaning while it is ready
		feeds.Set("chat", again)
		sleep(settle)
		w.wantChanges()
		want := `level=INFO msg="pool chat: feed chat changed: other states, weights or bounds for 3 backends"` + "\n"
		if got := w.log.take(); got != want+want {
			t.Errorf("the log has %s", got)
		}
	})
}

// TestFedWithOthers: a pool's own file or DNS names come before its feed.
func TestFedWithOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, feeds := newFedWorld(t)
		defer w.Close()
		file := t.TempDir() + "/b.json"
		if err := os.WriteFile(file, []byte(`[{"name": "a", "address": "10.9.0.1:80"}]`), 0o600); err != nil {
			t.Fatal(err)
		}
		feeds.Set("chat", list("a", "b"))
		w.Apply(map[string]Spec{"chat": {File: file, Feed: "chat"}}, time.Second)
		w.wantMembers("chat", "a", "b")
		if a := w.Members("chat")[0].Address; a != "10.9.0.1:80" {
			t.Errorf("a is at %s", a)
		}
	})
}

// TestNormalisedLists: whatever a program sets, names and addresses are unique, the order
// of the list doesn't matter, and of several the one that takes sessions counts.
func TestNormalisedLists(t *testing.T) {
	member := rapid.Custom(func(t *rapid.T) Member {
		return Member{
			Name: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "name"), Address: rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "address"),
			Weight: rapid.IntRange(0, 2).Draw(t, "weight"), State: MemberState(rapid.IntRange(0, 2).Draw(t, "state")),
			Deadline: time.Unix(rapid.Int64Range(0, 2).Draw(t, "deadline"), 0),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOfN(member, 0, 6).Draw(t, "members")
		feeds := NewFeeds()
		feeds.Set("chat", slices.Clone(members))
		got, _ := feeds.list("chat")
		names, addresses := map[string]bool{}, map[string]bool{}
		for i, m := range got {
			if names[m.Name] || addresses[m.Address] || m != m.normal() || i > 0 && byName(got[i-1], m) >= 0 {
				t.Fatalf("%+v became %+v", members, got)
			}
			names[m.Name], addresses[m.Address] = true, true
		}
		for _, m := range members {
			if m = m.normal(); m.State == Ready && !names[m.Name] && !addresses[m.Address] {
				t.Fatalf("%+v became %+v, without %+v", members, got, m)
			}
		}
		feeds.Set("chat", got)
		if again, _ := feeds.list("chat"); len(got) > 0 && &again[0] != &got[0] {
			t.Fatalf("%+v isn't normal", got)
		}
	})
}
