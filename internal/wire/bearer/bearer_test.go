package bearer

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// head is a request.
type head struct {
	query  string
	fields httphead.Fields
}

func (h *head) Query() []byte                            { return []byte(h.query) }
func (h *head) Header(name string, i int) ([]byte, bool) { return h.fields.At(name, i) }

func newHead(query string, lines ...string) *head {
	h := &head{query: query}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.fields = append(h.fields, httphead.Field{Name: []byte(name), Value: []byte(value)})
	}
	return h
}

// lines are its query and its fields, as newHead takes them.
func lines(query []byte, fields httphead.Fields) []string {
	all := []string{string(query)}
	for _, f := range fields {
		all = append(all, string(f.Name)+": "+string(f.Value))
	}
	return all
}

func parse(t testing.TB, words ...string) (list []Source) {
	t.Helper()
	for _, w := range words {
		s, err := Parse(w)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"header:Authorization": "header:authorization", "header:X-Token": "header:x-token", "query:access_token": "query:access_token",
		"cookie:SID": "cookie:SID", "subprotocol:bearer": "subprotocol:bearer",
	} {
		if s, err := Parse(in); err != nil || s.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, s, err, want)
		}
	}
	if parse(t, "header:AUTHORIZATION")[0] != Authorization {
		t.Error("sources that mean the same differ")
	}
	for _, in := range []string{"", "authorization", "header", "header:", "header: X", "query:a=b", "cookie:a b", "subprotocol", "subprotocol:", "subprotocol:a,b", "jwt:sub", "path", "Header:X"} {
		if s, err := Parse(in); err == nil || s != (Source{}) {
			t.Errorf("%q is %q", in, s)
		}
	}
}

var everywhere = []string{"header:Authorization", "query:access_token", "cookie:token", "subprotocol:bearer"}

func TestFind(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sources []string
		request *head
		want    string
		at      string
	}{
		{"nothing", everywhere, newHead(""), "", ""},
		{"a header", everywhere, newHead("", "Authorization: Bearer t.t.t"), "t.t.t", "header:authorization"},
		{"its case, and spaces", everywhere, newHead("", "authorization: bEARER   t.t.t"), "t.t.t", "header:authorization"},
		{"another scheme", everywhere, newHead("?access_token=q", "Authorization: Basic YTpi"), "q", "query:access_token"},
		{"no scheme", everywhere, newHead("", "Authorization: t.t.t"), "", ""},
		{"the scheme alone", everywhere, newHead("", "Authorization: Bearer"), "", ""},
		{"a longer scheme", everywhere, newHead("", "Authorization: BearerX t"), "", ""},
		{"one of another scheme", everywhere, newHead("", "Authorization: Basic x", "Authorization: Bearer t"), "t", "header:authorization"},
		{"another header", []string{"header:X-Token"}, newHead("", "X-Token: t.t.t"), "t.t.t", "header:x-token"},
		{"with a scheme", []string{"header:X-Token"}, newHead("", "X-Token: Bearer t.t.t"), "t.t.t", "header:x-token"},
		{"a parameter", everywhere, newHead("?a=b&access_token=t&c"), "t", "query:access_token"},
		{"encoded", everywhere, newHead("?%61ccess_token=a%2Eb"), "a.b", "query:access_token"},
		{"an empty one and another", everywhere, newHead("?access_token=&access_token=t"), "t", "query:access_token"},
		{"badly encoded", everywhere, newHead("?access_token=%zz"), "%zz", "query:access_token"},
		{"a name that begins like it", everywhere, newHead("?access_token2=t&xaccess_token=t"), "", ""},
		{"a cookie", everywhere, newHead("", "Cookie: a=b; token=t; c=d"), "t", "cookie:token"},
		{"in quotes", everywhere, newHead("", `Cookie: token="t"`), "t", "cookie:token"},
		{"in another field", everywhere, newHead("", "Cookie: a=b", "cookie: token=t"), "t", "cookie:token"},
		{"a subprotocol", everywhere, newHead("", "Sec-WebSocket-Protocol: chat, bearer,t.t.t"), "t.t.t", "subprotocol:bearer"},
		{"in the next field", everywhere, newHead("", "Sec-WebSocket-Protocol: chat, bearer", "Sec-WebSocket-Protocol: t.t.t, v2"), "t.t.t", "subprotocol:bearer"},
		{"the word is the last", everywhere, newHead("", "Sec-WebSocket-Protocol: chat, bearer"), "", ""},
		{"the order of the sources", []string{"cookie:token", "header:Authorization"}, newHead("", "Authorization: Bearer h", "Cookie: token=c"), "c", "cookie:token"},

		{"two fields", everywhere, newHead("", "Authorization: Bearer a", "Authorization: Bearer b"), "", "several"},
		{"two parameters", everywhere, newHead("?access_token=a&access_token=b"), "", "several"},
		{"the same twice", everywhere, newHead("?access_token=a&access%5ftoken=a"), "", "several"},
		{"two cookies", everywhere, newHead("", "Cookie: token=a; token=b"), "", "several"},
		{"two offers", everywhere, newHead("", "Sec-WebSocket-Protocol: bearer, a, bearer, b"), "", "several"},
	} {
		token, at, err := Find(parse(t, tt.sources...), tt.request)
		switch {
		case tt.at == "several":
			if !errors.Is(err, ErrSeveral) {
				t.Errorf("%s: %q, %v", tt.name, token, err)
			}
		case err != nil || token != tt.want || tt.want != "" && at.String() != tt.at:
			t.Errorf("%s: %q in %s, %v; want %q in %s", tt.name, token, at, err, tt.want, tt.at)
		}
	}
}

