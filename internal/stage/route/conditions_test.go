package route

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// asked is a Request.
type asked struct {
	listener, method, query string
	header                  http.Header
	cert                    *x509.Certificate
	client                  string
}

func (a *asked) ListenerName() string           { return a.listener }
func (a *asked) HasMethod(m string) bool        { return m == a.method }
func (a *asked) Query() []byte                  { return []byte(a.query) }
func (a *asked) Certificate() *x509.Certificate { return a.cert }
func (a *asked) ClientIP() netip.Addr {
	ip, _ := netip.ParseAddr(a.client)
	return ip
}
func (a *asked) Header(name string, i int) ([]byte, bool) {
	values := a.header[http.CanonicalHeaderKey(name)]
	if i >= len(values) {
		return nil, false
	}
	return []byte(values[i]), true
}

// named makes patterns of "name=value".
func named(t interface{ Fatal(...any) }, all ...string) (list []Named) {
	for _, s := range all {
		name, value, _ := strings.Cut(s, "=")
		p, err := pattern.ParseValue(value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Named{name, p})
	}
	return list
}

func TestConditions(t *testing.T) {
	verified := true
	tab := table(t,
		rule{Label: "inner", When: &Conditions{Listener: "inner"}},
		rule{Label: "writes", When: &Conditions{Methods: []string{"POST", "PUT"}}},
		rule{Label: "gold", When: &Conditions{Headers: named(t, "x-tier=gold")}},
		rule{Label: "beta", When: &Conditions{Headers: named(t, "x-beta=*")}},
		rule{Label: "phones", When: &Conditions{Headers: named(t, "user-agent=*Mobile*", "accept=*")}},
		rule{Label: "room", Path: "/ws", When: &Conditions{Query: named(t, "room=a*z")}},
		rule{Label: "both", When: &Conditions{Query: named(t, "a=1", "b=*")}},
		rule{Label: "cert", When: &Conditions{ClientCert: &clientcert.Condition{Verified: &verified}}},
		rule{Label: "rest"},
	)
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	bad := ErrAmbiguous.Error()
	for _, c := range []struct {
		request asked
		want    string
	}{
		{asked{listener: "inner", method: "POST"}, "inner"},
		{asked{listener: "Inner"}, "rest"},
		{asked{method: "PUT"}, "writes"},
		{asked{method: "post"}, "rest"},
		{asked{header: header("X-Tier", "gold")}, "gold"},
		{asked{header: header("X-Tier", "Gold")}, "rest"},
		{asked{header: header("X-Tier", "gold, silver")}, "rest"},
		{asked{header: header("X-Tier", "gold", "X-Tier", "gold")}, "gold"},
		{asked{header: header("X-Tier", "gold", "X-Tier", "silver")}, bad},
		{asked{header: header("X-Tier", "silver", "X-Tier", "gold")}, bad},
		{asked{header: header("X-Tier", "silver", "X-Tier", "")}, "rest"},
		{asked{header: header("X-Beta", "")}, "beta"},
		{asked{header: header("X-Beta", "1", "X-Beta", "2")}, "beta"},
		{asked{header: header("X-Tier", "gold", "X-Tier", "silver"), method: "POST"}, "writes"}, // decided before
		{asked{header: header("User-Agent", "a Mobile b", "Accept", "x")}, "phones"},
		{asked{header: header("User-Agent", "a Mobile b")}, "rest"},
		{asked{header: header("User-Agent", "Mobile", "User-Agent", "x")}, "rest"}, // it has no Accept, in any reading
		{asked{query: "room=abz"}, "room"},
		{asked{query: "room=a%2Bz"}, "room"},
		{asked{query: "r%6Fom=a+z"}, "room"},
		{asked{query: "room=A&x=room"}, "rest"},
		{asked{query: "room=az&room=b"}, bad},
		{asked{query: "room=az&x&room=a" + strings.Repeat("%62", 200) + "z"}, "room"},
		{asked{query: "a=1&b"}, "both"},
		{asked{query: "a=1"}, "rest"},
		{asked{query: "a=1&a=2"}, "rest"},
		{asked{query: "a=1&a=2&b=x"}, bad},
		{asked{cert: &x509.Certificate{Subject: pkix.Name{CommonName: "x"}}}, "cert"},
		{asked{}, "rest"},
	} {
		if got := outcome(tab.Match("h", "/ws", true, &c.request)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.request, got, c.want)
		}
	}
	// A path that can be read in two ways, where only one reading gets to the condition.
	for path, want := range map[string]string{"/ws//x": bad, "/x": "rest", "//ws": ErrBadPath.Error()} {
		if want == ErrBadPath.Error() {
			if got := outcome(tab.Match("h", path, true, &asked{query: "room=az"})); got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		} else if got := outcome(tab.Match("h", path, true, &asked{query: "room=az&room=b"})); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestWhoeverReadsOneValue: what Match lets pass leads to the same rule whichever of the
// values of a field or parameter a server takes, or which of their readings.
func TestWhoeverReadsOneValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom([]string{"a", "b", "ab", ""})
		patterns := rapid.SampledFrom([]string{"a", "b", "*", "a*", "*b"})
		var rules []Rule
		for range rapid.IntRange(1, 4).Draw(t, "rules") {
			when := &Conditions{}
			if rapid.Bool().Draw(t, "header") {
				when.Headers = named(t, "x="+patterns.Draw(t, "x"))
			}
			if rapid.Bool().Draw(t, "query") {
				when.Query = named(t, "q="+patterns.Draw(t, "q"))
			}
			rules = append(rules, Rule{When: when})
		}
		tab := New(rules)
		xs, qs := rapid.SliceOfN(value, 1, 3).Draw(t, "xs"), rapid.SliceOfN(value, 1, 3).Draw(t, "qs")
		all := asked{header: http.Header{"X": xs}, query: "q=" + strings.Join(qs, "&q=")}
		found, err := tab.Match("h", "/", true, &all)
		if err == ErrAmbiguous {
			return
		}
		for _, x := range xs {
			for _, q := range qs {
				one := asked{header: http.Header{"X": {x}}, query: "q=" + q}
				if other, otherErr := tab.Match("h", "/", true, &one); other != found || otherErr != err {
					t.Fatalf("the values %q and %q lead to %v, %v; %q and %q to %v, %v", xs, qs, found, err, x, q, other, otherErr)
				}
			}
		}
	})
}

