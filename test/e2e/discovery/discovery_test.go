//go:build unix

package discovery

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/nameserver"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// discoveryUp is the metric for a pool's source.
func discoveryUp(m kit.Metrics, source string) (v float64, ok bool) {
	v, ok = m[fmt.Sprintf(`holdfast_discovery_up{pool="main",source=%q}`, source)]
	return v, ok
}

// checkDiscovery checks that /status and the metrics agree about the discovery
// of the pool "main". trouble is a part of its error, or "".
func checkDiscovery(t testing.TB, b *kit.Balancer, source, trouble string) {
	t.Helper()
	d := b.Pool(t, "main").Discovery
	if len(d) != 1 || d[0].Source != source || !strings.Contains(d[0].Trouble, trouble) || (d[0].Trouble == "") != (trouble == "") {
		t.Errorf("/status has the discovery %+v, want %q with trouble %q", d, source, trouble)
	}
	want := 0.0
	if trouble == "" {
		want = 1
	}
	if up, ok := discoveryUp(b.Metrics(t), source); !ok || up != want {
		t.Errorf("holdfast_discovery_up of %s is %v, %v, want %v", source, up, ok, want)
	}
	shown := kit.Run(t, "status", "--admin", b.Admin).Stdout
	if told := strings.Contains(shown, source+": "); told != (trouble != "") || !strings.Contains(shown, trouble) {
		t.Errorf("holdfast status, with trouble %q:\n%s", trouble, shown)
	}
}

// awaitTrouble waits until /status has an error of the discovery that contains
// words; "" waits for no error.
func awaitTrouble(t testing.TB, b *kit.Balancer, words string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("trouble %q", words), func() bool {
		trouble := b.Pool(t, "main").Discovery[0].Trouble
		return strings.Contains(trouble, words) && (trouble == "") == (words == "")
	})
}

// changeOfList tests a change of the list of backends from a, b, c to b, c, d
// while sessions are open. change makes it.
func changeOfList(t *testing.T, b *kit.Balancer, backends []*kit.Backend, change func(list ...*kit.Backend), within time.Duration) {
	t.Helper()
	const residents, guests = 12, 9
	before := kit.StartCrowd(t, "resident", b.Address, residents)
	open := backends[0].Report(t).Open
	if open != residents/3 {
		t.Errorf("the backend that will leave has %d of %d sessions", open, residents)
	}
	at, began := b.Stderr.Position(), time.Now()
	change(backends[1:]...)
	b.AwaitList(t, 3, 1, at)
	kit.AtMost(t, "effect of a changed list", time.Since(began), within+kit.Slack)
	after := kit.StartCrowd(t, "guest", b.Address, guests)
	if n := backends[3].Report(t).Open; n < 2 {
		t.Errorf("the newcomer got %d of %d new sessions", n, guests)
	}
	gone := kit.Reports(t, backends[:1])
	// Those that stay go on talking.
	received := map[string]int64{}
	for _, m := range before.Members {
		received[m.ID] = m.Received.Load()
	}
	testkit.Eventually(t, "messages of all sessions that stay", func() bool {
		return !slices.ContainsFunc(before.Members, func(m *kit.Member) bool {
			_, left := gone[m.ID]
			return !left && m.Received.Load() == received[m.ID]
		})
	})
	before.FinishAll(t)
	after.FinishAll(t)
	endings := kit.Reports(t, backends)
	f := &kit.Faults{T: t}
	if len(gone) != open {
		f.Add("the backend that left had the sessions %v, want the %d that were there", gone, open)
	}
	for _, m := range append(before.Members, after.Members...) {
		if e, left := gone[m.ID]; left {
			kit.CheckSentAway(f, m, e)
		} else {
			kit.CheckComplete(f, m, endings[m.ID])
		}
	}
	f.Sum("sessions")
}

