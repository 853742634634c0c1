//go:build unix

package chat

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// demo is a running `holdfast demo`.
type demo struct {
	*process.Process
	address string
	admin   string
}

func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	args = append([]string{"demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "info"}, args...)
	d := &demo{Process: kit.StartHoldfast(t, args...)}
	const opening = "open http://"
	line := d.Stdout.Find(t, "address", 0, func(line string) bool { return strings.HasPrefix(line, opening) })
	d.address = strings.TrimPrefix(line, opening)
	admin := regexp.MustCompile(` msg=started .*\badmin=(\S+)`)
	d.admin = admin.FindStringSubmatch(d.Stderr.Find(t, "admin address", 0, admin.MatchString))[1]
	return d
}

// pids are the processes of all servers that there have been.
func (d *demo) pids(t *testing.T) (pids []int) {
	t.Helper()
	started := regexp.MustCompile(`(?m)^server chat-\d+ \(pid (\d+)\) listens on `)
	for _, m := range started.FindAllStringSubmatch(d.Stdout.String(), -1) {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// interrupt ends the demo as Ctrl-C does, and all its servers with it. There
// have been at least so many of them.
func (d *demo) interrupt(t *testing.T, servers int) {
	t.Helper()
	pids, before := d.pids(t), d.Stdout.Position()
	d.Signal(t, os.Interrupt)
	if status := d.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("the demo's exit status is %d", status)
	}
	said := d.Stdout.Lines(before)
	if slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, " ERROR ") }) {
		t.Errorf("at its end the demo said %q", said)
	}
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("server %d is still there", pid)
		}
	}
	if len(pids) < servers {
		t.Errorf("servers %v, want at least %d", pids, servers)
	}
}

// What node/demo.js saw.
type demoSeen struct {
	Ann, Bob, Cleo chatPage
	Drained, Added string       // servers
	Killed, Shot   demoReturned // from the page, by hand
	Refusal        string       // of a drain of the last server that serves
	// When all was at rest, with one server more.
	Rows     []demoRow
	Balancer map[string]int // sessions by backend
	Total    string         // as the page says it
	Serves   string         // Cleo's page

	Dashboard string // what the page links to

	Guests  string
	Focus   []string // after the servers' rows had changed
	TooWide []string // who would have to scroll sideways
}

// demoReturned is a server that died and came back.
type demoReturned struct {
	Server string
	PIDs   []int // before and after
}

// demoRow is a server as the page shows it.
type demoRow struct {
	Server, State string
	Sessions      int
	Chart         string // in words
	Here          bool   // it serves the page
}

// Two people talk while their servers are drained, killed and added from a
// page: neither opens a second connection, each has every message once, in one
// order, and the page shows it as it is.
func TestDemoInBrowser(t *testing.T) {
	d := startDemo(t)
	pictures := cmp.Or(os.Getenv(picturesEnv), t.TempDir())
	task, err := json.Marshal(map[string]string{
		"url": "http://" + d.address, "admin": d.admin, "chromium": kit.Chromium(t), "pictures": pictures,
	})
	if err != nil {
		t.Fatal(err)
	}
	browser := process.Start(t, "browser", kit.Node(t, "demo.js", string(task)))
	for _, stage := range []string{"talking", "drained", "killed", "at rest"} { // each may take its time
		browser.Stdout.Find(t, stage, 0, func(line string) bool { return line == stage })
	}
	line := browser.Stdout.Find(t, "result", 0, func(line string) bool { return strings.HasPrefix(line, "{") })
	var seen demoSeen
	if err := json.Unmarshal([]byte(line), &seen); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	t.Logf("%d messages; moves: Ann %d, Bob %d; %s", len(seen.Ann.IDs), seen.Ann.Moved, seen.Bob.Moved, seen.Guests)

	checkChatPages(t, seen.Ann, seen.Bob, true)
	if c := seen.Cleo; c.Opened != 1 || len(c.Complaints) > 0 {
		t.Errorf("Cleo's page opened %d connections; errors %q", c.Opened, c.Complaints)
	}
	d.checkShown(t, seen)
	if len(seen.TooWide) > 0 {
		t.Errorf("pages that are wider than the screen: %v's", seen.TooWide)
	}
	const mostBytes = 200_000 // it is in the documentation
	if info, err := os.Stat(filepath.Join(pictures, "demo.png")); err != nil || info.Size() < 10_000 || info.Size() > mostBytes {
		t.Errorf("screenshot: %v %v", info, err)
	}

	d.interrupt(t, 6)
	before := browser.Stdout.Position()
	browser.Stdin.Close()
	kit.SameJSON(t, "the pages' closes", browser.Stdout.Find(t, "closes", before, func(string) bool { return true }),
		`{"ann":[1001],"bob":[1001]}`)
	if status := browser.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("the browser's script ended with status %d", status)
	}
}

