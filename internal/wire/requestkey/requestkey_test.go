package requestkey

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

// request is a Request made of "name: value" lines.
type request struct {
	ip          netip.Addr
	path, query []byte
	headers     [][2]string
	claims      map[string]string
	values      [][]byte
}

func (r *request) ClientIP() netip.Addr             { return r.ip }
func (r *request) Path() []byte                     { return r.path }
func (r *request) Query() []byte                    { return r.query }
func (r *request) Claim(name string) (string, bool) { value, ok := r.claims[name]; return value, ok }
func (r *request) Header(name string, i int) ([]byte, bool) {
	for j, h := range r.headers {
		if h[0] == name {
			if i == 0 {
				return r.values[j], true
			}
			i--
		}
	}
	return nil, false
}

func newRequest(ip, target string, lines ...string) *request {
	r := &request{}
	if ip != "" {
		r.ip = netip.MustParseAddr(ip)
	}
	path, query, _ := strings.Cut(target, "?")
	r.path, r.query = []byte(path), []byte(query)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.headers = append(r.headers, [2]string{name, value})
		r.values = append(r.values, []byte(value))
	}
	return r
}

func parts(t testing.TB, specs ...string) (all []Part) {
	for _, s := range specs {
		p, err := Parse(s)
		if err != nil {
			if p, err = ParseToken(s); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, p)
	}
	return all
}

// Requests that mean the same have the same key, and others a different one.
func TestHash(t *testing.T) {
	tests := []struct {
		name, key string
		same      []*request
		other     []*request
	}{
		{
			"IPv4", "client_ip",
			[]*request{newRequest("192.0.2.1", "/a"), newRequest("::ffff:192.0.2.1", "/b")},
			[]*request{newRequest("192.0.2.2", "/a"), newRequest("::192.0.2.1", "/a")},
		},
		{
			"IPv6 by its first 64 bits", "client_ip",
			[]*request{newRequest("2001:db8:1:2::1", "/"), newRequest("2001:db8:1:2:ffff::1%eth0", "/")},
			[]*request{newRequest("2001:db8:1:3::1", "/"), newRequest("192.0.2.1", "/")},
		},
		{
			"path", "path",
			[]*request{newRequest("", "/caf%C3%A9/a+b"), newRequest("", "/caf%c3%a9/a%2Bb?x"), newRequest("", "/%63afé/a+b")},
			[]*request{newRequest("", "/café/a b"), newRequest("", "/Café/a+b"), newRequest("", "/café/a+b/"), newRequest("", "/")},
		},
		{
			"segment of the path", "path:2",
			[]*request{newRequest("", "/rooms/a%2Fb"), newRequest("", "/x/a%2fb/ws?y"), newRequest("", "//%61%2Fb/")},
			[]*request{newRequest("", "/x/%2Fb"), newRequest("", "/rooms/a/b"), newRequest("", "/rooms/x/a%2Fb"), newRequest("", "/rooms/A%2Fb")},
		},
		{
			"path and query as received", "uri",
			[]*request{newRequest("", "/a%62?x=%41&y"), {path: []byte("/a%62"), query: []byte("?x=%41&y")}},
			[]*request{newRequest("", "/ab?x=%41&y"), newRequest("", "/a%62?x=A&y"), newRequest("", "/a%62"), newRequest("", "/a%62x=%41&y")},
		},
		{
			"header", "header:X-Room",
			[]*request{newRequest("", "/", "x-room: a", "x-room: b"), newRequest("", "/x", "cookie: b", "x-room: a")},
			[]*request{newRequest("", "/", "x-room: A"), newRequest("", "/", "x-room: %61")},
		},
		{
			"query", "query:room",
			[]*request{newRequest("", "/?room=a+b"), newRequest("", "/?x=room&room=%61%20b&room=c"), newRequest("", "/?&&%72oom=a%20b"), newRequest("", "/??room=a b")},
			[]*request{newRequest("", "/?room=ab"), newRequest("", "/?room=a%2Bb"), newRequest("", "/?room=c&room=a+b"), newRequest("", "/?room=a+b;x"), newRequest("", "/?room=a+b=")},
		},
		{
			"malformed escapes stand for themselves", "query:a",
			[]*request{newRequest("", "/?a=%zz%"), newRequest("", "/?a=%25zz%25")},
			[]*request{newRequest("", "/?a=%zZ%"), newRequest("", "/?a=%zz%2"), newRequest("", "/?a=zz")},
		},
		{
			"a long value with escapes", "query:a",
			[]*request{newRequest("", "/?a="+strings.Repeat("%41", 500)), newRequest("", "/?a="+strings.Repeat("A", 500)), newRequest("", "/?a="+strings.Repeat("AA%41A%41", 100))},
			[]*request{newRequest("", "/?a="+strings.Repeat("%41", 499))},
		},
		{
			"cookie", "cookie:sid",
			[]*request{newRequest("", "/", "cookie: sid=a"), newRequest("", "/", "cookie: SID=x;x; =;\tsid = a ;sid=b"),
				newRequest("", "/", "cookie: x=y", "cookie: z; sid=a", "cookie: sid=b")},
			[]*request{newRequest("", "/", `cookie: sid="a"`), newRequest("", "/", "cookie: sid=%61")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := parts(t, tt.key)
			want, ok := Hash(key, tt.same[0])
			if !ok {
				t.Fatal("not found")
			}
			for i, r := range tt.same {
				if got, ok := Hash(key, r); !ok || got != want {
					t.Errorf("same %d: %x, %t; want %x", i, got, ok, want)
				}
			}
			for i, r := range tt.other {
				if got, ok := Hash(key, r); !ok || got == want {
					t.Errorf("other %d: %x, %t", i, got, ok)
				}
			}
		})
	}
}