// The answer of a real DNS server changes. The TTL decides when it is asked
// again, not the refresh interval of an hour.
func TestDNSChange(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 4)
	names := nameserver.Start(t, kit.SRVRecords(1, backends[:3]...)...)
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    drain: {timeout: 400ms}
    dns: {name: %q, type: srv, refresh: 1h, server: %q}`, kit.ChatName, names.Address)))
	checkDiscovery(t, b, "DNS SRV "+kit.ChatName, "")
	began, asked := time.Now(), names.Queries()
	changeOfList(t, b, backends, func(list ...*kit.Backend) { names.Set(t, kit.SRVRecords(1, list...)...) }, 1100*time.Millisecond)
	// Each time there are two: for the records, and for the address.
	if n, most := names.Queries()-asked, 2*(int(time.Since(began)/time.Second)+2); n > most {
		t.Errorf("%d questions in %v, with a TTL of a second", n, time.Since(began))
	}
	var want []string
	for _, found := range backends[1:] {
		_, port, _ := net.SplitHostPort(found.Address)
		want = append(want, kit.ChatHost+":"+port)
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(b.Pool(t, "main").Names())); !slices.Equal(got, want) {
		t.Errorf("the pool has %v, want %v", got, want)
	}

	// An answer that is good for longer is not asked for sooner.
	at := b.Stderr.Position()
	names.Set(t, kit.SRVRecords(3600, backends[:1]...)...)
	b.AwaitList(t, 1, 3, at)
	asked = names.Queries()
	b.WriteConfig(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    balance: round_robin
    dns: {name: %q, type: srv, refresh: 1h, server: %q}`, kit.ChatName, names.Address)))
	for range 3 {
		b.Reload(t, kit.Reloaded)
	}
	if n := names.Queries() - asked; n != 0 {
		t.Errorf("reloads that change nothing about it asked %d questions", n)
	}
	b.Stop(t)
}

// If DNS fails, in any way, the last answer stays in use.
func TestDNSTrouble(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 2)
	names := nameserver.Start(t, kit.SRVRecords(1, backends...)...)
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    dns: {name: %q, type: srv, refresh: 1s, server: %q}`, kit.ChatName, names.Address)))
	const source = "DNS SRV " + kit.ChatName
	want := b.Pool(t, "main").Names()
	if len(want) != 2 {
		t.Fatalf("the pool has %v", want)
	}
	live := openEcho(t, b)
	for _, tt := range []struct {
		trouble int
		words   string
	}{
		{dns.RcodeServerFailure, names.Address + " answers SERVFAIL"},
		{dns.RcodeNameError, kit.ChatName + " does not exist"},
		{nameserver.Silence, names.Address + " does not answer within 2s"},
	} {
		at := b.Stderr.Position()
		names.Fail(tt.trouble)
		awaitTrouble(t, b, tt.words)
		checkDiscovery(t, b, source, tt.words)
		b.Stderr.Find(t, "warning", at, func(line string) bool {
			return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, tt.words+"; going on with the last list, 2 backends")
		})
		if got := b.Pool(t, "main").Names(); !slices.Equal(got, want) {
			t.Errorf("with %q, the pool has %v, want %v", tt.words, got, want)
		}
		kit.WantEcho(t, live, "still here")
		openEcho(t, b).Close()

		at = b.Stderr.Position()
		names.Fail(nameserver.NoFailure)
		awaitTrouble(t, b, "")
		checkDiscovery(t, b, source, "")
		b.Stderr.Find(t, "log line", at, func(line string) bool { return strings.Contains(line, source+" is good again: 2 backends") })
	}
	// An empty answer is trouble, too.
	names.Set(t, kit.ChatName+` 1 IN TXT "nobody is there"`)
	awaitTrouble(t, b, "has no SRV records")
	openEcho(t, b).Close()
	if got := b.LogEntries("the backends of a pool changed"); len(got) > 0 {
		t.Errorf("the list changed: %v", got)
	}
	kit.CloseAll(t, b, live)
	b.Stop(t)
}

func openEcho(t testing.TB, b *kit.Balancer) *wspeer.Conn {
	t.Helper()
	w, _ := kit.Open(t, b, "/echo")
	kit.WantEcho(t, w, "hello")
	return w
}

// Addresses share the port in the configuration. Before there are any, clients
// are refused with a request to come back.
func TestDNSAddresses(t *testing.T) {
	t.Parallel()
	backend := kit.StartBackends(t, 1)[0]
	_, port, _ := net.SplitHostPort(backend.Address)
	names := nameserver.Start(t)
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    dns: {name: chat.test., type: a, port: %s, refresh: 1s, server: %q}`, port, names.Address)))
	checkDiscovery(t, b, "DNS A chat.test.", "does not exist")
	if _, res, err := wspeer.Dial(b.Address, "/echo"); res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a pool without backends: %v, %v, want 503 with Retry-After", res, err)
	}
	names.Set(t, "chat.test. 1 IN A 127.0.0.1")
	b.AwaitList(t, 1, 0, 0)
	openEcho(t, b).Close()
	if got := b.Pool(t, "main").Names(); !slices.Equal(got, []string{backend.Address}) {
		t.Errorf("the pool has %v, want %s", got, backend.Address)
	}
	checkDiscovery(t, b, "DNS A chat.test.", "")
	b.Stop(t)
}

