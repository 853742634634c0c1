package requestkey

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// FuzzParse: the text of each accepted part is parsed as the same part.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"client_ip", "path", "path:2", "path:02", "path:", "path:99", "uri", "uri:", "header:X-A", "query:a", "cookie:a", "subprotocol", "subprotocol:v1.", "query:", "query:\u212a", "jwt:sub", "jwt:https://example.com/tenant", ":", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (Part, error){Parse, ParseToken, ParseAnswer} {
			p, err := parse(s)
			if err != nil {
				if p != (Part{}) || strings.ContainsAny(err.Error(), "\r\n") {
					t.Errorf("%q: %v, %v", s, p, err)
				}
				continue
			}
			if again, err := parse(p.String()); again != p || err != nil {
				t.Errorf("%q: %q became %q, %v", s, p, again, err)
			}
			if !strings.EqualFold(p.String(), s) {
				t.Errorf("%q became %q", s, p)
			}
		}
	})
}

// FuzzCookie compares NextCookie with a plain description of what servers do, and with
// net/http if that accepts a cookie: it skips those with bytes that RFC 6265 §4.1.1
// doesn't allow.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"sid=a; sid=b", "a=b;sid = \"x y\"", "sid; =; sid=", "x=\"; sid=1\"; sid=2", "sid=\x00; SID=1", "sid=a\\b; sid=c,d"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, cookies []byte) {
		var want, got []string
		for pair := range strings.SplitSeq(string(cookies), ";") {
			if name, value, ok := strings.Cut(pair, "="); ok && strings.Trim(name, " \t") == "sid" {
				want = append(want, strings.Trim(value, " \t"))
			}
		}
		for value, rest, ok := NextCookie(cookies, "sid"); ok; value, rest, ok = NextCookie(rest, "sid") {
			got = append(got, string(value))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q; want %q", got, want)
		}
		theirs, err := http.ParseCookie(string(cookies))
		if err != nil || strings.ContainsAny(string(cookies), "\r\n") {
			return // net/http takes ends of lines, which are in no field, for spaces
		}
		i := 0
		for _, c := range theirs {
			if c.Name != "sid" {
				continue
			}
			value := c.Value
			if c.Quoted {
				value = `"` + value + `"`
			}
			if i == len(got) || strings.TrimSpace(value) != strings.TrimSpace(got[i]) {
				t.Fatalf("%q; net/http has %q as number %d", got, value, i)
			}
			i++
		}
		if i != len(got) {
			t.Errorf("%q; net/http has %d of them", got, i)
		}
	})
}

// FuzzQuery compares the parsing and decoding of queries with net/url, if that reports no
// error.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=b&a=c", "%61=%2b+%20", "x&a", "a=%zz", "=a&a=&&", "x&a&b=c", "a=b;c", "a=" + strings.Repeat("%C3%A9", 30), "b=c&%41=1&a%3d=1&a=="} {
		f.Add([]byte(s))
	}
	key := parts(f, "query:a")
	f.Fuzz(func(t *testing.T, query []byte) {
		got, ok := First(key, &request{query: query})
		raw, _, found := parameter(bytes.TrimPrefix(query, []byte{'?'}), "a")
		if ok != (found && len(raw) > 0) {
			t.Fatalf("First %t; the parameter is %q, %t", ok, raw, found)
		}
		var want []byte
		wanted := false
		for pair := range strings.SplitSeq(strings.TrimPrefix(string(query), "?"), "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name == "a" || name == "%61" {
				want, wanted = []byte(value), true
				break
			}
		}
		if found != wanted || string(raw) != string(want) {
			t.Fatalf("found %q, %t; want %q, %t", raw, found, want, wanted)
		}
		theirs, err := url.ParseQuery(strings.TrimPrefix(string(query), "?"))
		if err != nil {
			return
		}
		values := theirs["a"]
		if found != (len(values) > 0) {
			t.Fatalf("found %t; net/url has %q", found, values)
		}
		if ok && got != xxhash.Sum64String(values[0]) {
			t.Errorf("hashed another value than net/url's %q", values[0])
		}
		var all []string
		for rest := bytes.TrimPrefix(query, []byte{'?'}); ; {
			var room [4]byte
			var value []byte
			if value, rest, found = Parameter(room[:], rest, "a"); !found {
				break
			}
			all = append(all, string(value))
		}
		if !slices.Equal(all, values) {
			t.Errorf("the parameters are %q, net/url has %q", all, values)
		}
	})
}