// In a request with only a path, no other part is found.
func TestMissingParts(t *testing.T) {
	r := newRequest("", "/?rooms=a&=b&room%=c", "cookie: sid; SID=x; a=sid=b", "sec-websocket-protocol: chat, v1.")
	for _, s := range []string{"client_ip", "header:x-room", "query:room", "cookie:sid", "subprotocol:v1.", "subprotocol:Ch"} {
		p := parts(t, s)
		if got, ok := Hash(p, r); ok {
			t.Errorf("Hash: %s is there: %x", s, got)
		}
		if got, ok := First(p, r); ok {
			t.Errorf("First: %s is there: %x", s, got)
		}
	}
	if _, ok := Hash([]Part{{}}, r); ok {
		t.Error("the zero Part is there")
	}
	if _, ok := Hash(nil, r); ok {
		t.Error("no part is there")
	}
	if _, ok := First(parts(t, "header:x", "query:a", "cookie:c", "subprotocol"), newRequest("", "/?a", "x: ", "cookie: c=", "sec-websocket-protocol: , ")); ok {
		t.Error("First takes what is empty")
	}
	empty := newRequest("", "/?a&b=&c=d", "x: ", "cookie: c=")
	for _, s := range []string{"query:a", "query:b", "header:x", "cookie:c"} {
		if _, ok := Hash(parts(t, s), empty); ok {
			t.Errorf("Hash takes an empty %s", s)
		}
	}
	if _, ok := Hash(parts(t, "query:b", "query:a"), empty); ok {
		t.Error("Hash takes two that are empty")
	}
	if _, ok := Hash(parts(t, "query:b", "query:c"), empty); !ok {
		t.Error("Hash doesn't take what is there beside what is empty")
	}
}

// A token is the same wherever it is.
func TestFirst(t *testing.T) {
	from := parts(t, "query:session", "header:X-Session", "cookie:sid", "subprotocol:session.", "subprotocol")
	want, _ := First(from, newRequest("", "/?session=t+1"))
	for i, r := range []*request{
		newRequest("192.0.2.1", "/?session=t%201", "x-session: other"),
		newRequest("", "/?session=", "x-session: t 1", "cookie: sid=other"),
		newRequest("", "/", "x-session: ", "cookie: a=b; sid=t 1"),
		newRequest("", "/", "cookie: sid=", "sec-websocket-protocol: chat , session.,session.t 1, session.other"),
		newRequest("", "/", "sec-websocket-protocol: t 1"),
	} {
		if got, ok := First(from, r); !ok || got != want {
			t.Errorf("%d: %x, %t; want %x", i, got, ok, want)
		}
	}
	list := parts(t, "subprotocol")
	want, _ = First(list, newRequest("", "/", "sec-websocket-protocol: chat, t1"))
	if got, ok := First(list, newRequest("", "/", "sec-websocket-protocol: ,chat,,\tt1 ,")); !ok || got != want {
		t.Errorf("a list with other spaces: %x, %t; want %x", got, ok, want)
	}
	if got, ok := First(list, newRequest("", "/", "sec-websocket-protocol: ,chat", "sec-websocket-protocol: ", "sec-websocket-protocol: t1")); !ok || got != want {
		t.Errorf("a list in several fields: %x, %t; want %x", got, ok, want)
	}
	token := parts(t, "subprotocol:t")
	want, _ = First(token, newRequest("", "/", "sec-websocket-protocol: chat, tx"))
	if got, ok := First(token, newRequest("", "/", "sec-websocket-protocol: chat", "sec-websocket-protocol: tx, ty")); !ok || got != want {
		t.Errorf("a token in a second field: %x, %t; want %x", got, ok, want)
	}
	want, _ = First(list, newRequest("", "/", "sec-websocket-protocol: chat, t1"))
	for i, protocols := range []string{"chat", "t1", "t1, chat", "chatt1", "chat, T1", "chat, t1, x"} {
		if got, _ := First(list, newRequest("", "/", "sec-websocket-protocol: "+protocols)); got == want {
			t.Errorf("list %d: the same as another", i)
		}
	}
}

