package affinity

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// request is a request with cookies only: one Cookie field for each line that ends with
// CR LF, or none if it is nil.
type request []byte

func (r request) ClientIP() netip.Addr        { return netip.Addr{} }
func (r request) Path() []byte                { return nil }
func (r request) Query() []byte               { return nil }
func (r request) Claim(string) (string, bool) { return "", false }
func (r request) Header(name string, i int) ([]byte, bool) {
	if r == nil || name != "cookie" {
		return nil, false
	}
	for rest := []byte(r); ; i-- {
		field, next, more := bytes.Cut(rest, []byte("\r\n"))
		if i == 0 {
			return field, true
		}
		if rest = next; !more {
			return nil, false
		}
	}
}

func cookies(pairs ...string) *request {
	r := request(strings.Join(pairs, "; "))
	return &r
}

const secret = "0123456789abcdef"

var plain = Cookie{Name: "holdfast", MaxAge: time.Hour, Secret: secret}

// pair is the name and value that a client sends back.
func pair(t *Table, member int) string {
	pair, _, _ := strings.Cut(string(t.AppendSetCookie(nil, member, false)), ";")
	return pair
}

func TestRead(t *testing.T) {
	table := NewTable(plain, "chat", []string{"a", "b"})
	a, b := pair(table, 0), pair(table, 1)
	gone := pair(NewTable(plain, "chat", []string{"left"}), 0)
	otherPool := pair(NewTable(plain, "other", []string{"a"}), 0)
	otherSecret := pair(NewTable(Cookie{Name: "holdfast", Secret: secret + "x"}, "chat", []string{"a"}), 0)
	noSecret := pair(NewTable(Cookie{Name: "holdfast"}, "chat", []string{"a"}), 0)
	secretIsPool := pair(NewTable(Cookie{Name: "holdfast", Secret: "chatchatchatchat"}, "x", []string{"a"}), 0)
	value := strings.TrimPrefix(a, "holdfast=")

	for _, tt := range []struct {
		name    string
		r       *request
		member  int
		verdict Verdict
	}{
		{"no field", new(request), -1, None},
		{"other cookies", cookies("a=b", "Holdfast="+value, "xholdfast="+value), -1, None},
		{"empty, as pages delete cookies", cookies("holdfast="), -1, None},
		{"first member", cookies("a=b", a), 0, Member},
		{"second member", cookies(b, "a=b"), 1, Member},
		{"the first counts", cookies(b, a), 1, Member},
		{"a stale one first", cookies(gone, a), 0, Member},
		{"a broken one first", cookies("holdfast=x", a), 0, Member},
		{"a backend that left", cookies(gone), -1, Gone},
		{"another pool's, of a backend of the same name", cookies(otherPool), -1, Gone},
		{"gone and tampered", cookies(gone, otherSecret, "holdfast="), -1, Tampered},
		{"another secret", cookies(otherSecret), -1, Tampered},
		{"no secret", cookies(noSecret), -1, Tampered},
		{"the pool's name as the secret", cookies(secretIsPool), -1, Tampered},
		{"quoted", cookies(`holdfast="` + value + `"`), -1, Tampered},
		{"padded", cookies(a + "="), -1, Tampered},
		{"too short", cookies(a[:len(a)-1]), -1, Tampered},
		{"not base64url", cookies("holdfast=" + strings.Repeat("+", len(value))), -1, Tampered},
		{"ends of lines, which base64 passes over", cookies("holdfast=" + value[:31] + "\n"), -1, Tampered},
		{"huge", cookies("holdfast=" + strings.Repeat("A", 16<<10)), -1, Tampered},
		{"in a second field", cookies("a=b\r\nc=d; " + a), 0, Member},
		{"in a third one, after a stale one", cookies(gone + "\r\n\r\n" + b), 1, Member},
		{"after too many in several fields", cookies(gone, gone+"\r\n"+gone, gone+"\r\n"+a), -1, Gone},
		{"after too many", cookies(gone, gone, gone, gone, a), -1, Gone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			member, verdict := table.Read(tt.r)
			if member != tt.member || verdict != tt.verdict {
				t.Errorf("%d, %v; want %d, %v", member, verdict, tt.member, tt.verdict)
			}
			if n := testing.AllocsPerRun(10, func() { table.Read(tt.r) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// Any balancer with the same names reads the cookies of another, whatever the order of
// the names, and whichever were added or removed.
func TestEveryBalancerUnderstandsIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a", "b", "a:1", "10.0.0.1:80"}))
		names := rapid.SliceOfNDistinct(name, 1, 20, rapid.ID).Draw(t, "names")
		others := rapid.Permutation(append(slices.Clone(names), rapid.SliceOf(name).Draw(t, "more")...)).Draw(t, "others")
		others = others[:rapid.IntRange(0, len(others)).Draw(t, "left")]
		pool := rapid.String().Draw(t, "pool")
		c := plain
		c.Secret = rapid.SampledFrom([]string{"", secret, strings.Repeat("long", 30)}).Draw(t, "secret")
		here, there := NewTable(c, pool, names), NewTable(c, pool, others)
		for i, name := range names {
			got, verdict := there.Read(cookies("x=y", pair(here, i)))
			want, wantVerdict := slices.Index(others, name), Member
			if want < 0 {
				wantVerdict = Gone
			}
			if got != want || verdict != wantVerdict {
				t.Fatalf("%q: %d, %v; want %d, %v", name, got, verdict, want, wantVerdict)
			}
		}
		other := NewTable(c, pool+"x", names)
		if got, verdict := other.Read(cookies(pair(here, 0))); got != -1 || verdict == Member || verdict == None {
			t.Fatalf("another pool: %d, %v", got, verdict)
		}
	})
}

// A change of any bit in the value is detected.
func TestAnyChangeIsNoticed(t *testing.T) {
	table := NewTable(plain, "chat", []string{"a", "b"})
	gone := NewTable(plain, "chat", []string{"c"})
	for _, original := range []string{pair(table, 0), pair(table, 1), pair(gone, 0)} {
		for i := len("holdfast="); i < len(original); i++ {
			for c := range 256 {
				if byte(c) == original[i] {
					continue
				}
				changed := []byte(original)
				changed[i] = byte(c)
				if changed[len("holdfast=")] == ';' {
					continue // an empty value is no cookie
				}
				if member, v := table.Read(cookies(string(changed))); member != -1 || v != Tampered {
					t.Errorf("%q: %d, %v", changed, member, v)
				}
			}
		}
	}
}

// The value is as described in the package's comment, computed with crypto/hmac.
func TestValue(t *testing.T) {
	sum := func(key []byte, parts ...string) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
			h.Write([]byte(p))
		}
		return h.Sum(nil)
	}
	id := sum(sum([]byte(secret), "holdfast affinity cookie", "id"), "chat", "a")[:8]
	mac := hmac.New(sha256.New, sum([]byte(secret), "holdfast affinity cookie", "mac"))
	mac.Write(id)
	want := "holdfast=" + base64.RawURLEncoding.EncodeToString(append(id, mac.Sum(nil)[:16]...))
	if got := pair(NewTable(plain, "chat", []string{"a"}), 0); got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	// Clients keep cookies across updates of the balancer, so this must not change.
	for secret, want := range map[string]string{
		secret: "LlCq6Bu0CLAzdUF8SP7zhzPJD_M_7ZNp",
		"":     "iYX9iVF_V76rBHHAJPmRzyu_UdQ-cfCi",
	} {
		c := Cookie{Name: "c", Secret: secret}
		if got := pair(NewTable(c, "chat", []string{"a"}), 0); got != "c="+want {
			t.Errorf("secret %q: %s; want c=%s", secret, got, want)
		}
	}
}