// FuzzPath: a path has the same hash as net/url's decoded path.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/a%2fb+c", "/%", "/%C3%A9", "/%zz%41", strings.Repeat("/%41b", 40)} {
		f.Add([]byte(s))
	}
	key := parts(f, "path")
	f.Fuzz(func(t *testing.T, path []byte) {
		got, ok := First(key, &request{path: path})
		if ok != (len(path) > 0) {
			t.Fatalf("First %t", ok)
		}
		if decoded, err := url.PathUnescape(string(path)); err == nil && ok && got != xxhash.Sum64String(decoded) {
			t.Errorf("hashed another path than %q", decoded)
		}
	})
}

// FuzzSubprotocol: lists of tokens are parsed as in the handshake.
func FuzzSubprotocol(f *testing.F) {
	for _, s := range []string{"chat, v1.x", ",, v1. ,v1.a,v1.b", "v1.", " \t,", "V1.x"} {
		f.Add([]byte(s))
	}
	all, prefixed := parts(f, "subprotocol"), parts(f, "subprotocol:v1.")
	f.Fuzz(func(t *testing.T, protocols []byte) {
		if strings.ContainsRune(string(protocols), '"') {
			return // a quote is in no token, and NextMember looks for its end
		}
		var members []string
		for member, rest := httphead.NextMember(protocols); member != nil; member, rest = httphead.NextMember(rest) {
			members = append(members, string(member))
		}
		r := &request{headers: [][2]string{{"sec-websocket-protocol"}}, values: [][]byte{protocols}}
		got, ok := First(all, r)
		if ok != (len(members) > 0) || ok && got != xxhash.Sum64String(strings.Join(members, ",")) {
			t.Errorf("all of %q: %x, %t", members, got, ok)
		}
		i := slices.IndexFunc(members, func(m string) bool { return strings.HasPrefix(m, "v1.") && m != "v1." })
		got, ok = First(prefixed, r)
		if ok != (i >= 0) || ok && got != xxhash.Sum64String(strings.TrimPrefix(members[i], "v1.")) {
			t.Errorf("v1. of %q: %x, %t", members, got, ok)
		}
	})
}

// FuzzAppend: what Append appends is what First hashes.
func FuzzAppend(f *testing.F) {
	f.Add([]byte("/rooms/4%32//x"), []byte("a=%41+b"), []byte("v1.x, y"))
	f.Add([]byte("/"), []byte("?"), []byte(",,"))
	f.Add([]byte(""), []byte(""), []byte(""))
	all := parts(f, "path", "path:1", "path:3", "uri", "query:a", "header:sec-websocket-protocol", "subprotocol", "subprotocol:v1.", "cookie:a", "jwt:sub", "client_ip")
	f.Fuzz(func(t *testing.T, path, query, field []byte) {
		r := &request{path: path, query: query, headers: [][2]string{{"sec-websocket-protocol"}, {"cookie"}}, values: [][]byte{field, query}, claims: map[string]string{"sub": string(field)}}
		for _, p := range all {
			want, ok := First([]Part{p}, r)
			got, there := p.Append([]byte("before"), r)
			got = bytes.TrimPrefix(got, []byte("before"))
			if ok != (there && len(got) > 0) {
				t.Errorf("%v: First %t, Append %q %t", p, ok, got, there)
			} else if ok && want != xxhash.Sum64(got) {
				t.Errorf("%v: Append gives %q, which First doesn't hash", p, got)
			}
			if p.kind == segment {
				segments := strings.Split(string(path), "/")
				if decoded, err := url.PathUnescape(string(path)); err == nil && there != (p.n < len(segments)) {
					t.Errorf("%v of %q (%q): %t", p, path, decoded, there)
				}
			}
		}
	})
}

// FuzzSetCookie: a cookie that net/http reads from a Set-Cookie field is read the same here,
// and a request with it has the same value.
func FuzzSetCookie(f *testing.F) {
	for _, s := range []string{"sid=abc; Path=/; HttpOnly", `sid="a b"; x`, "sid=", "sid", "=sid=", " sid = a = b ;", "SID=x", "sid=a\tb", ";sid=a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, field []byte) {
		value, ok := SetCookie(field, "sid")
		if !ok && value != nil || ok && (len(value) == 0 || bytes.ContainsAny(value, ";")) {
			t.Fatalf("%q, %t", value, ok)
		}
		if again, _ := Cookie(&request{headers: [][2]string{{"cookie"}}, values: [][]byte{append([]byte("a=b; sid="), value...)}}, "sid"); ok && !bytes.Equal(again, value) {
			t.Errorf("a request gives %q instead of %q", again, value)
		}
		theirs, err := http.ParseSetCookie(string(field))
		if err != nil || bytes.ContainsAny(field, "\r\n") || theirs.Name != "sid" || theirs.Value == "" {
			return
		}
		want := theirs.Value
		if theirs.Quoted {
			want = `"` + want + `"`
		}
		if !ok || strings.TrimSpace(string(value)) != strings.TrimSpace(want) {
			t.Errorf("%q, %t; net/http has %q", value, ok, want)
		}
	})
}
