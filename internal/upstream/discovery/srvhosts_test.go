package discovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// with adds records to the additional section of an answer.
func with(r reply, texts ...string) reply {
	return func(network, server string, q *dns.Msg) (*dns.Msg, error) {
		m, err := r(network, server, q)
		more, _ := bare(texts...)(network, server, q)
		m.Extra = append(m.Extra, more.Answer...)
		return m, err
	}
}

// The targets' names are in a zone that only the server of the SRV records knows.
func TestTargets(t *testing.T) {
	const srv1, srv2 = "ws.internal. 60 IN SRV 0 2 3000 WS1.internal.", "ws.internal. 60 IN SRV 0 1 3000 ws2.internal."
	for _, c := range []struct {
		name  string
		srv   reply
		zone  []string // all further records
		want  []string
		asked []string // beside the SRV question, sorted
	}{
		{"additional records, without a question", with(bare(srv1, srv2), "ws1.internal. 60 IN A 10.0.0.1", "ws2.internal. 60 IN A 10.0.0.2"), nil,
			[]string{"ws1.internal:3000 10.0.0.1:3000", "ws2.internal:3000 10.0.0.2:3000"}, nil},
		{"additional records of one", with(bare(srv1, srv2), "Ws1.Internal. 60 IN A 10.0.0.1", "other.internal. 60 IN A 10.0.0.3"), []string{"ws2.internal. 60 IN A 10.0.0.2"},
			[]string{"ws1.internal:3000 10.0.0.1:3000", "ws2.internal:3000 10.0.0.2:3000"}, []string{"ws2.internal. A"}},
		{"additional alias", with(bare(srv1), "ws1.internal. 60 IN CNAME x.internal.", "x.internal. 60 IN A 10.0.0.1"), nil,
			[]string{"ws1.internal:3000 10.0.0.1:3000"}, nil},
		{"additional alias that leads out", with(bare(srv1), "ws1.internal. 60 IN CNAME x.internal."), []string{"ws1.internal. 60 IN A 10.0.0.1"},
			[]string{"ws1.internal:3000 10.0.0.1:3000"}, []string{"ws1.internal. A"}},
		{"additional address of no use", with(bare(srv1), "ws1.internal. 60 IN A 0.0.0.0"), []string{"ws1.internal. 60 IN A 10.0.0.1"},
			[]string{"ws1.internal:3000 10.0.0.1:3000"}, []string{"ws1.internal. A"}},
		{"additional IPv6, and IPv4 for whoever asks", with(bare(srv1), "ws1.internal. 60 IN AAAA 2001:db8::1"), []string{"ws1.internal. 60 IN A 10.0.0.1"},
			[]string{"ws1.internal:3000 10.0.0.1:3000"}, []string{"ws1.internal. A"}},
		{"additional IPv6 only", with(bare(srv1), "ws1.internal. 60 IN AAAA 2001:db8::1"), []string{"ws1.internal. 60 IN TXT x"},
			[]string{"ws1.internal:3000 [2001:db8::1]:3000"}, []string{"ws1.internal. A"}},
		{"IPv4 before IPv6", bare(srv1), []string{"ws1.internal. 60 IN AAAA 2001:db8::1", "ws1.internal. 60 IN A 10.0.0.1"},
			[]string{"ws1.internal:3000 10.0.0.1:3000"}, []string{"ws1.internal. A"}},
		{"IPv6 only", bare(srv1), []string{"ws1.internal. 60 IN AAAA 2001:db8::1"},
			[]string{"ws1.internal:3000 [2001:db8::1]:3000"}, []string{"ws1.internal. A", "ws1.internal. AAAA"}},
		{"several addresses", bare(srv1, srv2), []string{"ws1.internal. 60 IN A 10.0.0.9", "ws1.internal. 60 IN A 10.0.0.1", "ws1.internal. 60 IN A 10.0.0.9", "ws2.internal. 60 IN A 10.0.0.2"},
			[]string{"ws1.internal:3000@10.0.0.1 10.0.0.1:3000", "ws1.internal:3000@10.0.0.9 10.0.0.9:3000", "ws2.internal:3000 10.0.0.2:3000"}, []string{"ws1.internal. A", "ws2.internal. A"}},
		{"several IPv6 addresses", bare(srv1), []string{"ws1.internal. 60 IN AAAA 2001:db8::2", "ws1.internal. 60 IN AAAA 2001:db8::1"},
			[]string{"ws1.internal:3000@2001:db8::1 [2001:db8::1]:3000", "ws1.internal:3000@2001:db8::2 [2001:db8::2]:3000"}, []string{"ws1.internal. A", "ws1.internal. AAAA"}},
		{"two ports of a host, one question", bare(srv1, "ws.internal. 60 IN SRV 0 2 3001 ws1.internal."), []string{"ws1.internal. 60 IN A 10.0.0.1"},
			[]string{"ws1.internal:3000 10.0.0.1:3000", "ws1.internal:3001 10.0.0.1:3001"}, []string{"ws1.internal. A"}},
		{"two names of a host", bare(srv1, srv2), []string{"ws1.internal. 60 IN A 10.0.0.1", "ws2.internal. 60 IN A 10.0.0.1"},
			[]string{"ws1.internal:3000 10.0.0.1:3000"}, []string{"ws1.internal. A", "ws2.internal. A"}},
		{"an address for a name", bare("ws.internal. 60 IN SRV 0 0 3000 10.0.0.1.", "ws.internal. 60 IN SRV 0 0 3000 0.0.0.0."), nil,
			[]string{"10.0.0.1:3000 10.0.0.1:3000"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				w.dns.set("ws.internal. SRV", c.srv)
				byName := map[string][]string{}
				for _, text := range c.zone {
					f := strings.Fields(text)
					byName[f[0]+" "+f[3]] = append(byName[f[0]+" "+f[3]], text)
				}
				for name, texts := range byName {
					w.dns.set(name, bare(texts...))
				}
				spec := srvSpec("ws.internal.")
				spec.DNS.Server = hostport.MustParse("10.0.0.9:53")
				w.Apply(map[string]Spec{"chat": spec}, time.Second)
				w.wantAddresses("chat", c.want...)
				for _, m := range w.Members("chat") {
					if strings.HasPrefix(m.Name, "ws1.") && m.Weight != 2 {
						t.Errorf("%+v, want the record's weight", m)
					}
				}
				checkMembers(t, w.Members("chat"))
				var asked []string
				for _, q := range w.dns.take()[1:] {
					asked = append(asked, q.name)
					if q.server != "10.0.0.9:53" {
						t.Errorf("asked %s for %s", q.server, q.name)
					}
				}
				if slices.Sort(asked); !slices.Equal(asked, c.asked) {
					t.Errorf("asked for %q, want %q", asked, c.asked)
				}
				w.wantLog("")
			})
		})
	}
}

