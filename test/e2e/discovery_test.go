//go:build unix

package e2e

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
)

const (
	chatName = "_ws._tcp.chat.test."
	// chatHost is known to nobody but the test's DNS server, as the hosts of
	// Consul are.
	chatHost = "here.node.chat.test"
)

// srvs are records of chatName that lead to these backends.
func srvs(ttl int, backends ...*startedBackend) []string {
	records := []string{fmt.Sprintf("%s. %d IN A 127.0.0.1", chatHost, ttl)}
	for _, b := range backends {
		_, port, _ := net.SplitHostPort(b.address)
		records = append(records, fmt.Sprintf("%s %d IN SRV 0 1 %s %s.", chatName, ttl, port, chatHost))
	}
	return records
}

// discoveryUp is the metric for a pool's source.
func discoveryUp(m metrics, source string) (v float64, ok bool) {
	v, ok = m[fmt.Sprintf(`holdfast_discovery_up{pool="main",source=%q}`, source)]
	return v, ok
}

// checkDiscovery checks that /status and the metrics agree on how the search
// for the backends of the pool main goes. trouble is a part of it, or "".
func (b *balancer) checkDiscovery(t testing.TB, source, trouble string) {
	t.Helper()
	d := b.pool(t, "main").Discovery
	if len(d) != 1 || d[0].Source != source || !strings.Contains(d[0].Trouble, trouble) || (d[0].Trouble == "") != (trouble == "") {
		t.Errorf("/status tells of the search %+v, want %q with trouble %q", d, source, trouble)
	}
	want := 0.0
	if trouble == "" {
		want = 1
	}
	if up, ok := discoveryUp(b.metrics(t), source); !ok || up != want {
		t.Errorf("holdfast_discovery_up of %s is %v, %v, want %v", source, up, ok, want)
	}
	shown := run(t, "status", "--admin", b.admin).stdout
	if told := strings.Contains(shown, source+": "); told != (trouble != "") || !strings.Contains(shown, trouble) {
		t.Errorf("holdfast status, with trouble %q:\n%s", trouble, shown)
	}
}

// awaitTrouble waits until /status tells of trouble with the search that has
// the words in it; "" is none.
func (b *balancer) awaitTrouble(t testing.TB, words string) {
	t.Helper()
	await(t, fmt.Sprintf("trouble %q", words), func() bool {
		trouble := b.pool(t, "main").Discovery[0].Trouble
		return strings.Contains(trouble, words) && (trouble == "") == (words == "")
	})
}

// awaitList waits for the log, from position on, to tell that another list of
// backends of the pool main is in use: how many it has and how many left.
func (b *balancer) awaitList(t testing.TB, backends, left, position int) map[string]any {
	t.Helper()
	return b.log(t, "the backends of a pool changed", position, "pool=main",
		fmt.Sprintf("backends=%d", backends), fmt.Sprintf("backends_left=%d", left))
}

// changeOfList is a change of the list of backends from a, b, c to b, c, d
// under live sessions. change makes it.
func changeOfList(t *testing.T, b *balancer, backends []*startedBackend, change func(list ...*startedBackend), within time.Duration) {
	t.Helper()
	const residents, guests = 12, 9
	before := gather(t, "resident", b.address, residents)
	open := backends[0].report(t).Open
	if open != residents/3 {
		t.Errorf("the backend that will leave has %d of %d sessions", open, residents)
	}
	at, began := b.stderr.position(), time.Now()
	change(backends[1:]...)
	b.awaitList(t, 3, 1, at)
	if took := time.Since(began); took > within+slack {
		t.Errorf("the change took %v to have an effect, want %v", took, within)
	}
	after := gather(t, "guest", b.address, guests)
	if n := backends[3].report(t).Open; n < 2 {
		t.Errorf("the newcomer got %d of %d new sessions", n, guests)
	}
	gone := reports(t, backends[:1])
	// Those that stay go on talking.
	received := map[string]int64{}
	for _, m := range before.members {
		received[m.id] = m.received.Load()
	}
	await(t, "messages of all sessions that stay", func() bool {
		return !slices.ContainsFunc(before.members, func(m *member) bool {
			_, left := gone[m.id]
			return !left && m.received.Load() == received[m.id]
		})
	})
	before.disperse(t)
	after.disperse(t)
	endings := reports(t, backends)
	f := &faults{t: t}
	if len(gone) != open {
		f.add("the backend that left had the sessions %v, want the %d that were there", gone, open)
	}
	for _, m := range append(before.members, after.members...) {
		if e, left := gone[m.id]; left {
			checkSentAway(f, m, e)
		} else {
			checkComplete(f, m, endings[m.id])
		}
	}
	f.sum("sessions")
}