func TestAppendSetCookie(t *testing.T) {
	for _, tt := range []struct {
		name   string
		c      Cookie
		tls    bool
		suffix string
	}{
		{"defaults", Cookie{Name: "a"}, false, "; Path=/; HttpOnly; SameSite=Lax"},
		{"defaults over TLS", Cookie{Name: "a"}, true, "; Path=/; HttpOnly; SameSite=Lax; Secure"},
		{"always", Cookie{Name: "a", Secure: Always}, false, "; Path=/; HttpOnly; SameSite=Lax; Secure"},
		{"never", Cookie{Name: "a", Secure: Never}, true, "; Path=/; HttpOnly; SameSite=Lax"},
		{"all", Cookie{Name: "a", Path: "/ws", Domain: "example.com", MaxAge: 90 * time.Minute, SameSite: "strict", Secure: Always}, true,
			"; Path=/ws; Domain=example.com; Max-Age=5400; HttpOnly; SameSite=Strict; Secure"},
		{"to other sites over TLS", Cookie{Name: "a", SameSite: "None"}, true, "; Path=/; HttpOnly; SameSite=None; Secure"},
		{"to other sites without TLS", Cookie{Name: "a", SameSite: "None"}, false, "; Path=/; HttpOnly"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := NewTable(tt.c, "chat", []string{"x", "y"})
			got := string(table.AppendSetCookie([]byte("Set-Cookie: "), 1, tt.tls))
			if want := "Set-Cookie: " + pair(table, 1) + tt.suffix; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			buf := make([]byte, 0, 256)
			if n := testing.AllocsPerRun(10, func() { table.AppendSetCookie(buf, 1, tt.tls) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []Cookie{
		{Name: "holdfast"},
		{Name: "__Host-id", Path: "/", SameSite: "none", Secure: Always, MaxAge: 400 * 24 * time.Hour},
		{Name: "__Secure-id", Path: "/ws/a=b,%20?x", Domain: "xn--caf-dma.a_b.example.com"},
		{Name: "x!#$%&'*+-.^_`|~", Domain: "localhost", Secret: secret, MaxAge: time.Second, Secure: Never},
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	with := func(change func(*Cookie)) Cookie {
		c := Cookie{Name: "a"}
		change(&c)
		return c
	}
	for _, tt := range []struct {
		c    Cookie
		want string
	}{
		{Cookie{}, `name: "" is not a cookie name: only letters, digits and !#$%&'*+-.^_` + "`" + `|~ are allowed`},
		{Cookie{Name: "a b"}, `name: "a b" is not a cookie name`},
		{Cookie{Name: "a=b;"}, `name: "a=b;" is not a cookie name`},
		{Cookie{Name: "a\r\nX"}, `name: "a\r\nX" is not a cookie name`},
		{with(func(c *Cookie) { c.Path = "ws" }), `path: "ws" must begin with "/"`},
		{with(func(c *Cookie) { c.Path = "/; Domain=x" }), `path: "/; Domain=x" cannot have ';' in it; write it percent-encoded, as browsers do before they compare`},
		{with(func(c *Cookie) { c.Path = "/\n" }), `path: "/\n" cannot have '\n' in it`},
		{with(func(c *Cookie) { c.Path = "/é" }), `path: "/é" cannot have 'é' in it`},
		{with(func(c *Cookie) { c.Path = "/\xff" }), `path: "/\xff" cannot have '�' in it`},
		{with(func(c *Cookie) { c.Domain = ".example.com" }), `domain: ".example.com": leave out the leading dot: a domain includes all names below it anyway`},
		{with(func(c *Cookie) { c.Domain = "a..b" }), `domain: "a..b" is not a host name`},
		{with(func(c *Cookie) { c.Domain = "example.com." }), `domain: "example.com." is not a host name: letters, digits, - and _ between dots, other letters in punycode (xn--...)`},
		{with(func(c *Cookie) { c.Domain = "-a.b" }), `domain: "-a.b" is not a host name`},
		{with(func(c *Cookie) { c.Domain = "a.b; Secure" }), `domain: "a.b; Secure" is not a host name`},
		{with(func(c *Cookie) { c.Domain = "é.b" }), `domain: "é.b" is not a host name`},
		{with(func(c *Cookie) { c.Domain = strings.Repeat("a.", 127) + "b" }), `domain: longer than 253 bytes`},
		{with(func(c *Cookie) { c.Domain = "192.0.2.1" }), `domain: "192.0.2.1" is an address, not a domain: leave domain out`},
		{with(func(c *Cookie) { c.Domain = "[::1]" }), `domain: "[::1]" is an address`},
		{with(func(c *Cookie) { c.SameSite = "Laxer" }), `same_site: "Laxer": want Lax, Strict or None`},
		{with(func(c *Cookie) { c.SameSite, c.Secure = "none", Never }), `same_site: browsers refuse None with secure: never; write secure: auto or always, or same_site: Lax`},
		{Cookie{Name: "__secure-a", Secure: Never}, `name: browsers refuse "__secure-a" with secure: never`},
		{Cookie{Name: "__Host-a", Domain: "a.b"}, `name: browsers refuse "__Host-a" with a domain`},
		{Cookie{Name: "__Host-a", Path: "/ws"}, `name: browsers refuse "__Host-a" with a path other than /`},
		{with(func(c *Cookie) { c.MaxAge = -time.Second }), `max_age: -1s is negative: write 0 for a cookie that lasts until the browser is closed`},
		{with(func(c *Cookie) { c.MaxAge = 1500 * time.Millisecond }), `max_age: 1.5s is not a whole number of seconds`},
		{with(func(c *Cookie) { c.MaxAge = 9601 * time.Hour }), `max_age: 9601h0m0s is more than 400 days (9600h)`},
		{with(func(c *Cookie) { c.Secret = "hunter2" }), `secret: 7 bytes are too few, at least 16 are needed; get one with: openssl rand -base64 24`},
		{with(func(c *Cookie) { c.Secure = 3 }), `secure: want auto, always or never`},
	} {
		err := tt.c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v:\ngot  %v\nwant %s", tt.c, err, tt.want)
			continue
		}
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != "affinity: "+err.Error() {
					t.Errorf("NewTable with %v panicked with %s", err, got)
				}
			}()
			NewTable(tt.c, "chat", nil)
		}()
	}
}

// FuzzSetCookie: a Cookie that passes Validate becomes one field on one line, in which
// net/http finds exactly the configured attributes.
func FuzzSetCookie(f *testing.F) {
	f.Add("holdfast", "/", "", "Lax", int64(3600), uint8(Auto), true)
	f.Add("__Host-a", "", "", "None", int64(0), uint8(Always), false)
	f.Add("a;b", "/; Secure", "a.b; HttpOnly", "x", int64(-1), uint8(Never), false)
	f.Add("a", "/ws,x=\"y\"", "sub.example.com", "strict", int64(1), uint8(Never), true)
	f.Fuzz(func(t *testing.T, name, path, domain, sameSite string, seconds int64, secure uint8, tls bool) {
		c := Cookie{Name: name, Path: path, Domain: domain, SameSite: sameSite, MaxAge: time.Duration(seconds%1e6) * time.Second, Secure: Secure(secure)}
		if c.Validate() != nil {
			return
		}
		line := string(NewTable(c, "chat", []string{"a"}).AppendSetCookie(nil, 0, tls))
		got, err := http.ParseSetCookie(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		wantPath := path
		if path == "" {
			wantPath = "/"
		}
		wantSecure := c.Secure == Always || c.Secure == Auto && tls
		site := map[string]http.SameSite{"": http.SameSiteLaxMode, "lax": http.SameSiteLaxMode, "strict": http.SameSiteStrictMode}[strings.ToLower(sameSite)]
		if strings.EqualFold(sameSite, "none") && wantSecure {
			site = http.SameSiteNoneMode
		}
		if strings.ContainsAny(path, "\"\\") { // which net/http reads nowhere, and browsers do
			if !slices.Equal(got.Unparsed, []string{"Path=" + path}) {
				t.Errorf("%q: net/http cannot read %q", line, got.Unparsed)
			}
			got.Path, got.Unparsed = path, nil
		}
		switch {
		case got.Name != name, got.Path != wantPath, got.Domain != domain, got.MaxAge != int(c.MaxAge/time.Second),
			got.Secure != wantSecure, !got.HttpOnly, got.SameSite != site, got.RawExpires != "", got.Partitioned, len(got.Unparsed) > 0:
			t.Errorf("%q: net/http reads %+v", line, got)
		}
	})
}

// FuzzRead: only a value that was set leads to a member.
func FuzzRead(f *testing.F) {
	table := NewTable(plain, "chat", []string{"a", "b"})
	a, b := pair(table, 0), pair(table, 1)
	f.Add([]byte("x=y; " + a))
	f.Add([]byte(b + "; " + a))
	f.Add([]byte("holdfast=; holdfast=" + strings.Repeat("A", 32)))
	f.Add([]byte(pair(NewTable(plain, "chat", []string{"c"}), 0)))
	f.Fuzz(func(t *testing.T, header []byte) {
		r := request(header)
		member, verdict := table.Read(&r)
		if (verdict == Member) != (member >= 0) {
			t.Fatalf("%d, %v", member, verdict)
		}
		if verdict == Member && !strings.Contains(string(header), strings.TrimPrefix([]string{a, b}[member], "holdfast=")) {
			t.Errorf("%d without its cookie", member)
		}
		if verdict != None && !strings.Contains(string(header), "holdfast") {
			t.Errorf("%v without a cookie", verdict)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprintf("10.0.0.%d:8080", i)
	}
	table := NewTable(plain, "chat", names)
	gone := pair(NewTable(plain, "chat", []string{"left"}), 0)
	for _, bench := range []struct {
		name string
		r    *request
	}{
		{"none", cookies("theme=dark", "_ga=GA1.2.3")},
		{"member", cookies("theme=dark", pair(table, 50))},
		{"gone", cookies("theme=dark", gone)},
		{"16KiB", cookies(slices.Repeat([]string{gone}, 380)...)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Read(bench.r)
			}
		})
	}
}

func BenchmarkNewTable(b *testing.B) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("10.0.0.%d:8080", i)
	}
	for b.Loop() {
		NewTable(plain, "chat", names)
	}
}

// A cookie that is a name: what it reads is what it has set, whatever is in the name.
func TestNamed(t *testing.T) {
	names := []string{"ws1", "10.0.0.1:3000", `odd;"name",\%`, "größe"}
	table := NewTable(Cookie{Name: "SRV", Named: true}, "chat", names)
	read := func(cookie string) (int, Verdict) {
		return table.Read(request(cookie))
	}
	for i := range names {
		set := string(table.AppendSetCookie(nil, i, false))
		value, _, _ := strings.Cut(set, ";")
		if member, v := read(value); member != i || v != Member {
			t.Errorf("%s: %d, %v; want %d", set, member, v, i)
		}
		if c, err := http.ParseSetCookie(set); err != nil || c.Valid() != nil || c.Quoted {
			t.Errorf("%s: %v", set, err)
		}
	}
	if set := string(table.AppendSetCookie(nil, 0, false)); !strings.HasPrefix(set, "SRV=ws1;") {
		t.Errorf("it sets %s", set)
	}
	for cookie, want := range map[string]Verdict{"SRV=ws2": Gone, "SRV=": None, "x=ws1": None} {
		if member, v := read(cookie); member != -1 || v != want {
			t.Errorf("%s: %d, %v", cookie, member, v)
		}
	}
}
