package discovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

func TestTTLIsFollowed(t *testing.T) {
	for _, c := range []struct {
		ttl               int
		refresh           time.Duration
		shortest, longest time.Duration
	}{
		{0, 10 * time.Second, time.Second, 1100 * time.Millisecond},
		{1, 10 * time.Second, time.Second, 1100 * time.Millisecond},
		{5, 10 * time.Second, 5 * time.Second, 5500 * time.Millisecond},
		{3600, 10 * time.Second, 9 * time.Second, 10 * time.Second},
		{3600, 0, 9 * time.Second, 10 * time.Second}, // the default
		{3600, time.Minute, 54 * time.Second, time.Minute},
		{3600, time.Millisecond, time.Second, time.Second},
	} {
		t.Run(fmt.Sprintf("TTL %d refresh %v", c.ttl, c.refresh), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				// The smallest counts, including an alias's.
				w.dns.set("ws.internal. SRV", records(
					fmt.Sprintf("ws.internal. %d IN CNAME ws.elsewhere.", c.ttl),
					"ws.elsewhere. 7200 IN SRV 0 0 3000 ws1.internal."))
				spec := srvSpec("ws.internal.")
				spec.DNS.Refresh = c.refresh
				w.Apply(map[string]Spec{"chat": spec}, time.Second)
				w.wantMembers("chat", "ws1.internal:3000")
				sleep(20 * c.longest)
				asked := w.dns.take()
				if len(asked) < 20 {
					t.Fatalf("asked %d times in %v", len(asked), 20*c.longest)
				}
				for i, q := range asked[1:] {
					if pause := q.at.Sub(asked[i].at); pause < c.shortest || pause > c.longest {
						t.Errorf("asked again after %v, want %v to %v", pause, c.shortest, c.longest)
					}
				}
				w.wantLog("")
				w.wantChanges()
			})
		})
	}
}

// Whatever fails, the last members stay, there is a line when it begins and one when
// it ends, and queries become less frequent.
func TestFailureKeepsTheLastAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer reply
		reason string
	}{
		{"the zone is lost", code(dns.RcodeNameError), "ws.internal. does not exist"},
		{"no records", records(), "ws.internal. has no SRV records"},
		{"decidedly not available", records("ws.internal. 5 IN SRV 0 0 0 ."), "ws.internal. has no useful SRV record: the target is '.'"},
		{"server failure", code(dns.RcodeServerFailure), "10.0.0.2:53 answers SERVFAIL, 10.0.0.3:53 answers SERVFAIL"},
		{"an unknown code", code(13), "10.0.0.2:53 answers code 13, 10.0.0.3:53 answers code 13"},
		{"nonsense", broken, "10.0.0.2:53 sent nonsense, 10.0.0.3:53 sent nonsense"},
		{"timeout", func(_, _ string, _ *dns.Msg) (*dns.Msg, error) { return nil, os.ErrDeadlineExceeded },
			"10.0.0.2:53 does not answer within 2s, 10.0.0.3:53 does not answer within 2s"},
		{"another question's answer", func(n, s string, q *dns.Msg) (*dns.Msg, error) {
			return records("other.internal. 5 IN SRV 0 0 3000 evil.internal.")(n, s, new(dns.Msg).SetQuestion("other.internal.", dns.TypeSRV))
		}, "10.0.0.2:53 answers another question, 10.0.0.3:53 answers another question"},
		{"a referral", func(n, s string, q *dns.Msg) (*dns.Msg, error) {
			m := new(dns.Msg).SetReply(q)
			m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "a.root."}}
			return m, nil
		}, "10.0.0.2:53 does not resolve this name, 10.0.0.3:53 does not resolve this name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				good := records("ws.internal. 5 IN SRV 0 0 3000 ws1.internal.", "ws.internal. 5 IN SRV 0 0 3000 ws2.internal.")
				w.dns.set("ws.internal. SRV", good)
				w.Apply(map[string]Spec{"chat": srvSpec("ws.internal.")}, time.Second)
				w.dns.set("ws.internal. SRV", c.answer)
				sleep(6 * time.Second)
				w.wantLog(`level=WARN msg="pool chat: DNS SRV ws.internal.: ` + c.reason + "; going on with the last list, 2 backends\"\n")
				w.dns.take()
				sleep(time.Minute)
				rounds := map[time.Time]bool{}
				for _, q := range w.dns.take() {
					rounds[q.at] = true
				}
				if len(rounds) < 5 || len(rounds) > 16 {
					t.Errorf("%d rounds in a minute of failure, want about 8", len(rounds))
				}
				w.wantMembers("chat", "ws1.internal:3000", "ws2.internal:3000")
				s := w.States()[0]
				if s.LastError != strings.ReplaceAll(c.reason, "'", `"`) || time.Since(s.Since) < time.Minute || time.Since(s.Answered) < time.Minute || s.Backends != 2 {
					t.Errorf("state %+v", s)
				}
				w.wantLog("")
				w.wantChanges()

				w.dns.set("ws.internal. SRV", good)
				sleep(11 * time.Second)
				w.wantLog("level=INFO msg=\"pool chat: DNS SRV ws.internal. is good again: 2 backends\"\n")
				w.wantChanges()
				if s := w.States()[0]; s.LastError != "" || !s.Since.IsZero() || time.Since(s.Answered) > 11*time.Second {
					t.Errorf("state %+v", s)
				}
			})
		})
	}
}

func TestFailureFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		start := time.Now()
		w.Apply(map[string]Spec{"chat": aSpec("ws")}, time.Second)
		if time.Since(start) != 0 {
			t.Errorf("Apply waited %v for an answer that had come", time.Since(start))
		}
		if w.Members("chat") != nil || w.Members("other") != nil {
			t.Error("members without an answer")
		}
		w.wantLog(`level=WARN msg="pool chat: DNS A ws: ws.prod.internal. does not exist; ws.internal. does not exist; ws. does not exist; no backends from there until it is fixed"` + "\n")
		w.dns.set("ws.internal. A", records("ws.internal. 5 IN A 10.0.0.1"))
		sleep(11 * time.Second)
		w.wantMembers("chat", "10.0.0.1:3000")
		w.wantChanges("chat")
		w.wantLog(`level=INFO msg="pool chat: DNS A ws is good again: 1 backend"` + "\n")
	})
}

func TestApplyWaitsNoLongerThanAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.dns.delay = 1500 * time.Millisecond
		w.dns.set("ws.internal. SRV", records("ws.internal. 60 IN SRV 0 0 3000 ws1.internal."))
		start := time.Now()
		w.Apply(map[string]Spec{"chat": srvSpec("ws.internal.")}, time.Second)
		if time.Since(start) != time.Second || w.Members("chat") != nil {
			t.Errorf("Apply took %v, members %v", time.Since(start), w.Members("chat"))
		}
		sleep(time.Second)
		w.wantMembers("chat", "ws1.internal:3000")
		w.wantChanges("chat")

		start = time.Now()
		w.Apply(map[string]Spec{"chat": srvSpec("ws.internal."), "other": srvSpec("ws.internal.")}, time.Minute)
		if time.Since(start) != 1500*time.Millisecond {
			t.Errorf("Apply took %v, want as long as the answer", time.Since(start))
		}
		w.wantMembers("other", "ws1.internal:3000")
		sleep(time.Second)
		w.wantChanges() // whoever calls Apply looks then
	})
}

func TestAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.dns.set("ws.internal. A", records("ws.internal. 5 IN A 10.0.0.10", "ws.internal. 5 IN A 10.0.0.9", "ws.internal. 5 IN A 0.0.0.0", "ws.internal. 5 IN A 10.0.0.9"))
		w.dns.set("ws.internal. AAAA", records("ws.internal. 5 IN AAAA 2001:db8::1", "ws.internal. 5 IN AAAA ::ffff:10.0.0.9"))
		both := aSpec("ws.internal.")
		both.DNS.Family = Both
		w.Apply(map[string]Spec{"chat": both}, time.Second)
		all := []string{"10.0.0.10:3000", "10.0.0.9:3000", "[2001:db8::1]:3000"}
		w.wantMembers("chat", all...)

		// A family that fails keeps its last addresses; one that says that there
		// are none has none.
		w.dns.set("ws.internal. AAAA", code(dns.RcodeServerFailure))
		sleep(20 * time.Second)
		w.wantMembers("chat", all...)
		w.wantLog("")
		w.dns.set("ws.internal. AAAA", records())
		sleep(20 * time.Second)
		w.wantMembers("chat", all[:2]...)
		w.wantLog("level=INFO msg=\"pool chat: DNS A ws.internal. changed: 2 backends, 0 new, 1 gone\"\n")
		w.dns.set("ws.internal. A", code(dns.RcodeServerFailure))
		sleep(20 * time.Second)
		w.wantMembers("chat", all[:2]...)
		if s := w.States()[0]; !strings.Contains(s.LastError, "SERVFAIL") {
			t.Errorf("problem %q, want what failed and not what is none", s.LastError)
		}
		w.dns.set("ws.internal. AAAA", records("ws.internal. 5 IN AAAA 2001:db8::1"))
		w.dns.set("ws.internal. A", records())
		sleep(20 * time.Second)
		w.wantMembers("chat", all[2:]...)
	})
}