const fileFound = 1100 * time.Millisecond // it is looked at each second

func TestFileChange(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(kit.BackendFile, testing.TB, string){"replaced": kit.BackendFile.Replace, "overwritten": kit.BackendFile.Overwrite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backends := kit.StartBackends(t, 4)
			l := kit.BackendFile{Path: filepath.Join(t.TempDir(), "backends.json")}
			l.Replace(t, kit.BackendFileText(backends[:3]...))
			b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf("  main: {drain: {timeout: 400ms}, file: %q}", l.Path)))
			changeOfList(t, b, backends, func(some ...*kit.Backend) { write(l, t, kit.BackendFileText(some...)) }, fileFound)
			b.Stop(t)
		})
	}
}

// A file beside the configuration: missing at first, then there, broken,
// deleted, and fixed.
func TestFileTrouble(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 2)
	b := kit.StartBalancer(t, kit.ConfigWithPools("  main: {file: backends.json}"))
	l := kit.BackendFile{Path: filepath.Join(filepath.Dir(b.File), "backends.json")}
	source := "file " + l.Path
	checkDiscovery(t, b, source, l.Path+": no such file or directory")
	if _, res, err := wspeer.Dial(b.Address, "/echo"); res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a pool without backends: %v, %v, want 503 with Retry-After", res, err)
	}
	began := time.Now()
	l.Replace(t, kit.BackendFileText(backends...))
	b.AwaitList(t, 2, 0, 0)
	kit.AtMost(t, "file found", time.Since(began), fileFound+kit.Slack)
	live := openEcho(t, b)
	checkDiscovery(t, b, source, "")

	for _, tt := range []struct {
		what   func()
		reason string // behind the path
	}{
		{func() { l.Overwrite(t, kit.BackendFileText(backends...)[:30]) }, ":2:"},
		{func() { l.Replace(t, "[\n  {\"name\": \"a\",\n   \"address\": 127}\n]") }, ":3:15: "},
		{func() { l.Replace(t, "[]") }, ":1:"},
		{func() { os.Remove(l.Path) }, ": no such file or directory"},
	} {
		at := b.Stderr.Position()
		tt.what()
		awaitTrouble(t, b, l.Path+tt.reason)
		checkDiscovery(t, b, source, l.Path+tt.reason)
		line := b.Stderr.Find(t, "warning", at, func(line string) bool {
			return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, source+": "+l.Path+tt.reason) &&
				strings.Contains(line, "; going on with the last list, 2 backends")
		})
		t.Log(line)
		kit.WantEcho(t, live, "still here")
		openEcho(t, b).Close()
	}
	at := b.Stderr.Position()
	l.Replace(t, kit.BackendFileText(backends...))
	awaitTrouble(t, b, "")
	b.Stderr.Find(t, "log line", at, func(line string) bool { return strings.Contains(line, source+" is good again: 2 backends") })
	if got := b.LogEntries("the backends of a pool changed"); len(got) != 1 {
		t.Errorf("the list changed more than the one time it did: %v", got)
	}
	kit.CloseAll(t, b, live)
	b.Stop(t)
}