// The answer of a real DNS server changes: the TTL says when to ask again, not
// the refresh, which is an hour.
func TestDNSChange(t *testing.T) {
	t.Parallel()
	backends := startBackends(t, 4)
	names := startNameServer(t, srvs(1, backends[:3]...)...)
	b := balance(t, withPools(fmt.Sprintf(`  main:
    drain: {timeout: 400ms}
    dns: {name: %q, type: srv, refresh: 1h, server: %q}`, chatName, names.address)))
	b.checkDiscovery(t, "DNS SRV "+chatName, "")
	began, asked := time.Now(), names.questions()
	changeOfList(t, b, backends, func(list ...*startedBackend) { names.set(t, srvs(1, list...)...) }, 1100*time.Millisecond)
	// Each time there are two: for the records, and for the address.
	if n, most := names.questions()-asked, 2*(int(time.Since(began)/time.Second)+2); n > most {
		t.Errorf("%d questions in %v, with a TTL of a second", n, time.Since(began))
	}
	var want []string
	for _, found := range backends[1:] {
		_, port, _ := net.SplitHostPort(found.address)
		want = append(want, chatHost+":"+port)
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(b.pool(t, "main").names())); !slices.Equal(got, want) {
		t.Errorf("the pool has %v, want %v", got, want)
	}

	// An answer that is good for longer is not asked for sooner.
	at := b.stderr.position()
	names.set(t, srvs(3600, backends[:1]...)...)
	b.awaitList(t, 1, 3, at)
	asked = names.questions()
	b.write(t, withPools(fmt.Sprintf(`  main:
    balance: round_robin
    dns: {name: %q, type: srv, refresh: 1h, server: %q}`, chatName, names.address)))
	for range 3 {
		b.hangUp(t, reloaded)
	}
	if n := names.questions() - asked; n != 0 {
		t.Errorf("reloads that change nothing about it asked %d questions", n)
	}
	b.stop(t)
}

// Whatever goes wrong with DNS, the last answer stays in use.
func TestDNSTrouble(t *testing.T) {
	t.Parallel()
	backends := startBackends(t, 2)
	names := startNameServer(t, srvs(1, backends...)...)
	b := balance(t, withPools(fmt.Sprintf(`  main:
    dns: {name: %q, type: srv, refresh: 1s, server: %q}`, chatName, names.address)))
	const source = "DNS SRV " + chatName
	want := b.pool(t, "main").names()
	if len(want) != 2 {
		t.Fatalf("the pool has %v", want)
	}
	live := openEcho(t, b)
	for _, tt := range []struct {
		trouble int
		words   string
	}{
		{dns.RcodeServerFailure, names.address + " answers SERVFAIL"},
		{dns.RcodeNameError, chatName + " does not exist"},
		{silence, names.address + " does not answer within 2s"},
	} {
		at := b.stderr.position()
		names.fail(tt.trouble)
		b.awaitTrouble(t, tt.words)
		b.checkDiscovery(t, source, tt.words)
		b.stderr.find(t, "warning", at, func(line string) bool {
			return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, tt.words+"; going on with the last list, 2 backends")
		})
		if got := b.pool(t, "main").names(); !slices.Equal(got, want) {
			t.Errorf("with %q, the pool has %v, want %v", tt.words, got, want)
		}
		mustEcho(t, live, "still here")
		openEcho(t, b).Close()

		at = b.stderr.position()
		names.fail(noTrouble)
		b.awaitTrouble(t, "")
		b.checkDiscovery(t, source, "")
		b.stderr.find(t, "log line", at, func(line string) bool { return strings.Contains(line, source+" is good again: 2 backends") })
	}
	// An empty answer is trouble, too.
	names.set(t, chatName+` 1 IN TXT "nobody is there"`)
	b.awaitTrouble(t, "has no SRV records")
	openEcho(t, b).Close()
	if got := b.logged("the backends of a pool changed"); len(got) > 0 {
		t.Errorf("the list changed: %v", got)
	}
	leave(t, b, live)
	b.stop(t)
}

func openEcho(t testing.TB, b *balancer) *wire {
	t.Helper()
	w, _ := stay(t, b, "/echo")
	mustEcho(t, w, "hello")
	return w
}

// Addresses share the port of the configuration. Before there is any, clients
// are told to come back.
func TestDNSAddresses(t *testing.T) {
	t.Parallel()
	backend := startBackends(t, 1)[0]
	_, port, _ := net.SplitHostPort(backend.address)
	names := startNameServer(t)
	b := balance(t, withPools(fmt.Sprintf(`  main:
    dns: {name: chat.test., type: a, port: %s, refresh: 1s, server: %q}`, port, names.address)))
	b.checkDiscovery(t, "DNS A chat.test.", "does not exist")
	if _, res, err := dialWire(b.address, "/echo"); res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a pool without backends: %v, %v, want 503 with Retry-After", res, err)
	}
	names.set(t, "chat.test. 1 IN A 127.0.0.1")
	b.awaitList(t, 1, 0, 0)
	openEcho(t, b).Close()
	if got := b.pool(t, "main").names(); !slices.Equal(got, []string{backend.address}) {
		t.Errorf("the pool has %v, want %s", got, backend.address)
	}
	b.checkDiscovery(t, "DNS A chat.test.", "")
	b.stop(t)
}

// list is a file of backends that something else writes.
type list struct{ path string }