func TestStrip(t *testing.T) {
	for _, tt := range []struct {
		name     string
		in, want *head
	}{
		{"nothing", newHead("?a=b", "X: y", "Cookie: a=b"), newHead("?a=b", "X: y", "Cookie: a=b")},
		{"a header", newHead("", "Authorization: Bearer t", "X: y"), newHead("", "X: y")},
		{"not another scheme", newHead("", "Authorization: Basic t"), newHead("", "Authorization: Basic t")},
		{"all of a query", newHead("?access_token=t"), newHead("")},
		{"the first", newHead("?access_token=t&a=%20"), newHead("?a=%20")},
		{"one in the middle", newHead("?a&access_token=t&&b="), newHead("?a&&b=")},
		{"all of them", newHead("?a=b&%61ccess_token=t&access_token"), newHead("?a=b")},
		{"a query without a question mark", newHead("access_token=t&a"), newHead("a")},
		{"a cookie", newHead("", "Cookie: a=b; token=t;c=d"), newHead("", "Cookie: a=b; c=d")},
		{"all cookies", newHead("", "Cookie: token=t; token=u", "X: y"), newHead("", "X: y")},
		{"an offer", newHead("", "Sec-WebSocket-Protocol: bearer, t"), newHead("")},
		{"some of an offer", newHead("", "Sec-WebSocket-Protocol: chat, bearer, t, v2"), newHead("", "Sec-WebSocket-Protocol: chat, v2")},
		{"over two fields", newHead("", "Sec-WebSocket-Protocol: chat, bearer", "X: y", "sec-websocket-protocol: t, v2"),
			newHead("", "Sec-WebSocket-Protocol: chat", "X: y", "sec-websocket-protocol: v2")},
	} {
		sources := parse(t, everywhere...)
		before := lines([]byte(tt.in.query), tt.in.fields)
		query, fields := StripQuery(sources, []byte(tt.in.query)), StripFields(sources, tt.in.fields)
		if got, want := lines(query, fields), lines([]byte(tt.want.query), tt.want.fields); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
		if after := lines([]byte(tt.in.query), tt.in.fields); !slices.Equal(before, after) {
			t.Errorf("%s: the request was changed to %q", tt.name, after)
		}
	}
	kept := newHead("", "Authorization: Bearer t", "Sec-WebSocket-Protocol: bearer, t")
	if got := lines(nil, StripOffer(parse(t, everywhere...), kept.fields)); !slices.Equal(got, []string{"", "Authorization: Bearer t"}) {
		t.Errorf("the offer alone: %q", got)
	}
}

func TestStripHeader(t *testing.T) {
	h := http.Header{"Authorization": {"Basic x", "Bearer t"}, "Cookie": {"token=t", "a=b"}, "Sec-Websocket-Protocol": {"bearer, t"}, "X": {"y"}}
	StripHeaderOffer(parse(t, everywhere...), h)
	if len(h["Authorization"]) != 2 || len(h["Cookie"]) != 2 || h["Sec-Websocket-Protocol"] != nil {
		t.Errorf("the offer alone: %q", h)
	}
	StripHeader(parse(t, everywhere...), h)
	if !slices.Equal(h["Authorization"], []string{"Basic x"}) || !slices.Equal(h["Cookie"], []string{"a=b"}) || len(h) != 3 {
		t.Errorf("got %q", h)
	}
}
