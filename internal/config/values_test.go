package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
)

// FuzzValues checks the grammars of single values: an accepted text has a normal
// form that is accepted and stays unchanged, and a refused one gives a message
// of one line.
func FuzzValues(f *testing.F) {
	for _, s := range []string{
		"", ":8080", "10.0.0.1:3000", "[::1]:80", "[fe80::1%eth0]:80", "ws.internal:03000", "http://a:1/x", "a:", "[a]:1", "0.0.0.0:0",
		"*.example.com", "WS.Example.com.", "[2001:db8::0:1]", "xn--w-uga.example", "*", "a..b",
		"/", "/ws/", "/a%20b", "/a/../b", "//", "/%2e",
		"10.0.0.0/8", "10.1.2.3/8", "::ffff:10.0.0.1", "2001:db8::/32",
		"client_ip", "header:X-User", "query:user", "cookie:sid", "subprotocol:session.", "jwt:sub", "client_ip:", "query:a b",
		"50%", "0", "101%", "200-299", "2xx", "503", "/health?deep=1", "/#", "a.example:443", "_ws._tcp.Chat.internal.", "10.0.0.2:53",
		"200/s", "0.5/m", "1/h", "1e3/s", "200", "/s", "1000001/s", "going away", "\xff", "going\naway",
		"holdfast", "0123456789abcdef", "../backends.json", "/etc/", "Sec-WebSocket-Key", "Host",
	} {
		f.Add(s)
	}
	types := map[string]reflect.Type{
		"duration": typeDuration, "seconds": typeDuration, "rate": reflect.TypeFor[float64](), "per second": reflect.TypeFor[float64](), "number": reflect.TypeFor[float64](),
		"integer": reflect.TypeFor[int](), "weight": reflect.TypeFor[int](), "close code": reflect.TypeFor[int](),
		"percentage": reflect.TypeFor[int](), "size": reflect.TypeFor[int](),
	}
	// read reads a text and returns its normal form.
	read := func(name, text string) (string, error) {
		k := Key{grammar: grammars[name]}
		k.bounds = k.grammar.bounds
		if name == "size" || name == "integer" || name == "number" {
			k.bounds = parseBounds(k.grammar, "1..1000000")
		}
		t, ok := types[name]
		if !ok {
			t = reflect.TypeFor[string]()
		}
		v := reflect.New(t).Elem()
		if err := k.Parse(text, v); err != nil {
			return "", err
		}
		if err := k.grammar.check(&k, v, text); err != nil {
			return "", err
		}
		if k.grammar.format == nil {
			return formatInteger(v), nil
		}
		return k.grammar.format(v), nil
	}
	// A value that is accepted here must be accepted by its user.
	cookie := affinity.Cookie{Name: "x"}
	users := map[string]func(string) error{
		"cookie name":   func(s string) error { c := cookie; c.Name = s; return c.Validate() },
		"cookie path":   func(s string) error { c := cookie; c.Path = s; return c.Validate() },
		"cookie domain": func(s string) error { c := cookie; c.Domain = s; return c.Validate() },
		"secret":        func(s string) error { c := cookie; c.Secret = s; return c.Validate() },
	}
	message := func(t *testing.T, err error) {
		if s := err.Error(); s == "" || len(s) > 2000 || strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("not a message for one line: %q", s)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name := range grammars {
			got, err := read(name, s)
			if err != nil {
				message(t, err)
				continue
			}
			if again, err := read(name, got); err != nil || again != got {
				t.Errorf("%s %q became %q, and that %q, %v", name, s, got, again, err)
			}
			if user := users[name]; user != nil {
				if err := user(got); err != nil {
					t.Errorf("%s %q is accepted here and refused where it is used: %v", name, got, err)
				}
			}
		}
		for name, check := range map[string]func(string) error{
			"header": checkWebSocketHeaderName, "header value": checkHeaderValue,
			"trust":  func(s string) error { _, err := parseTrust(s); return err },
			"status": func(s string) error { _, err := ParseStatus(s); return err },
			"share":  func(s string) error { _, err := ParseShare(s); return err },
			"admin":  func(s string) error { _, err := ParseAdmin("--admin", s); return err },
		} {
			if err := check(s); err != nil && name != "admin" {
				message(t, err)
			}
		}
		if p, err := parseTrust(s); err == nil {
			if again, err := parseTrust(p.String()); err != nil || again != p {
				t.Errorf("network %q became %v, and that %v, %v", s, p, again, err)
			}
		}
		if r, err := ParseStatus(s); err == nil {
			if again, err := ParseStatus(r.String()); err != nil || again != r {
				t.Errorf("status %q became %v, and that %v, %v", s, r, again, err)
			}
		}
		if h, err := ParseShare(s); err == nil {
			if again, err := ParseShare(h.String()); err != nil || again != h {
				t.Errorf("share %q became %v, and that %v, %v", s, h, again, err)
			}
		}
	})
}

// TestTagsAreRight describes every section, so that a mistake in a tag shows.
func TestTagsAreRight(t *testing.T) {
	var visit func(section reflect.Type)
	seen := map[reflect.Type]bool{}
	visit = func(section reflect.Type) {
		for section.Kind() == reflect.Pointer || section.Kind() == reflect.Slice {
			section = section.Elem()
		}
		if section.Kind() != reflect.Struct || seen[section] || section == reflect.TypeFor[time.Time]() {
			return
		}
		seen[section] = true
		keys := KeysOf(section)
		for i := range keys {
			k := &keys[i]
			if f := k.Field(reflect.New(section).Elem()); f.IsValid() {
				visit(f.Type())
				if f.Kind() == reflect.String && k.grammar == nil && k.Words == nil && k.Want == "" {
					t.Errorf("%v: key %s doesn't say what it wants", section, k.Name)
				}
			}
		}
	}
	visit(reflect.TypeFor[Config]())
	if len(seen) < 20 {
		t.Errorf("%d sections were seen", len(seen))
	}
}