// The smallest TTL of all records used says when to ask again.
func TestTTLOfTargets(t *testing.T) {
	const srv = "ws.internal. 60 IN SRV 0 0 3000 ws1.internal."
	for name, set := range map[string]func(*fakeDNS){
		"additional": func(d *fakeDNS) { d.set("ws.internal. SRV", with(bare(srv), "ws1.internal. 5 IN A 10.0.0.1")) },
		"asked for": func(d *fakeDNS) {
			d.set("ws.internal. SRV", with(bare(srv), "ws1.internal. 1 IN AAAA 2001:db8::1")) // not used
			d.set("ws1.internal. A", bare("ws1.internal. 5 IN A 10.0.0.1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				set(&w.dns)
				spec := srvSpec("ws.internal.")
				spec.DNS.Refresh = time.Hour
				w.Apply(map[string]Spec{"chat": spec}, time.Second)
				w.dns.take()
				sleep(5*time.Second - 1)
				if asked := w.dns.take(); len(asked) > 0 {
					t.Errorf("asked %v before the TTL was over", asked)
				}
				sleep(time.Second)
				if asked := w.dns.take(); len(asked) == 0 {
					t.Error("the TTL of the address isn't followed")
				}
			})
		})
	}
}

func TestIn(t *testing.T) {
	for _, c := range []struct {
		member        Member
		name, address string
		want          bool
	}{
		{Member{Name: "a:1", Address: "10.0.0.1:1"}, "a:1", "10.0.0.2:1", true},
		{Member{Name: "a:1", Address: "10.0.0.1:1"}, "b", "10.0.0.1:1", true},
		{Member{Name: "a:1", Address: "10.0.0.1:1"}, "b", "a:1", true},
		{Member{Name: "a:1@10.0.0.1", Address: "10.0.0.1:1"}, "b", "a:1", true},
		{Member{Name: "a:1@10.0.0.1", Address: "10.0.0.1:1"}, "a:1", "10.0.0.2:1", true},
		{Member{Name: "a:1@10.0.0.1", Address: "10.0.0.1:1"}, "b", "a:2", false},
		{Member{Name: "10.0.0.1:1", Address: "10.0.0.1:1"}, "a:1", "10.0.0.1:2", false},
	} {
		if got := c.member.In(map[string]bool{c.name: true}, map[string]bool{c.address: true}); got != c.want {
			t.Errorf("%+v is %s at %s: %v, want %v", c.member, c.name, c.address, got, c.want)
		}
	}
}

