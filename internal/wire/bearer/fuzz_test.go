package bearer

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzFind: what is found is gone after stripping, nothing else of the request is, and a
// server that reads requests as Go does finds no other token.
func FuzzFind(f *testing.F) {
	f.Add("?access_token=t", "Bearer t", "token=t", "bearer, t", "")
	f.Add("?a&%61ccess_token=%2E&b", "Basic x", `a=b; token="t"; token=`, "chat, bearer", "t, v2")
	f.Add("??&&access_token&=", "Bearer", "token;token =t", ",,bearer,bearer,bearer", "bearer")
	sources := parse(f, everywhere...)
	f.Fuzz(func(t *testing.T, query, authorization, cookies, offer, more string) {
		if strings.ContainsAny(authorization+cookies+offer+more, "\r\n\x00") {
			return // no value of a field
		}
		h := newHead(query, "Authorization: "+authorization, "Cookie: "+cookies, "Sec-WebSocket-Protocol: "+offer, "Sec-WebSocket-Protocol: "+more, "X: y")
		token, at, err := Find(sources, h)
		if (token != "") != (at != Source{}) && err == nil {
			t.Errorf("%q in %q", token, at)
		}
		stripped := &head{string(StripQuery(sources, []byte(query))), StripFields(sources, h.fields)}
		if token, at, err := Find(sources, stripped); token != "" || err != nil {
			t.Errorf("after stripping, %q is in %v, %v", token, at, err)
		}
		if value, ok := stripped.Header("x", 0); !ok || string(value) != "y" {
			t.Error("another field is gone")
		}
		values, _ := url.ParseQuery(strings.TrimPrefix(stripped.query, "?"))
		if values.Has("access_token") {
			t.Errorf("net/url finds one in %q", stripped.query)
		}
		before, _ := url.ParseQuery(strings.TrimPrefix(query, "?"))
		before.Del("access_token")
		if len(before) != len(values) && !strings.Contains(query, ";") {
			t.Errorf("%q became %q", query, stripped.query)
		}
		r := http.Request{Header: http.Header{}}
		for _, f := range stripped.fields {
			r.Header.Add(string(f.Name), string(f.Value))
		}
		if c, err := r.Cookie("token"); err == nil && strings.Trim(c.Value, `" `) != "" {
			t.Errorf("net/http finds the cookie %q in %q", c.Value, cookies)
		}
	})
}