func TestConditionsDoNotAllocate(t *testing.T) {
	tab := table(t,
		rule{Label: "1", When: &Conditions{Listener: "x"}},
		rule{Label: "2", When: &Conditions{Methods: []string{"POST"}}},
		rule{Label: "3", When: &Conditions{Headers: named(t, "x-tier=go*ld")}},
		rule{Label: "4", When: &Conditions{Query: named(t, "room=a z")}},
	)
	request := &fixed{query: []byte("x=1&room=a%20z"), tier: []byte("silver")}
	host, path := []byte("h"), []byte("/")
	if n := testing.AllocsPerRun(100, func() {
		if r, err := tab.MatchBytes(host, path, true, request); err != nil || r.Label != "4" {
			t.Error(r, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a Match", n)
	}
}

// fixed is a Request that doesn't allocate.
type fixed struct{ query, tier []byte }

func (*fixed) ListenerName() string           { return "y" }
func (*fixed) HasMethod(m string) bool        { return m == "GET" }
func (f *fixed) Query() []byte                { return f.query }
func (*fixed) Certificate() *x509.Certificate { return nil }
func (*fixed) ClientIP() netip.Addr           { return netip.AddrFrom4([4]byte{10, 1, 2, 3}) }
func (f *fixed) Header(_ string, i int) ([]byte, bool) {
	return f.tier, i == 0
}