// A target's new address is another backend of the same name.
func TestTargetMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.dns.set("ws.internal. SRV", bare(srvOne))
		w.dns.set("ws1.internal. A", bare("ws1.internal. 5 IN A 10.0.0.1"))
		w.Apply(map[string]Spec{"chat": srvSpec("ws.internal.")}, time.Second)
		w.dns.set("ws1.internal. A", bare("ws1.internal. 5 IN A 10.0.0.2"))
		sleep(6 * time.Second)
		w.wantAddresses("chat", "ws1.internal:3000 10.0.0.2:3000")
		w.wantChanges("chat")
		w.wantLog("level=INFO msg=\"pool chat: DNS SRV ws.internal. changed: 1 backend, 1 new, 1 gone\"\n")
	})
}

// Whatever fails for one target, the others are followed; it keeps its addresses.
func TestTargetThatFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer reply
		reason string
	}{
		{"does not exist", code(dns.RcodeNameError), "ws2.internal. does not exist"},
		{"no records", bare(), "ws2.internal. has no A records, ws2.internal. has no AAAA records"},
		{"no use", bare("ws2.internal. 5 IN A 0.0.0.0"), "ws2.internal. has no useful A record: 0.0.0.0 is not the address of a host, ws2.internal. has no AAAA records"},
		{"server failure", code(dns.RcodeServerFailure), "10.0.0.2:53 answers SERVFAIL, 10.0.0.3:53 answers SERVFAIL"},
		{"nonsense", broken, "10.0.0.2:53 sent nonsense, 10.0.0.3:53 sent nonsense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				w.dns.set("ws.internal. SRV", bare(srvOne, srvTwo))
				w.dns.set("ws1.internal. A", bare("ws1.internal. 3600 IN A 10.0.0.1"))
				fail := func() {
					w.dns.set("ws2.internal. A", c.answer)
					w.dns.set("ws2.internal. AAAA", c.answer)
					if c.name == "no use" {
						w.dns.set("ws2.internal. AAAA", bare())
					}
				}
				fail()
				spec := srvSpec("ws.internal.")
				spec.DNS.Refresh = time.Minute
				w.Apply(map[string]Spec{"chat": spec}, time.Second)
				const one, two, moved = "ws1.internal:3000 10.0.0.1:3000", "ws2.internal:3000 10.0.0.2:3000", "ws1.internal:3000 10.0.0.7:3000"
				w.wantAddresses("chat", one)
				w.wantLog("level=WARN msg=\"pool chat: DNS SRV ws.internal.: target ws2.internal is not found: " + c.reason + "; going on with 1 backend\"\n")
				began := time.Now()
				sleep(5 * time.Minute)
				w.wantLog("")
				s := w.States()[0]
				if want := "target ws2.internal is not found: " + c.reason; s.LastError != want || !s.Since.Equal(began) || s.Backends != 1 || time.Since(s.Answered) > 7*time.Second {
					t.Errorf("state %+v, want problem %q since %v", s, want, began)
				}

				w.dns.set("ws2.internal. A", bare("ws2.internal. 3600 IN A 10.0.0.2"))
				sleep(time.Minute)
				w.wantAddresses("chat", one, two)
				w.wantLog("level=INFO msg=\"pool chat: DNS SRV ws.internal. is good again: 2 backends\"\n")
				if s := w.States()[0]; s.LastError != "" || !s.Since.IsZero() {
					t.Errorf("state %+v", s)
				}

				fail()
				w.takeChanges()
				w.dns.set("ws1.internal. A", bare("ws1.internal. 3600 IN A 10.0.0.7"))
				sleep(time.Minute)
				w.wantAddresses("chat", moved, two)
				w.wantChanges("chat")
				w.wantLog("level=WARN msg=\"pool chat: DNS SRV ws.internal.: target ws2.internal keeps its last addresses: " + c.reason + "; going on with 2 backends\"\n")

				// Also with another server.
				spec.DNS.Refresh = time.Second
				w.Apply(map[string]Spec{"chat": spec}, time.Second)
				w.wantAddresses("chat", moved, two)
				w.log.take()

				// The whole list fails, and then again only one target.
				w.dns.set("ws.internal. SRV", broken)
				sleep(10 * time.Second)
				w.dns.set("ws.internal. SRV", bare(srvOne, srvTwo))
				sleep(10 * time.Second)
				if got := w.log.take(); strings.Count(got, "level=WARN") != 2 || strings.Count(got, "\n") != 2 ||
					!strings.Contains(got, "going on with the last list") || !strings.Contains(got, "keeps its last addresses") {
					t.Errorf("logged\n%s", got)
				}

				// A target that left the records is gone.
				w.dns.set("ws.internal. SRV", bare(srvOne))
				sleep(10 * time.Second)
				w.wantAddresses("chat", moved)
				if s := w.States()[0]; s.LastError != "" {
					t.Errorf("state %+v", s)
				}
			})
		})
	}
}

