package claims

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestClaims(t *testing.T) {
	long := strings.Repeat("x", 300)
	var b []byte
	for _, c := range [][2]string{{"sub", "alice"}, {"", ""}, {long, long}, {"realm_access.roles", "admin,user"}} {
		b = Append(b, c[0], c[1])
	}
	c := Claims(b)
	for name, want := range map[string]string{"sub": "alice", "": "", long: long, "realm_access.roles": "admin,user"} {
		if value, ok := c.Get(name); value != want || !ok {
			t.Errorf("%q is %q, %v", name, value, ok)
		}
	}
	for _, name := range []string{"Sub", "su", "realm_access", "alice"} {
		if value, ok := c.Get(name); ok {
			t.Errorf("%q is %q", name, value)
		}
	}
	if _, ok := Claims("").Get(""); ok {
		t.Error("no claims have one")
	}
	only := c.Only([]string{"none", "realm_access.roles", "sub", "sub"})
	if only != Claims(Append(Append(nil, "realm_access.roles", "admin,user"), "sub", "alice")) || c.Only(nil) != "" {
		t.Errorf("only some: %q", only)
	}
	if n := testing.AllocsPerRun(10, func() { c.Get("realm_access.roles") }); n != 0 {
		t.Errorf("Get allocates %v times", n)
	}
}

// Whatever is added is there, in its order. Other bytes yield something and end.
func TestAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.String()).Draw(t, "texts")
		want = want[:len(want)&^1]
		var b []byte
		for i := 0; i < len(want); i += 2 {
			b = Append(b, want[i], want[i+1])
		}
		var got []string
		for name, value := range Claims(b).All() {
			got = append(got, name, value)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		for range Claims(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")).All() {
		}
	})
}