func fileText(backends ...*startedBackend) string {
	var entries []string
	for _, b := range backends {
		name := strings.TrimPrefix(b.name, "backend ")
		entries = append(entries, fmt.Sprintf("  {\"name\": %q, \"address\": %q}", name, b.address))
	}
	return "[\n" + strings.Join(entries, ",\n") + "\n]\n"
}

// replace puts another file in its place, as careful writers do.
func (l list) replace(t testing.TB, text string) {
	t.Helper()
	next := l.path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, l.path); err != nil {
		t.Fatal(err)
	}
}

// overwrite writes into the file as it is.
func (l list) overwrite(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(l.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const fileFound = 1100 * time.Millisecond // it is looked at each second

func TestFileChange(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(list, testing.TB, string){"replaced": list.replace, "overwritten": list.overwrite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backends := startBackends(t, 4)
			l := list{filepath.Join(t.TempDir(), "backends.json")}
			l.replace(t, fileText(backends[:3]...))
			b := balance(t, withPools(fmt.Sprintf("  main: {drain: {timeout: 400ms}, file: %q}", l.path)))
			changeOfList(t, b, backends, func(some ...*startedBackend) { write(l, t, fileText(some...)) }, fileFound)
			b.stop(t)
		})
	}
}

// A file beside the configuration: not there yet, there, broken, gone, mended.
func TestFileTrouble(t *testing.T) {
	t.Parallel()
	backends := startBackends(t, 2)
	b := balance(t, withPools("  main: {file: backends.json}"))
	l := list{filepath.Join(filepath.Dir(b.file), "backends.json")}
	source := "file " + l.path
	b.checkDiscovery(t, source, l.path+": no such file or directory")
	if _, res, err := dialWire(b.address, "/echo"); res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a pool without backends: %v, %v, want 503 with Retry-After", res, err)
	}
	began := time.Now()
	l.replace(t, fileText(backends...))
	b.awaitList(t, 2, 0, 0)
	if took := time.Since(began); took > fileFound+slack {
		t.Errorf("the file took %v to be found", took)
	}
	live := openEcho(t, b)
	b.checkDiscovery(t, source, "")

	for _, tt := range []struct {
		what   func()
		reason string // behind the path
	}{
		{func() { l.overwrite(t, fileText(backends...)[:30]) }, ":2:"},
		{func() { l.replace(t, "[\n  {\"name\": \"a\",\n   \"address\": 127}\n]") }, ":3:15: "},
		{func() { l.replace(t, "[]") }, ":1:"},
		{func() { os.Remove(l.path) }, ": no such file or directory"},
	} {
		at := b.stderr.position()
		tt.what()
		b.awaitTrouble(t, l.path+tt.reason)
		b.checkDiscovery(t, source, l.path+tt.reason)
		line := b.stderr.find(t, "warning", at, func(line string) bool {
			return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, source+": "+l.path+tt.reason) &&
				strings.Contains(line, "; going on with the last list, 2 backends")
		})
		t.Log(line)
		mustEcho(t, live, "still here")
		openEcho(t, b).Close()
	}
	at := b.stderr.position()
	l.replace(t, fileText(backends...))
	b.awaitTrouble(t, "")
	b.stderr.find(t, "log line", at, func(line string) bool { return strings.Contains(line, source+" is good again: 2 backends") })
	if got := b.logged("the backends of a pool changed"); len(got) != 1 {
		t.Errorf("the list changed more than the one time it did: %v", got)
	}
	leave(t, b, live)
	b.stop(t)
}

// What joins a pool with checks gets its first session after they have passed.
func TestNewcomerIsCheckedFirst(t *testing.T) {
	t.Parallel()
	servers := startMoody(t, 2)
	newcomer := servers[1]
	newcomer.set(t, `{"health": 500}`)
	text := func(some ...*moody) string {
		var entries []string
		for _, m := range some {
			entries = append(entries, fmt.Sprintf(`{"name": %q, "address": %q}`, m.name, m.address))
		}
		return `{"backends": [` + strings.Join(entries, ", ") + "]}"
	}
	l := list{filepath.Join(t.TempDir(), "backends.json")}
	l.replace(t, text(servers[:1]...))
	b := balance(t, withPools(fmt.Sprintf(`  main:
    balance: round_robin
    file: %q
    health: {http: {path: /health}, interval: 400ms, timeout: 350ms}`, l.path)))
	l.replace(t, text(servers...))
	b.awaitList(t, 2, 0, 0)
	if got := knocks(t, b, "/", 6); got["b"] > 0 {
		t.Errorf("sessions go to %v before the newcomer was found well", got)
	}
	b.awaitState(t, "main", "b", "down")
	if got := knocks(t, b, "/", 6); got["b"] > 0 {
		t.Errorf("sessions go to %v while the newcomer is down", got)
	}
	newcomer.set(t, `{"health": 200}`)
	b.awaitChange(t, "main", "b", "up", 0)
	if got := knocks(t, b, "/", 6); got["b"] != 3 {
		t.Errorf("sessions go to %v once the newcomer is up", got)
	}
	b.checkChanges(t, "main", "b", "warming", "down", "warming", "up")
	b.checkChanges(t, "main", "a")
	b.stop(t)
}