// With no target left there is no answer, and no other search domain is tried.
func TestAllTargetsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		var texts []string
		for i := range 5 {
			texts = append(texts, fmt.Sprintf("ws.prod.internal. 5 IN SRV 0 0 3000 ws%d.internal.", i))
		}
		w.dns.set("ws.prod.internal. SRV", bare(texts...))
		w.dns.set("ws.internal. SRV", records("ws.internal. 5 IN SRV 0 0 3000 other.internal."))
		w.Apply(map[string]Spec{"chat": srvSpec("ws")}, time.Second)
		w.wantMembers("chat")
		const lost = "target ws0.internal is not found: ws0.internal. does not exist; target ws1.internal is not found: ws1.internal. does not exist; " +
			"target ws2.internal is not found: ws2.internal. does not exist; 2 more of the targets"
		w.wantLog("level=WARN msg=\"pool chat: DNS SRV ws: " + lost + "; no backends from there until it is fixed\"\n")
		w.dns.set("ws.prod.internal. SRV", records(texts[0]))
		sleep(11 * time.Second)
		w.wantMembers("chat", "ws0.internal:3000")
		w.wantLog("level=INFO msg=\"pool chat: DNS SRV ws is good again: 1 backend\"\n")
		w.dns.set("ws.prod.internal. SRV", bare(texts[1])) // others only, and not found
		sleep(11 * time.Second)
		w.wantMembers("chat", "ws0.internal:3000")
		w.wantLog("level=WARN msg=\"pool chat: DNS SRV ws: target ws1.internal is not found: ws1.internal. does not exist; going on with the last list, 1 backend\"\n")
	})
}