// A backend that joins a pool with health checks gets its first session after
// they have passed.
func TestNewcomerIsCheckedFirst(t *testing.T) {
	t.Parallel()
	servers := kit.StartToggleable(t, 2)
	newcomer := servers[1]
	newcomer.SetState(t, `{"health": 500}`)
	text := func(some ...*kit.ToggleableBackend) string {
		var entries []string
		for _, m := range some {
			entries = append(entries, fmt.Sprintf(`{"name": %q, "address": %q}`, m.Name, m.Address))
		}
		return `{"backends": [` + strings.Join(entries, ", ") + "]}"
	}
	l := kit.BackendFile{Path: filepath.Join(t.TempDir(), "backends.json")}
	l.Replace(t, text(servers[:1]...))
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    balance: round_robin
    file: %q
    health: {http: {path: /health}, interval: 1s, timeout: 950ms}`, l.Path)))
	l.Replace(t, text(servers...))
	b.AwaitList(t, 2, 0, 0)
	if got := kit.OpenAndCloseMany(t, b, "/", 6); got["b"] > 0 {
		t.Errorf("sessions go to %v before the newcomer was found well", got)
	}
	b.AwaitState(t, "main", "b", "down")
	if got := kit.OpenAndCloseMany(t, b, "/", 6); got["b"] > 0 {
		t.Errorf("sessions go to %v while the newcomer is down", got)
	}
	newcomer.SetState(t, `{"health": 200}`)
	b.AwaitChange(t, "main", "b", "up", 0)
	if got := kit.OpenAndCloseMany(t, b, "/", 6); got["b"] != 3 {
		t.Errorf("sessions go to %v once the newcomer is up", got)
	}
	b.CheckChanges(t, "main", "b", "warming", "down", "warming", "up")
	b.CheckChanges(t, "main", "a")
	b.Stop(t)
}

// A backend that is missing in a file for a moment, for example while a script
// rewrites it, is the same backend when it is back: its sessions continue,
// /status lists it once, and its limit counts the sessions that it has.
func TestBackendIsBack(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 2)
	list := filepath.Join(t.TempDir(), "backends.json")
	write := func(names ...string) {
		var entries []string
		for i, s := range backends {
			if name := kit.BackendName(i); slices.Contains(names, name) {
				entries = append(entries, fmt.Sprintf(`{"name": %q, "address": %q, "max_sessions": 5}`, name, s.Address))
			}
		}
		if err := os.WriteFile(list+".new", []byte("["+strings.Join(entries, ",")+"]"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(list+".new", list); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "b")
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    balance: round_robin
    drain: {timeout: 3s, spread: 0}
    file: %q`, list)))
	crowd := kit.StartCrowd(t, "resident", b.Address, 10)
	at := b.Stderr.Position()
	write("b")
	b.AwaitList(t, 1, 1, at)
	b.FindLog(t, "a backend is being emptied", at, "backend=a")
	at = b.Stderr.Position()
	write("a", "b")
	b.AwaitList(t, 2, 0, at)
	b.FindLog(t, "a backend is no longer being emptied", at, "backend=a", "sessions=5")
	b.AwaitChange(t, "main", "a", "up", at)
	all := b.Pool(t, "main").Backends
	if len(all) != 2 || all[0].Sessions != 5 || all[1].Sessions != 5 {
		t.Errorf("/status has %+v, want two backends with 5 sessions each", all)
	}
	if _, status := kit.OpenAndClose(t, b, "/"); status != http.StatusServiceUnavailable {
		t.Errorf("an 11th session got status %d, though both backends have their max_sessions", status)
	}
	time.Sleep(4 * time.Second) // the drain would be over, and its sessions closed
	crowd.FinishAll(t)
	endings := kit.Reports(t, backends)
	f := &kit.Faults{T: t}
	for _, m := range crowd.Members {
		kit.CheckComplete(f, m, endings[m.ID])
	}
	f.Sum("sessions")
}
