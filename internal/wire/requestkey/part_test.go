package requestkey

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ in, key, token string }{ // what String gives; "" where it is refused
		{"client_ip", "client_ip", "client_ip"},
		{"path", "path", ""},
		{"path:2", "path:2", "path:2"},
		{"uri", "uri", ""},
		{"header:X-Room", "header:x-room", "header:x-room"},
		{"query:room", "query:room", "query:room"},
		{`query:Räume["1"]:'`, `query:Räume["1"]:'`, `query:Räume["1"]:'`},
		{"cookie:SID", "cookie:SID", "cookie:SID"},
		{"jwt:sub", "jwt:sub", "jwt:sub"},
		{"jwt:https://example.com/Tenant", "jwt:https://example.com/Tenant", "jwt:https://example.com/Tenant"},
		{"subprotocol", "", "subprotocol"},
		{"subprotocol:Session.", "", "subprotocol:Session."},
	} {
		for kind, want := range map[string]string{"key": tt.key, "token": tt.token} {
			parse := Parse
			if kind == "token" {
				parse = ParseToken
			}
			p, err := parse(tt.in)
			if (err == nil) != (want != "") || p.String() != want {
				t.Errorf("%s %q: %q, %v; want %q", kind, tt.in, p, err, want)
			}
		}
	}
	if parts(t, "header:X-Room")[0] != parts(t, "header:x-ROOM")[0] {
		t.Error("parts that mean the same are not equal")
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `bad key "": want client_ip, path, path:N, uri, header:NAME, query:NAME, cookie:NAME or jwt:CLAIM`},
		{"jwt", `bad key "jwt": the name is missing, write for example jwt:sub`},
		{"jwt: sub", `bad key "jwt: sub": " " is not allowed in the name`},
		{"subprotocol", `bad key "subprotocol": want client_ip, `},
		{"Path", `bad key "Path": want `},
		{"client_ip:", `bad key "client_ip:": client_ip stands alone, leave out what follows it`},
		{"path:/x", `bad key "path:/x": what follows the colon is the number of a segment of the path, write for example path:2`},
		{"path:", `bad key "path:": what follows the colon is `},
		{"path:01", `bad key "path:01": what follows the colon is `},
		{"path:-1", `bad key "path:-1": what follows the colon is `},
		{"path:0", `bad key "path:0": the segments of the path are counted from 1`},
		{"path:65", `bad key "path:65": the highest number of a segment is 64`},
		{"uri:x", `bad key "uri:x": uri stands alone, leave out what follows it`},
		{"header", `bad key "header": the name is missing, write for example header:X-User`},
		{"header: X", `bad key "header: X": " " is not allowed in the name`},
		{"cookie:a=b", `bad key "cookie:a=b": "=" is not allowed in the name`},
		{"cookie:é", `bad key "cookie:é": "é" is not allowed in the name`},
		{"query:", `bad key "query:": the name is missing after ":", write for example query:user`},
		{"query:a%5B%5D", `bad key "query:a%5B%5D": "%" is not allowed in the name`},
		{"query:a b", `bad key "query:a b": `},
		{"query:a\x00", `bad key "query:a\x00": `},
		{"query:\xff", `bad key "query:\xff": `},
	} {
		if p, err := Parse(tt.in); err == nil || !strings.HasPrefix(err.Error(), tt.want) || p != (Part{}) {
			t.Errorf("%q: %v, %v; want %s", tt.in, p, err, tt.want)
		}
	}
	for _, tt := range []struct{ in, want string }{
		{"pat", `bad source "pat": want query:NAME, header:NAME, cookie:NAME, jwt:CLAIM, client_ip, path:N, subprotocol or subprotocol:PREFIX`},
		{"path", `bad source "path": the number of the segment is missing, write for example path:2`},
		{"client_ip:x", `bad source "client_ip:x": client_ip stands alone, leave out what follows it`},
		{"subprotocol:", `bad source "subprotocol:": the name is missing after ":", write for example subprotocol:session.`},
		{"subprotocol:a,b", `bad source "subprotocol:a,b": "," is not allowed in the name`},
	} {
		if p, err := ParseToken(tt.in); err == nil || !strings.HasPrefix(err.Error(), tt.want) || p != (Part{}) {
			t.Errorf("token %q: %v, %v; want %s", tt.in, p, err, tt.want)
		}
	}
}

func TestIsToken(t *testing.T) {
	for c := range 256 {
		want := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c))
		if got := IsToken("x" + string([]byte{byte(c)})); got != want {
			t.Errorf("%#x: %t", c, got)
		}
	}
	if IsToken("") {
		t.Error("nothing is a token")
	}
}

func TestNextCookie(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string // the values of all cookies named sid
	}{
		{"", nil},
		{";;; ;", nil},
		{"sid", nil},
		{"sid=", []string{""}},
		{"=sid; sid=a=b", []string{"a=b"}},
		{"a=1; sid=x; b=2;sid=y", []string{"x", "y"}},
		{" \tsid =\t x y \t", []string{"x y"}},
		{`sid="a;sid=b"`, []string{`"a`, `b"`}},
		{"Sid=a; ssid=b; sidd=c; s id=d", nil},
		{"$Version=1; sid=a, sid=b", []string{"a, sid=b"}},
	} {
		var got []string
		for value, rest, ok := NextCookie([]byte(tt.in), "sid"); ok; value, rest, ok = NextCookie(rest, "sid") {
			got = append(got, string(value))
		}
		if strings.Join(got, "\n") != strings.Join(tt.want, "\n") || len(got) != len(tt.want) {
			t.Errorf("%q: %q; want %q", tt.in, got, tt.want)
		}
	}
}