// A failure doesn't switch a host with both families to the other one.
func TestTargetKeepsItsFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.dns.set("ws.internal. SRV", bare(srvOne))
		w.dns.set("ws1.internal. A", broken)
		w.dns.set("ws1.internal. AAAA", bare("ws1.internal. 5 IN AAAA 2001:db8::1"))
		w.Apply(map[string]Spec{"chat": srvSpec("ws.internal.")}, time.Second)
		w.wantAddresses("chat", "ws1.internal:3000 [2001:db8::1]:3000") // better than nothing
		w.wantLog("")
		w.dns.set("ws1.internal. A", bare("ws1.internal. 5 IN A 10.0.0.1"))
		sleep(6 * time.Second)
		w.wantAddresses("chat", "ws1.internal:3000 10.0.0.1:3000")
		w.dns.set("ws1.internal. A", broken)
		sleep(20 * time.Second)
		w.wantAddresses("chat", "ws1.internal:3000 10.0.0.1:3000")
		w.dns.set("ws1.internal. A", bare()) // firmly
		sleep(20 * time.Second)
		w.wantAddresses("chat", "ws1.internal:3000 [2001:db8::1]:3000")
	})
}

// If one of many targets isn't answered, the others lose only time, and the round
// ends in time.
func TestTargetsAreAskedForTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		var texts []string
		for i := range 100 {
			host := fmt.Sprintf("ws%d.internal.", i)
			texts = append(texts, "ws.internal. 5 IN SRV 0 0 3000 "+host)
			w.dns.set(host+" A", bare(fmt.Sprintf("%s 5 IN A 10.0.0.%d", host, i+1)))
		}
		w.dns.set("ws.internal. SRV", bare(texts...))
		w.dns.delay = 500 * time.Millisecond
		start := time.Now()
		w.Apply(map[string]Spec{"chat": srvSpec("ws.internal.")}, time.Minute)
		if took := time.Since(start); len(w.Members("chat")) != 100 || took != 4*time.Second {
			t.Errorf("%d members after %v, want 100 after 4s: 16 at a time", len(w.Members("chat")), took)
		}
		never := func(_, _ string, _ *dns.Msg) (*dns.Msg, error) {
			time.Sleep(queryTimeout)
			return nil, errors.New("is silent")
		}
		for i := range 100 {
			w.dns.set(fmt.Sprintf("ws%d.internal. A", i), never)
		}
		sleep(10*time.Second + roundTimeout)
		if s := w.States()[0]; len(w.Members("chat")) != 100 || !strings.Contains(s.LastError, "keeps its last addresses") {
			t.Errorf("%d members, state %+v", len(w.Members("chat")), s)
		}
	})
}

// Names that no other server knows, over real sockets.
func TestRealServerTargets(t *testing.T) {
	for _, more := range []bool{true, false} {
		t.Run(fmt.Sprint("additional records ", more), func(t *testing.T) {
			s := startServer(t, "127.0.0.1:0")
			s.more = more
			s.set("_ws._tcp.chat.private.", "60 IN SRV 0 1 3000 ws1.node.private.", "60 IN SRV 0 1 3000 ws2.node.private.", "60 IN SRV 0 1 3000 ws3.node.private.")
			s.set("ws1.node.private.", "60 IN A 127.0.0.1")
			s.set("ws2.node.private.", "60 IN AAAA ::1")
			w, log, _ := live(t)
			w.Apply(map[string]Spec{"chat": {DNS: &DNS{Name: "_ws._tcp.chat.private.", Type: SRV, Server: hostport.MustParse(s.addr)}}}, 10*time.Second)
			var got []string
			for _, m := range w.Members("chat") {
				got = append(got, m.Name+" "+m.Address)
			}
			if want := []string{"ws1.node.private:3000 127.0.0.1:3000", "ws2.node.private:3000 [::1]:3000"}; !slices.Equal(got, want) {
				t.Errorf("members %q, want %q", got, want)
			}
			if got := log.take(); !strings.Contains(got, "target ws3.node.private is not found: ws3.node.private. has no A records") {
				t.Errorf("logged %s", got)
			}
		})
	}
}
