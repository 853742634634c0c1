//go:build unix

package chat

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// picturesEnv names a directory for the screenshots of docs/chat.md.
const picturesEnv = "HOLDFAST_E2E_PICTURES"

// chatPage is what node/chat.js saw on one page.
type chatPage struct {
	Servers    []string // at first, after the drain, after the kill
	IDs, Texts []string // of the messages, in their order
	Said       []string
	Opened     int // WebSockets, as the browser counts
	Counted    int // as the page does
	Moved      int
	Pending    int
	Gaps       int
	People     []string
	Left       []string // who was seen to leave, if that was watched
	Complaints []string
}

// Two people chat in a browser, on servers in Go and in Node. One's server is
// drained, then the other's is killed with -9. With reattach neither page opens
// a second connection; without it they reconnect. In both cases each page has
// every message once, in the same order.
func TestChatInBrowser(t *testing.T) {
	for _, how := range []string{"reattach", "reconnect"} {
		t.Run(how, func(t *testing.T) {
			redis := redistest.Start(t, "--appendonly", "yes")
			servers := []*chatServer{
				startGoChat(t, "chat-1", redis), startNodeChat(t, "chat-2", redis), startGoChat(t, "chat-3", redis),
			}
			pids := map[string]int{}
			for _, s := range servers {
				pids[s.name] = s.Cmd.Process.Pid
			}
			file := chatFile("auto", servers...)
			if how == "reconnect" {
				file = strings.Replace(file, "    reattach: {on: [drain, loss], timeout: 10s}\n", "", 1)
			}
			b := kit.StartBalancer(t, file)
			awaitUp(t, b, servers...)

			pictures := t.TempDir()
			if how == "reattach" {
				pictures = cmp.Or(os.Getenv(picturesEnv), pictures)
			}
			task, err := json.Marshal(map[string]any{
				"url": "http://" + b.Address, "chromium": kit.Chromium(t), "pictures": pictures,
				"drain": []string{kit.Binary, "drain", "--wait", "--admin", b.Admin}, "pids": pids,
			})
			if err != nil {
				t.Fatal(err)
			}
			browser := process.Start(t, "browser", kit.Node(t, "chat.js", string(task)))
			var pages struct{ Ann, Bob chatPage }
			for _, stage := range []string{"talking", "drained"} { // each may take its time
				browser.Stdout.Find(t, stage, 0, func(line string) bool { return line == stage })
			}
			line := browser.Stdout.Find(t, "result", 0, func(line string) bool { return strings.HasPrefix(line, "{") })
			if err := json.Unmarshal([]byte(line), &pages); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if status := browser.Wait(t, testkit.Patience); status != 0 {
				t.Errorf("the browser's script ended with status %d", status)
			}
			t.Logf("%d messages; connections %d and %d, moves %d and %d", len(pages.Ann.IDs),
				pages.Ann.Opened, pages.Bob.Opened, pages.Ann.Moved, pages.Bob.Moved)
			checkChatPages(t, pages.Ann, pages.Bob, how == "reattach")
			for _, name := range []string{"talk.png", "drained.png", "phone.png"} {
				if info, err := os.Stat(filepath.Join(pictures, name)); err != nil || info.Size() < 10_000 {
					t.Errorf("screenshot %s: %v", name, err)
				}
			}
			b.Stop(t)
		})
	}
}

func checkChatPages(t *testing.T, ann, bob chatPage, reattach bool) {
	if len(ann.Said) < 15 || len(bob.Said) < 15 {
		t.Errorf("they said only %d and %d messages", len(ann.Said), len(bob.Said))
	}
	said := slices.Sorted(slices.Values(append(slices.Clone(ann.Said), bob.Said...)))
	for name, p := range map[string]chatPage{"Ann": ann, "Bob": bob} {
		if got := slices.Sorted(slices.Values(p.Texts)); !slices.Equal(got, said) {
			t.Errorf("%s has %q, and was said %q", name, got, said)
		}
		if ids := slices.Compact(slices.Sorted(slices.Values(p.IDs))); len(ids) != len(p.IDs) || !slices.Equal(p.IDs, ann.IDs) {
			t.Errorf("%s's messages are %v, Ann's %v", name, p.IDs, ann.IDs)
		}
		if p.Pending > 0 || p.Gaps > 0 || len(p.Complaints) > 0 {
			t.Errorf("%s's page: %d pending, %d gaps, errors %q", name, p.Pending, p.Gaps, p.Complaints)
		}
		if len(p.People) != 2 {
			t.Errorf("%s sees %q", name, p.People)
		}
		if p.Opened != p.Counted {
			t.Errorf("%s's page counts %d connections, and opened %d", name, p.Counted, p.Opened)
		}
		if reattach && (p.Opened != 1 || p.Moved == 0) {
			t.Errorf("%s's page opened %d connections and was moved %d times, want 1 and some", name, p.Opened, p.Moved)
		}
		if !reattach && (p.Opened < 2 || p.Moved != 0) {
			t.Errorf("%s's page opened %d connections and was moved %d times, want some and 0", name, p.Opened, p.Moved)
		}
	}
	if ann.Servers[0] == bob.Servers[0] {
		t.Errorf("both began on %s", ann.Servers[0])
	}
	if drained := ann.Servers[0]; ann.Servers[1] == drained || bob.Servers[1] == drained {
		t.Errorf("%s was drained, and serves %v, %v", drained, ann.Servers, bob.Servers)
	}
	if killed := bob.Servers[1]; bob.Servers[2] == killed || ann.Servers[2] == killed {
		t.Errorf("%s was killed, and serves %v, %v", killed, ann.Servers, bob.Servers)
	}
}
