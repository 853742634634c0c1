package headeredit

import (
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// locate makes the URL of a template for a request.
func locate(t testing.TB, template string, from *request, groups ...string) (string, bool) {
	t.Helper()
	l, err := ParseLocation(template)
	if err != nil {
		t.Fatal(err)
	}
	to, ok := l.Append(nil, from, func(n int) []byte {
		if n == 0 {
			return []byte(from.facts[Path]) // as if all paths began with a slash that isn't theirs
		}
		if n <= len(groups) {
			return []byte(groups[n-1])
		}
		return nil
	})
	return string(to), ok
}

func TestLocation(t *testing.T) {
	from := func(path, query string) *request {
		uri := path
		if query != "" {
			uri += "?" + query
		}
		return &request{query: []byte(query), fields: httphead.Fields{{Name: []byte("X-A"), Value: []byte("a/b?c&d\r\n é")}},
			facts: map[Kind]string{Host: "h.example", Scheme: "https", URI: uri, Path: path, Query: query, ClientIP: "192.0.2.1"}}
	}
	for _, tt := range []struct {
		template, path, query string
		groups                []string
		want                  string // "" is refused
	}{
		{"https://${host}${uri}", "/a%20b", "c=d", nil, "https://h.example/a%20b?c=d"},
		{"https://${host}:8443${uri}", "/", "", nil, "https://h.example:8443/"},
		{"${scheme}://www.${host}/x${path}?y&${query}", "/a", "b", nil, "https://www.h.example/x/a?y&b"},
		{"https://x.example/$1-${2}$$#top", "/a", "", []string{"o/n%65", "two"}, "https://x.example/o/n%65-two$#top"},
		{"https://x.example/$1", "/a", "", []string{"a b\\\x00\tc\xc3\xa9\""}, "https://x.example/a%20b%5C%00%09c%C3%A9%22"},
		{"https://x.example?ip=${client_ip}&a=${header.X-A}", "/a", "", nil, "https://x.example?ip=192.0.2.1&a=a%2Fb%3Fc%26d%0D%0A%20%C3%A9"},
		{"/login", "/a", "", nil, "/login"},
		{"${uri}", "/a", "b", nil, "/a?b"},
		{"${uri}", "//evil.example/", "", nil, ""},
		{"${path}", "/\\evil.example/", "", nil, "/%5Cevil.example/"},
		{"${path}", "/\t/evil.example/", "", nil, "/%09/evil.example/"},
		{"/$1", "/x", "", []string{"/evil.example"}, ""},
		{"https://${host}:8443/new${path_rest}", "", "", nil, "https://h.example:8443/new"},
		{"https://${host}:8443/new${path_rest}", "/", "", nil, "https://h.example:8443/new/"},
		{"https://${host}/new${path_rest}", "/a%20b", "", nil, "https://h.example/new/a%20b"},
		{"https://${host}${path_rest}", "", "", nil, "https://h.example/"},
		{"https://${host}${path_rest}?${path_rest}", "/x", "", nil, "https://h.example/x?/x"},
		{"https://${host}?${path_rest}", "", "", nil, "https://h.example?"},
		{"${path_rest}", "", "", nil, "/"},
		{"https://${host}${uri}", "", "", nil, "https://h.example/"},
		{"https://${host}${path}.evil.example", "", "", nil, "https://h.example/.evil.example"},
		{"https://${host}/a${path}${path}", "", "", nil, "https://h.example/a"},
		{"${path_rest}", "/x", "", nil, "/x"},
		{"${path_rest}", "//evil.example", "", nil, ""},
		{"/$1", "/x", "", []string{"evil.example"}, "/evil.example"},
		{"/${header.X-B}", "/x", "", nil, "/"},
	} {
		got, ok := locate(t, tt.template, from(tt.path, tt.query), tt.groups...)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s of %q: %q, %t; want %q", tt.template, tt.path, got, ok, tt.want)
		}
	}
	for _, template := range []string{"https://${host}/", "${scheme}://a${host}", "http://${host}"} {
		if got, ok := locate(t, template, &request{facts: map[Kind]string{Scheme: "http", Host: ""}}); ok {
			t.Errorf("%s without a host: %q", template, got)
		}
	}
	for _, template := range []string{
		"", "x", "ftp://x/", "//x", "https:/x", "https://", "https:///x", "https://?x", "https://$1/", "https://${query.q}", "https://${header.Host}/",
		"https://x${query}", "https://x${client_ip}/", "https://x$1", "https://a@b/", "https://a b/", "https://é/", "/é", "/a b", "/\\x", "/\"", "/${backend}", "/${pool}", "/${x}", "/$0", "/$",
		"https://${path_rest}", "${PATH_REST}",
		"https://x\\@${host}/", "/" + strings.Repeat("x", 2048), "$1", "${query.q}", "${host}/",
	} {
		if l, err := ParseLocation(template); err == nil || l.Groups() != 0 || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%.40q: %v", template, err)
		}
	}
}

// FuzzLocation: whatever a client sends, a redirect leads to the host that the template
// names, by the rules of RFC 3986 and of browsers, which ignore tabs and take a backslash
// for a slash; and it never ends its line.
func FuzzLocation(f *testing.F) {
	f.Add("https://${host}${uri}", "/x", "a=b", "1")
	f.Add("/$1${query.a}", "//evil", "a=//evil", "/evil")
	f.Add("https://${host}${path_rest}", "/x", "", "@evil")
	f.Add("${path_rest}${path_rest}", "/x", "", "/evil")
	f.Add("${path}?${query}", "/\t/evil", "\r\nSet-Cookie: x", "\\evil")
	f.Add("https://own.example:8/${header.X-A}/$1#${cookie.c}", "*", "@evil", "@evil")
	f.Fuzz(func(t *testing.T, template, path, query, text string) {
		l, err := ParseLocation(template)
		if err != nil {
			return
		}
		if !strings.HasPrefix(path, "/") {
			path = ""
		}
		from := &request{query: []byte(query), fields: httphead.Fields{{Name: []byte("X-A"), Value: []byte(text)}, {Name: []byte("Cookie"), Value: []byte("c=" + text)}},
			facts: map[Kind]string{Host: "h.example", Scheme: "https", URI: path, Path: path, Query: query, Search: "?" + query, SNI: text, Listener: text, Route: text}}
		to, ok := l.Append([]byte("before"), from, func(int) []byte { return []byte(text) })
		if !ok {
			return
		}
		made, ok := strings.CutPrefix(string(to), "before")
		if !ok || made == "" {
			t.Fatalf("%q: %q", template, to)
		}
		if strings.ContainsFunc(made, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' || c == '"' || c == '<' }) {
			t.Fatalf("%q: %q isn't a URL", template, made)
		}
		if made[0] == '/' {
			if strings.HasPrefix(made, "//") {
				t.Fatalf("%q: %q leads to another host", template, made)
			}
			return
		}
		want := template[strings.Index(template, "://")+3:]
		for _, end := range []string{"/", "?", "#", "${uri}", "${path}", "${search}", "${path_rest}"} {
			want, _, _ = strings.Cut(want, end)
		}
		want = strings.ReplaceAll(want, "${host}", "h.example")
		_, rest, _ := strings.Cut(made, "://")
		host := rest
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			host = rest[:i]
		}
		if host != want || host == "" || strings.Contains(host, "@") {
			t.Fatalf("%q: %q leads to %q, want %q", template, made, host, want)
		}
		if u, err := url.Parse(made); err == nil && u.Host != want {
			t.Fatalf("%q: net/url takes %q for the host of %q", template, u.Host, made)
		}
	})
}