// A server with an IPv4 and an IPv6 address is one backend.
func TestOneFamilyOfAddresses(t *testing.T) {
	four, six := []string{"10.0.0.1:3000", "10.0.0.2:3000"}, []string{"[2001:db8::1]:3000", "[2001:db8::2]:3000"}
	for _, c := range []struct {
		name, family     string
		has4, has6       bool // records
		routed4, routed6 bool
		want             []string
	}{
		{"both", "", true, true, true, true, four},
		{"IPv4 only", "", true, false, true, true, four},
		{"IPv6 only", Auto, false, true, true, true, six},
		{"no route to IPv4", "", true, true, false, true, six},
		{"no route to IPv6", "", true, true, true, false, four},
		{"no route to anything", "", true, true, false, false, four},
		{"IPv4 only, without a route", "", true, false, false, true, four},
		{"ipv4", IPv4, true, true, false, true, four},
		{"ipv6", IPv6, true, true, true, false, six},
		{"ipv6, and there is none", IPv6, true, false, true, true, nil},
		{"all", Both, true, true, true, false, append(slices.Clone(four), six...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				w.routes(c.routed4, c.routed6)
				w.dns.set("ws.internal. A", records())
				w.dns.set("ws.internal. AAAA", records())
				if c.has4 {
					w.dns.set("ws.internal. A", records("ws.internal. 5 IN A 10.0.0.1", "ws.internal. 5 IN A 10.0.0.2"))
				}
				if c.has6 {
					w.dns.set("ws.internal. AAAA", records("ws.internal. 5 IN AAAA 2001:db8::1", "ws.internal. 5 IN AAAA 2001:db8::2"))
				}
				s := aSpec("ws.internal.")
				s.DNS.Family = c.family
				w.Apply(map[string]Spec{"chat": s}, time.Second)
				w.wantMembers("chat", c.want...)
			})
		})
	}
}

// A failed query for IPv4 doesn't make IPv6 addresses replace all servers.
func TestFamilyStaysWhenAQueryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.dns.set("ws.internal. A", records("ws.internal. 5 IN A 10.0.0.1"))
		w.dns.set("ws.internal. AAAA", records("ws.internal. 5 IN AAAA 2001:db8::1"))
		w.Apply(map[string]Spec{"chat": aSpec("ws.internal.")}, time.Second)
		w.dns.set("ws.internal. A", code(dns.RcodeServerFailure))
		sleep(time.Minute)
		w.wantMembers("chat", "10.0.0.1:3000")
		w.dns.set("ws.internal. A", records())
		sleep(time.Minute)
		w.wantMembers("chat", "[2001:db8::1]:3000")
	})
}

func TestSearchDomains(t *testing.T) {
	const one = " 5 IN SRV 0 0 3000 ws1.internal."
	for _, c := range []struct {
		name, conf string
		asked      []string // all but the last don't exist
	}{
		{"ws.", resolvConf, []string{"ws."}},
		{"ws", resolvConf, []string{"ws.prod.internal.", "ws.internal.", "ws."}},
		{"a.ws", resolvConf, []string{"a.ws.prod.internal.", "a.ws.internal.", "a.ws."}},
		{"_ws._tcp.chat", resolvConf, []string{"_ws._tcp.chat.", "_ws._tcp.chat.prod.internal.", "_ws._tcp.chat.internal."}},
		{"ws", "nameserver 10.0.0.2\nsearch .\n", []string{"ws."}},
		{"ws", "nameserver 10.0.0.2\n", []string{"ws."}},
		{"ws", "nameserver 10.0.0.2\ndomain internal\n", []string{"ws.internal.", "ws."}},
	} {
		t.Run(c.name+strings.ReplaceAll(c.conf, "\n", " "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				write(t, w.env.resolvConf, c.conf)
				last := c.asked[len(c.asked)-1]
				w.dns.set(last+" SRV", records(last+one))
				w.Apply(map[string]Spec{"chat": srvSpec(c.name)}, time.Second)
				var asked []string
				for _, q := range w.dns.take() {
					asked = append(asked, strings.TrimSuffix(q.name, " SRV"))
				}
				if !slices.Equal(asked, c.asked) {
					t.Errorf("asked %q, want %q", asked, c.asked)
				}
				w.wantMembers("chat", "ws1.internal:3000")
			})
		})
	}
}