// Other versions and machines hash the same bytes: if that changes, two balancers of
// which one was updated send the same client to different backends.
func TestHashIsForEver(t *testing.T) {
	r := newRequest("192.0.2.1", "/ws/caf%c3%a9?room=a+b", "x-room: 7", "cookie: sid=abc", "sec-websocket-protocol: chat, v1.abc")
	for _, tt := range []struct {
		keys []string
		want string
	}{
		{[]string{"client_ip"}, "\xc0\x00\x02\x01" + "\x04\x00\x00\x00\x00\x00\x00\x00\x01"},
		{
			[]string{"path", "header:X-Room", "query:absent", "query:room", "cookie:sid"},
			"/ws/café" + "\x09\x00\x00\x00\x00\x00\x00\x00\x01" + "7" + "\x01\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00" +
				"a b" + "\x03\x00\x00\x00\x00\x00\x00\x00\x01" + "abc" + "\x03\x00\x00\x00\x00\x00\x00\x00\x01",
		},
		{
			[]string{"subprotocol", "subprotocol:v1."},
			"chat,v1.abc" + "\x0b\x00\x00\x00\x00\x00\x00\x00\x01" + "abc" + "\x03\x00\x00\x00\x00\x00\x00\x00\x01",
		},
	} {
		if got, ok := Hash(parts(t, tt.keys...), r); !ok || got != xxhash.Sum64String(tt.want) {
			t.Errorf("%v: %#x, %t; want the hash of %q", tt.keys, got, ok, tt.want)
		}
	}
	// XXH64 of "abc" with the seed 0 from other implementations.
	if got, ok := First(parts(t, "cookie:sid"), r); !ok || got != 0x44bc2cf5ad770999 {
		t.Errorf("First: %#x, %t", got, ok)
	}
}

// Joined values are the same only if each of them is, including missing ones.
func TestHashIsUnambiguous(t *testing.T) {
	key := parts(t, "query:a", "query:b", "header:c")
	seen := map[uint64][3]string{}
	t.Run("", rapid.MakeCheck(func(t *rapid.T) {
		var (
			values [3]string
			r      = &request{}
		)
		for i, name := range []string{"a", "b", "c"} {
			values[i] = rapid.SampledFrom([]string{"absent", "", "\x00", "\x01", "\x00\x00\x00\x00\x00\x00\x00\x00\x01", "\x01\x00\x00\x00\x00\x00\x00\x00\x01", "x", "xx", "a=", "&"}).Draw(t, name)
			switch {
			case values[i] == "absent":
			case name == "c":
				r.headers, r.values = [][2]string{{"c"}}, [][]byte{[]byte(values[i])}
			default:
				if len(r.query) > 0 {
					r.query = append(r.query, '&')
				}
				r.query = append(append(append(r.query, name...), '='), percentEncode(values[i])...)
			}
		}
		got, ok := Hash(key, r)
		there := slices.ContainsFunc(values[:], func(v string) bool { return v != "absent" && v != "" })
		if ok != there {
			t.Fatalf("%q: found %t", values, ok)
		}
		if other, twice := seen[got]; twice && other != values {
			t.Fatalf("%q and %q have the same hash", values, other)
		}
		seen[got] = values
	}))
}

func percentEncode(s string) (encoded []byte) {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		encoded = append(encoded, '%', digits[s[i]>>4], digits[s[i]&15])
	}
	return encoded
}

func TestNoAllocations(t *testing.T) {
	r := newRequest("2001:db8::1", "/ws/caf%c3%a9?a=b&room="+strings.Repeat("%41+b", 100), "x-room: 7", "cookie: a=b; sid=abc", "sec-websocket-protocol: chat, v1.abc")
	all := parts(t, "client_ip", "path", "header:X-Room", "query:room", "cookie:sid", "query:absent", "subprotocol", "subprotocol:v1.")
	if n := testing.AllocsPerRun(100, func() { Hash(all, r) }); n != 0 {
		t.Errorf("Hash: %v allocations", n)
	}
	for _, p := range all {
		from := []Part{p}
		if n := testing.AllocsPerRun(100, func() { First(from, r) }); n != 0 {
			t.Errorf("First of %v: %v allocations", p, n)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	r := newRequest("192.0.2.1", "/ws?room=a%20b", "cookie: theme=dark; _ga=GA1.2.3; sid=0123456789abcdef")
	for _, specs := range []string{"client_ip", "query:room", "cookie:sid", "client_ip path query:room cookie:sid"} {
		key := parts(b, strings.Fields(specs)...)
		b.Run(strings.ReplaceAll(specs, " ", ","), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Hash(key, r)
			}
		})
	}
	// The most expensive keys that fit into a head.
	for name, huge := range map[string]*request{
		"query:a":  newRequest("", "/?"+strings.Repeat("&", 8<<10)+"a="+strings.Repeat("%41", 2700)),
		"cookie:a": newRequest("", "/", "cookie: "+strings.Repeat(" ;", 4<<10)+strings.Repeat("a;", 4<<10)+"a=b"),
	} {
		b.Run("16KiB,"+name, func(b *testing.B) {
			key := parts(b, name)
			for b.Loop() {
				Hash(key, huge)
			}
		})
	}
}
