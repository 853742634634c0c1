package hub

import (
	"net/url"
	"strings"
	"testing"
)

func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		"m 1700000000000-0 0-0\ndata\nof two lines", "n\n", "n\n\x00", "m 17-0 16-0 ann%20b\ndata", "m 17-0 16-0 %zz\n", "m 17-0 16-0 \n", "+ 12 SERVER/1 ann%20b\n{}", "- 13 SERVER/1",
		"", "m", "m 1-1", "m 1-1 1-01\n", "+ 1 a/1 %zz\n", "- -1 a/1", "x\n", "mm 1-1 1-1\n", "m 18446744073709551616-0 0-0\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePayload(s)
		if err != nil {
			return
		}
		// Formatting a parsed payload yields the original.
		var again string
		switch p.kind {
		case 'm':
			again = "m " + p.id.String() + " " + p.prev.String()
			if p.sender != "" {
				if sender, err := url.PathUnescape(escape(p.sender)); err != nil || sender != p.sender {
					t.Errorf("sender %q is parsed after escaping as %q, %v", p.sender, sender, err)
				}
				return
			}
			again += "\n" + p.data
		case 'n':
			again = formatNotice([]byte(p.data))
		case '+':
			m, err := parseMember(formatMember(p.member))
			if err != nil || m.ID != p.member.ID || string(m.Data) != string(p.member.Data) {
				t.Errorf("%+v is parsed after formatting as %+v, %v", p.member, m, err)
			}
			return
		case '-':
			return
		}
		if strings.TrimSuffix(again, "\n") != strings.TrimSuffix(s, "\n") {
			t.Errorf("%q is parsed as %q", s, again)
		}
	})
}

// No two rooms share a key, and a room's name can't close the braces that put its
// keys into one hash slot.
func FuzzRoomKeys(f *testing.F) {
	f.Add("room", "{room}")
	f.Add("a", "a}:s")
	f.Add("a%7D", "a}")
	f.Add("\x00\n ", "}{")
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" {
			return
		}
		keys := func(room string) []string {
			k := keysOf("p:", room)
			return []string{k.channel, k.stream(), k.keys(), k.members()}
		}
		for _, k := range keys(a) {
			name := strings.TrimPrefix(k, "p:{")
			if strings.Count(k, "{") != 1 || strings.Index(name, "}") < 1 || strings.ContainsAny(k, " \n\r\x00") {
				t.Errorf("room %q has the key %q", a, k)
			}
			for _, other := range keys(b) {
				if a != b && k == other {
					t.Errorf("rooms %q and %q share %q", a, b, k)
				}
			}
		}
	})
}

// want is the output of encodeURIComponent in Node.js.
func TestKeysAreThoseOfJavaScript(t *testing.T) {
	got := escape("az AZ09-_.!~*'();/?:@&=+$,#{}%\u00e9\u20ac\n")
	want := "az%20AZ09-_.!~*'()%3B%2F%3F%3A%40%26%3D%2B%24%2C%23%7B%7D%25%C3%A9%E2%82%AC%0A"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestIDs(t *testing.T) {
	for s, ok := range map[string]bool{
		"0-0": true, "1700000000000-12": true, "9223372036854775807-9223372036854775807": true,
		"": false, "-": false, "+": false, "$": false, "(1-1": false, "1": false, "1-": false, "1-1-1": false,
		"01-1": false, "1-+1": false, "1-1 ": false, "9223372036854775808-0": false,
	} {
		i, err := parseID(s)
		if (err == nil) != ok || ok && i.String() != s {
			t.Errorf("%q is parsed as %v, %v", s, i, err)
		}
	}
	if a, b := (id{5, 1}), (id{4, 9}); a.compare(b) <= 0 || a.next(3) != (id{5, 2}) || a.next(6) != (id{6, 0}) {
		t.Error("order of IDs")
	}
}
