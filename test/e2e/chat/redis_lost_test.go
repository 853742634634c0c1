//go:build unix

package chat

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// Redis is killed while people chat in a browser, on a server in Go and one in
// Node, and comes back: first with all its data, after the leases of both
// servers have expired; then empty. No page opens a second connection, except
// those that join during the outage. Posts during the outage are in the room
// afterwards, once, and in the same order for everybody.
func TestRedisLostInBrowser(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes")
	inGo, inNode := startGoChat(t, "in-go", redis), startNodeChat(t, "in-node", redis)
	b := kit.StartBalancer(t, chatFile("auto", inGo, inNode))
	awaitUp(t, b, inGo, inNode)
	pictures := cmp.Or(os.Getenv(picturesEnv), t.TempDir())
	task, err := json.Marshal(map[string]any{
		"url": "http://" + b.Address, "server": map[string]string{"url": "http://" + inGo.address, "name": inGo.name},
		"chromium": kit.Chromium(t), "pictures": pictures,
	})
	if err != nil {
		t.Fatal(err)
	}
	browser := process.Start(t, "browser", kit.Node(t, "redis_lost.js", string(task)))
	await := func(stage string, what any) {
		t.Helper()
		line := browser.Stdout.Find(t, stage, 0, func(line string) bool { return strings.HasPrefix(line, stage) })
		if what == nil {
			return
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, stage)), what); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	opened := map[string]int{"Ann": 1, "Bob": 1, "Cat": 1}
	for round, empty := range []bool{false, true} {
		await(fmt.Sprint("talking ", round), nil)
		lost := time.Now()
		redis.Kill(t)
		await(fmt.Sprint("lost ", round), nil)
		if empty {
			forget(t, redis)
		} else {
			time.Sleep(time.Until(lost.Add(chatLease * 7 / 10)))
		}
		redis.Start(t)
		back := time.Now()
		var seen outageSeen
		await(fmt.Sprint("seen ", round), &seen)
		t.Logf("round %d: Redis was away for %v, and all was well again %v later", round, back.Sub(lost), time.Since(back))
		seen.check(t, empty, opened)
		for name, p := range seen.Pages {
			opened[name] = p.Opened
		}
	}
	if info, err := os.Stat(filepath.Join(pictures, "redis-lost.png")); err != nil || info.Size() < 10_000 {
		t.Errorf("screenshot: %v", err)
	}

	// The sessions are known again, though Redis has lost them too.
	for i, s := range []*chatServer{inGo, inNode} {
		b.Command(t, 0, "drain", "chat/"+s.name, "--wait")
		var moved chatPage
		await(fmt.Sprint("moved ", i), &moved)
		if moved.Opened != 1 || moved.Moved != 1 {
			t.Errorf("in a drain of %s afterwards: %d connections and %d moves, want 1 and 1", s.name, moved.Opened, moved.Moved)
		}
		b.Command(t, 0, "undrain", "chat/"+s.name)
	}
	if status := browser.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("the browser's script ended with status %d", status)
	}
	b.Stop(t)
}

// forget deletes the data of the server, which is not running.
func forget(t testing.TB, s *redistest.Server) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.Dir, "appendonlydir")); err != nil {
		t.Fatal(err)
	}
}

// outageSeen is what node/redis_lost.js saw in a round.
type outageSeen struct {
	Pending [2][]string // on the pages of Ann and Bob while Redis was away
	Pages   map[string]chatPage
}

// check compares with what is expected after an outage. opened are the
// connections that pages had before it; the page that isn't there came meanwhile.
func (o outageSeen) check(t *testing.T, empty bool, opened map[string]int) {
	t.Helper()
	gaps := 0
	if empty {
		gaps = 1
	}
	for i, name := range []string{"Ann", "Bob"} { // who talked
		for _, text := range o.Pending[i] {
			if !slices.Contains(o.Pages[name].Said, text) {
				t.Errorf("%q is pending on %s's page, who said %q", text, name, o.Pages[name].Said)
			}
		}
		if len(o.Pending[i]) == 0 {
			t.Errorf("nothing was pending on %s's page", name)
		}
	}
	var said []string
	for _, p := range o.Pages {
		said = append(said, p.Said...)
	}
	slices.Sort(said)
	ids := o.Pages["Ann"].IDs
	for name, p := range o.Pages {
		if len(p.People) != len(o.Pages) || p.Pending > 0 || len(p.Complaints) > 0 {
			t.Errorf("%s sees %q, %d pending, errors %q", name, p.People, p.Pending, p.Complaints)
		}
		before, early := opened[name]
		if !early {
			// It has all messages of the room, or those after the gap, which
			// it may have been notified of.
			if p.Opened < 2 || p.Gaps > gaps || !isEnd(p.IDs, ids, empty) {
				t.Errorf("%s opened %d connections, and has %d gaps and messages %v of %v", name, p.Opened, p.Gaps, p.IDs, ids)
			}
			continue
		}
		if p.Opened != before || p.Counted != before || p.Moved > 0 {
			t.Errorf("%s's page had %d connections; now %d, by its own count %d, moved %d times", name, before, p.Opened, p.Counted, p.Moved)
		}
		if got := slices.Sorted(slices.Values(p.Texts)); !slices.Equal(got, said) || !slices.Equal(p.IDs, ids) {
			t.Errorf("%s has %q, IDs %v; was said %q, Ann has IDs %v", name, got, p.IDs, said, ids)
		}
		// On the server in Node, some may seem to be away for a moment when
		// Redis comes back with nothing.
		if p.Gaps != gaps || len(p.Left) > 0 && !(empty && p.Servers[0] == "in-node") {
			t.Errorf("%s's page has %d gaps, want %d; seen to leave were %q", name, p.Gaps, gaps, p.Left)
		}
	}
}

// isEnd says whether some are the end of all: all of it, or, if it is cut, less
// than that.
func isEnd(some, all []string, cut bool) bool {
	return len(some) > 0 && len(some) <= len(all) && slices.Equal(some, all[len(all)-len(some):]) && cut == (len(some) < len(all))
}
