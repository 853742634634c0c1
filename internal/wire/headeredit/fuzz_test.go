package headeredit

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// FuzzParse: an accepted template means the same as a plain description of the
// grammar, errors are one line, and no value ends its line, whatever a client sends.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a", "$$", "$", "${host}", "${host", "$${host}", "${header.x}", "${query.q}${cookie.c}", "${claim.a.b}", "${}", "${a}}", "$$$${sni}$"} {
		f.Add(s, "q=%0d%0a", "c=1")
	}
	f.Fuzz(func(t *testing.T, value, query, cookie string) {
		tmpl, err := Parse(value)
		if err != nil {
			if len(tmpl.pieces) > 0 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q: %v, %v", value, tmpl, err)
			}
			return
		}
		from := &request{fields: httphead.Fields{{Name: []byte("Cookie"), Value: []byte(cookie)}, {Name: []byte("x"), Value: []byte(query)}},
			query: []byte(query), facts: map[Kind]string{SNI: query, Host: cookie}}
		got := string(tmpl.append([]byte("before"), from))
		if !strings.HasPrefix(got, "before") {
			t.Fatalf("%q lost what was there: %q", value, got)
		}
		got = got[len("before"):]
		if plain := !strings.Contains(value, "${"); plain {
			if want := strings.Trim(strings.ReplaceAll(value, "$$", "$"), " \t"); got != want {
				t.Errorf("%q became %q, want %q", value, got, want)
			}
		}
		if httphead.IsFieldValue([]byte(value)) && !httphead.IsFieldValue([]byte(got)) {
			t.Errorf("%q became %q", value, got)
		}
	})
}