// checkShown checks what the page says of the servers.
func (d *demo) checkShown(t *testing.T, seen demoSeen) {
	t.Helper()
	var here []string
	sum := 0
	shown := map[string]int{}
	for _, row := range seen.Rows {
		shown[row.Server] = row.Sessions
		sum += row.Sessions
		if row.Here {
			here = append(here, row.Server)
		}
		if row.State != "serving" || !strings.HasSuffix(row.Chart, fmt.Sprintf(", now %d", row.Sessions)) {
			t.Errorf("at rest there is %+v", row)
		}
		if row.Server == seen.Killed.Server && !strings.Contains(row.Chart, "at least 0,") {
			t.Errorf("the chart of a server that was killed: %s", row.Chart)
		}
	}
	if got, want := fmt.Sprint(shown), fmt.Sprint(seen.Balancer); got != want {
		t.Errorf("sessions are %s, and the balancer has %s", got, want)
	}
	const all = 60 + 3 // guests and pages
	if sum != all || seen.Total != fmt.Sprintf("%d · sessions %d", len(seen.Rows), all) {
		t.Errorf("the rows' sessions add up to %d, the page says %q", sum, seen.Total)
	}
	if want := "http://" + d.admin + "/"; seen.Dashboard != want || !strings.Contains(d.Stdout.String(), "\ndashboard of the balancer: "+want+"\n") {
		t.Errorf("the page links to %q, want %q, and the output is\n%s", seen.Dashboard, want, d.Stdout.String())
	}
	if len(here) != 1 || here[0] != seen.Serves {
		t.Errorf("the page is served by %s, and marks %q", seen.Serves, here)
	}
	if _, ok := shown[seen.Drained]; ok || len(shown) != 3 || shown[seen.Added] < all/3-3 {
		t.Errorf("after a drain of %s and with %s added there are %v", seen.Drained, seen.Added, shown)
	}
	for _, r := range []demoReturned{seen.Killed, seen.Shot} {
		pids := d.pids(t)
		if r.PIDs[0] == r.PIDs[1] || !slices.Contains(pids, r.PIDs[0]) || !slices.Contains(pids, r.PIDs[1]) {
			t.Errorf("%s was and is process %v; the demo printed %v", r.Server, r.PIDs, pids)
		}
	}
	if !strings.Contains(seen.Refusal, "is the only one that serves") {
		t.Errorf("a drain of the last server was answered %q", seen.Refusal)
	}
	if !regexp.MustCompile(`^60 guests · [1-9]\d* moves · 0 reconnects$`).MatchString(seen.Guests) {
		t.Errorf("the guests' line is %q", seen.Guests)
	}
	if seen.Focus[0] != "Add a server" || !strings.HasPrefix(seen.Focus[1], "Drain chat-") {
		t.Errorf("the focus was on %q", seen.Focus)
	}
}

// The rooms of a demo on a Redis server of the user's are there in the next
// demo.
func TestDemoOnRedis(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes")
	const servers = 2
	args := []string{"--redis", redis.URL(), "--servers", strconv.Itoa(servers), "--guests", "4"}
	first := startDemo(t, args...)
	ann, bob := enterChat(t, first.address, "ann", "room"), enterChat(t, first.address, "bob", "room")
	ann.post("hello")
	bob.awaitMessages(t, 1)

	ann.mu.Lock()
	server := ann.served[0]
	ann.mu.Unlock()
	first.do(t, "drain?server="+server)
	testkit.Eventually(t, "Ann moved", func() bool {
		ann.mu.Lock()
		defer ann.mu.Unlock()
		return ann.moves["drain"] == 1
	})
	ann.post("from elsewhere")
	for _, m := range []*chatMember{ann, bob} {
		m.awaitMessages(t, 2)
		m.leave()
		if len(m.endings) != 1 {
			t.Errorf("%s's connections: %v", m.id, m.endings)
		}
	}
	first.interrupt(t, servers)

	second := startDemo(t, args...)
	late := enterChat(t, second.address, "late", "room")
	late.awaitMessages(t, 2)
	if got := late.texts(); !slices.Equal(got, ann.texts()) {
		t.Errorf("the second demo has %q, the first had %q", got, ann.texts())
	}
	second.interrupt(t, servers)
}

// do is what a button of the page does.
func (d *demo) do(t *testing.T, what string) {
	t.Helper()
	res, err := http.Post("http://"+d.address+"/demo/"+what, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Errorf("%s: %s", what, res.Status)
	}
}

func TestDemoPortInUse(t *testing.T) {
	address := kit.AddressInUse(t)
	o := kit.Run(t, "demo", "--listen", address)
	kit.WantOneLine(t, o, 1, address, "in use by another program")
	for _, m := range regexp.MustCompile(`\(pid (\d+)\)`).FindAllStringSubmatch(o.Stdout, -1) {
		if pid, _ := strconv.Atoi(m[1]); syscall.Kill(pid, 0) == nil {
			t.Errorf("server %d is left behind", pid)
		}
	}
}
