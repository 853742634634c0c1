package discovery

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// question is a query that a fake server got.
type question struct {
	at              time.Time
	network, server string
	name            string // "ws.internal. A"
}

// fakeDNS replaces the servers and the network. Names without an answer don't exist.
type fakeDNS struct {
	mu    sync.Mutex
	zone  map[string]func(network, server string, q *dns.Msg) (*dns.Msg, error) // by "ws.internal. A"
	asked []question
	delay time.Duration
}

func (d *fakeDNS) exchange(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	name := q.Question[0].Name + " " + dns.TypeToString[q.Question[0].Qtype]
	d.mu.Lock()
	d.asked = append(d.asked, question{time.Now(), network, server, name})
	answer, delay := d.zone[name], d.delay
	d.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(delay):
	}
	if answer == nil {
		return code(dns.RcodeNameError)(network, server, q)
	}
	return answer(network, server, q)
}

type reply = func(network, server string, q *dns.Msg) (*dns.Msg, error)

// set sets the answer to name, such as "ws.internal. A".
func (d *fakeDNS) set(name string, r reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.zone == nil {
		d.zone = map[string]reply{}
	}
	d.zone[name] = r
}

// take returns the queries since the last call.
func (d *fakeDNS) take() []question {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := d.asked
	d.asked = nil
	return asked
}

// records answers with records in zone file format. The targets of SRV records have
// addresses of their own, which are in the additional section.
func records(texts ...string) reply {
	r := bare(texts...)
	return func(network, server string, q *dns.Msg) (*dns.Msg, error) {
		m, err := r(network, server, q)
		for _, rr := range m.Answer {
			if srv, ok := rr.(*dns.SRV); ok {
				m.Extra = append(m.Extra, &dns.A{A: addressOf(srv.Target), Hdr: dns.RR_Header{
					Name: srv.Target, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1<<31 - 1}})
			}
		}
		return m, err
	}
}

func addressOf(host string) net.IP {
	h := fnv.New32a()
	h.Write([]byte(dns.CanonicalName(host)))
	sum := h.Sum32()
	return net.IPv4(10, byte(sum>>16), byte(sum>>8), byte(sum))
}

// bare answers with these records only.
func bare(texts ...string) reply {
	var rrs []dns.RR
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		rrs = append(rrs, rr)
	}
	return func(_, _ string, q *dns.Msg) (*dns.Msg, error) {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true
		m.Answer = rrs
		return m, nil
	}
}

func code(rcode int) reply {
	return func(_, _ string, q *dns.Msg) (*dns.Msg, error) {
		m := new(dns.Msg).SetRcode(q, rcode)
		m.RecursionAvailable = true
		return m, nil
	}
}

func broken(_, _ string, _ *dns.Msg) (*dns.Msg, error) { return nil, errors.New("sent nonsense") }

// logLines collects the level and message of each line.
type logLines struct{ testkit.Log }

// take returns the lines since the last call.
func (l *logLines) take() string { return strings.ReplaceAll(l.Take(), "\\\"", "'") }

func (l *logLines) logger() *slog.Logger { return l.Logger("level", "msg") }

// world is a Watcher with all its dependencies.
type world struct {
	*Watcher
	t   *testing.T
	dns fakeDNS
	log logLines

	mu      sync.Mutex
	changes []string // pools that Changed was called for
	called  func()   // by each call, if not nil
	no4     bool     // there is no route to IPv4 addresses
	no6     bool
}

const resolvConf = "search prod.internal internal\nnameserver 10.0.0.2\nnameserver 10.0.0.3\noptions ndots:2\n"

// newWorld makes a world with fake DNS that polls files each second.
func newWorld(t *testing.T) *world {
	w := &world{t: t}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, conf, resolvConf)
	w.Watcher = newWatcher(Options{Log: w.log.logger(), OnChange: w.note}, environment{exchange: w.dns.exchange, routed: w.hasRoute, resolvConf: conf, poll: time.Second})
	return w
}

// everywhere is a route to every address.
func everywhere(netip.Addr) bool { return true }

func (w *world) hasRoute(ip netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !(w.no4 && ip.Is4()) && !(w.no6 && ip.Is6())
}

// routes sets which families there is a route for.
func (w *world) routes(four, six bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.no4, w.no6 = !four, !six
}

func (w *world) note(pools []string) {
	w.mu.Lock()
	w.changes = append(w.changes, pools...)
	called := w.called
	w.mu.Unlock()
	if called != nil {
		called()
	}
}

func (w *world) takeChanges() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := w.changes
	w.changes = nil
	return changes
}

// sleep waits for d, and for all that happens then.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// wantMembers compares with "name weight" of each; a weight of 1 is left out.
func (w *world) wantMembers(pool string, want ...string) {
	w.t.Helper()
	if got := short(w.Members(pool)); !slices.Equal(got, want) {
		w.t.Errorf("members of %s: %q, want %q", pool, got, want)
	}
}

// wantAddresses compares with "name address" of each.
func (w *world) wantAddresses(pool string, want ...string) {
	w.t.Helper()
	var got []string
	for _, m := range w.Members(pool) {
		got = append(got, m.Name+" "+m.Address)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("members of %s: %q, want %q", pool, got, want)
	}
}

func short(members []Member) (list []string) {
	for _, m := range members {
		s := m.Name
		if m.Weight != 1 {
			s += fmt.Sprint(" ", m.Weight)
		}
		list = append(list, s)
	}
	return list
}

func (w *world) wantLog(want string) {
	w.t.Helper()
	if got := w.log.take(); got != want {
		w.t.Errorf("logged\n%s\nwant\n%s", got, want)
	}
}

func (w *world) wantChanges(want ...string) {
	w.t.Helper()
	if got := w.takeChanges(); !slices.Equal(got, want) {
		w.t.Errorf("Changed was called for %q, want %q", got, want)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func srvSpec(name string) Spec { return Spec{DNS: &DNS{Name: name, Type: SRV}} }

func aSpec(name string) Spec { return Spec{DNS: &DNS{Name: name, Type: A, Port: 3000}} }