// While the name that was good fails, no other zone's answer replaces it.
func TestSearchStopsAtTheGoodNameThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		good, other := records("ws.prod.internal. 5 IN SRV 0 0 3000 good."), records("ws.internal. 5 IN SRV 0 0 3000 other.")
		w.dns.set("ws.prod.internal. SRV", good)
		w.dns.set("ws.internal. SRV", other)
		w.Apply(map[string]Spec{"chat": srvSpec("ws")}, time.Second)
		w.wantMembers("chat", "good:3000")
		w.dns.set("ws.prod.internal. SRV", code(dns.RcodeServerFailure))
		sleep(time.Minute)
		w.wantMembers("chat", "good:3000")
		if s := w.States()[0]; s.LastError == "" {
			t.Error("no problem")
		}
		w.dns.set("ws.prod.internal. SRV", code(dns.RcodeNameError)) // firmly
		sleep(11 * time.Second)
		w.wantMembers("chat", "other:3000")
	})
}

func TestServers(t *testing.T) {
	one := records("ws.internal. 5 IN SRV 0 0 3000 ws1.internal.")
	only := func(good string) reply {
		return func(n, s string, q *dns.Msg) (*dns.Msg, error) {
			if s != good {
				return nil, errors.New("is down")
			}
			return one(n, s, q)
		}
	}
	t.Run("the next one, which is then asked first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.Close()
			w.dns.set("ws.internal. SRV", only("10.0.0.3:53"))
			w.Apply(map[string]Spec{"chat": srvSpec("ws.internal.")}, time.Second)
			sleep(6 * time.Second)
			var asked []string
			for _, q := range w.dns.take() {
				asked = append(asked, q.server)
			}
			if want := []string{"10.0.0.2:53", "10.0.0.3:53", "10.0.0.3:53"}; !slices.Equal(asked, want) {
				t.Errorf("asked %q, want %q", asked, want)
			}
			w.dns.set("ws.internal. SRV", only("10.0.0.2:53"))
			sleep(6 * time.Second)
			w.wantLog("")
		})
	})
	t.Run("that of the specification, without a resolv.conf", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.Close()
			w.dns.set("ws.internal. SRV", only("10.0.0.9:5353"))
			if err := os.Remove(w.env.resolvConf); err != nil {
				t.Fatal(err)
			}
			spec := srvSpec("ws.internal")
			spec.DNS.Server = hostport.MustParse("10.0.0.9:5353")
			w.Apply(map[string]Spec{"chat": spec}, time.Second)
			w.wantMembers("chat", "ws1.internal:3000")
		})
	})
	for name, conf := range map[string]string{"no server in resolv.conf": "search internal\n", "no resolv.conf": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				write(t, w.env.resolvConf, conf)
				if conf == "" {
					w.env.resolvConf = filepath.Join(t.TempDir(), "none")
				}
				w.Apply(map[string]Spec{"chat": srvSpec("ws")}, time.Second)
				if s := w.States()[0]; !strings.Contains(s.LastError, w.env.resolvConf) {
					t.Errorf("problem %q, want what is wrong with %s", s.LastError, w.env.resolvConf)
				}
			})
		})
	}
}

// All queries of a round end in time, and Close doesn't wait for them.
func TestSilentServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dns.delay = time.Hour
		w.Apply(map[string]Spec{"chat": srvSpec("ws")}, time.Minute)
		w.wantLog(`level=WARN msg="pool chat: DNS SRV ws: no answer within 20s; no backends from there until it is fixed"` + "\n")
		sleep(2 * time.Second)
		start := time.Now()
		w.Close()
		if time.Since(start) != 0 {
			t.Errorf("Close took %v", time.Since(start))
		}
		w.wantLog("")
	})
}

func TestServerThatDoesNotKnowEDNS(t *testing.T) {
	d := &fakeDNS{}
	d.set("ws.internal. SRV", func(n, s string, q *dns.Msg) (*dns.Msg, error) {
		if q.IsEdns0() != nil {
			return new(dns.Msg).SetRcodeFormatError(q), nil
		}
		return records("ws.internal. 5 IN SRV 0 0 3000 ws1.internal.")(n, s, q)
	})
	r := resolver{exchange: d.exchange}
	m, err := r.query(context.Background(), []string{"10.0.0.2:53"}, "ws.internal.", dns.TypeSRV)
	if err != nil || len(m.Answer) != 1 {
		t.Errorf("%v, %v", m, err)
	}
}
