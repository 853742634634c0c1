package headeredit

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// request is a Source. Its facts are the words of their kinds, except those in facts.
type request struct {
	fields httphead.Fields
	query  []byte
	facts  map[Kind]string
}

func (r *request) ClientIP() netip.Addr { return netip.MustParseAddr("192.0.2.1") }
func (r *request) Path() []byte         { return []byte("/ws") }
func (r *request) Query() []byte        { return r.query }
func (r *request) Header(name string, i int) ([]byte, bool) {
	return r.fields.At(name, i)
}

func (r *request) AppendFact(dst []byte, k Kind) []byte {
	if fact, ok := r.facts[k]; ok {
		return append(dst, fact...)
	}
	return append(dst, words[k]...)
}

func (r *request) Claim(name string) (string, bool) {
	if fact, ok := r.facts[Claim]; ok {
		return fact, true
	}
	return "claim of " + name, true
}

// fieldsOf parses lines.
func fieldsOf(lines ...string) (fields httphead.Fields) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		fields = append(fields, httphead.Field{Name: []byte(name), Value: []byte(value)})
	}
	return fields
}

// edit is how e changes fields: as lines, and through net/http.
func edit(t *testing.T, e *Edits, from *request) string {
	t.Helper()
	var out []byte
	header := http.Header{}
	for _, f := range from.fields {
		header.Add(string(f.Name), string(f.Value))
		if !e.Drops(f.Name) {
			out = append(append(append(append(out, f.Name...), ": "...), f.Value...), "\r\n"...)
		}
	}
	out = e.Append(out, from)
	e.Edit(header, from)
	want := http.Header{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), ": ")
		want.Add(name, value)
	}
	if !maps.EqualFunc(header, want, slices.Equal) {
		t.Errorf("net/http's header became\n%v\nand the lines\n%v", header, want)
	}
	return string(out)
}

func set(pairs ...string) (headers [][2]string) {
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, [2]string{pairs[i], pairs[i+1]})
	}
	return headers
}

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		name  string
		specs []Spec
		came  []string
		want  string
	}{
		{"nothing", []Spec{{}, {}}, []string{"A: 1"}, "A: 1\r\n"},
		{"set replaces all", []Spec{{Set: set("X-A", "new")}}, []string{"x-a: 1", "B: 2", "X-A: 3"}, "B: 2\r\nX-A: new\r\n"},
		{"set replaces what servers confuse with it", []Spec{{Set: set("X-User-Id", "me")}}, []string{"X_User_Id: root", "X.User-Id: root", "X-User-Idx: 1"}, "X-User-Idx: 1\r\nX-User-Id: me\r\n"},
		{"a name with an underscore", []Spec{{Set: set("X_Key", "me")}}, []string{"X-Key: root", "x_key: root"}, "X_Key: me\r\n"},
		{"add keeps", []Spec{{Add: set("X-A", "2")}}, []string{"x-a: 1"}, "x-a: 1\r\nX-A: 2\r\n"},
		{"set and add", []Spec{{Set: set("X-A", "1"), Add: set("x-a", "2")}}, []string{"x-a: 0"}, "X-A: 1\r\nx-a: 2\r\n"},
		{"remove", []Spec{{Remove: []string{"x-A"}}}, []string{"X-a: 1", "X_A: 1", "X-B: 2"}, "X-B: 2\r\n"},
		{"removed first, then added", []Spec{{Remove: []string{"X-A"}, Add: set("X-A", "2")}}, []string{"X-A: 1"}, "X-A: 2\r\n"},
		{"an empty value", []Spec{{Set: set("X-A", "${cookie.none}", "X-B", " ${cookie.none} ")}}, []string{"X-A: 1", "X-B: 1", "X-C: 1"}, "X-C: 1\r\n"},
		{"both", []Spec{{Set: set("X-A", "1")}, {Set: set("X-B", "2")}}, []string{"X-A: 0", "X-B: 0"}, "X-A: 1\r\nX-B: 2\r\n"},
		{"the later wins", []Spec{{Set: set("X-A", "1", "X-B", "1"), Add: set("X-C", "1")}, {Set: set("x-a", "2"), Remove: []string{"X-C"}}}, nil, "X-B: 1\r\nx-a: 2\r\n"},
		{"the later adds what the earlier removes", []Spec{{Remove: []string{"X-A"}}, {Add: set("X-A", "2")}}, []string{"X-A: 1"}, "X-A: 1\r\nX-A: 2\r\n"},
		{"the later removes what the earlier sets", []Spec{{Set: set("X-A", "1")}, {Remove: []string{"x_a"}}}, []string{"X-A: 0"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := New(tt.specs...)
			if err != nil {
				t.Fatal(err)
			}
			if got := edit(t, e, &request{fields: fieldsOf(tt.came...)}); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if (e == nil) != (tt.name == "nothing") {
				t.Errorf("compiled to %v", e)
			}
		})
	}
}

// TestInjection: nothing that a client sends ends a line.
func TestInjection(t *testing.T) {
	e, err := New(Spec{Set: set("X-A", "<${query.a}|${header.b}|${cookie.c}|${sni}|${claim.sub}>")})
	if err != nil {
		t.Fatal(err)
	}
	const evil = "1\r\nX-Admin: true\r\n\r\n\x00\x7f\x01"
	from := &request{
		fields: fieldsOf("B: a\tb", "Cookie: c=x\vy"),
		query:  []byte("?a=1%0d%0aX-Admin:+true%0D%0A%0D%0A%00%7f%01é"),
		facts:  map[Kind]string{SNI: evil, Claim: evil},
	}
	const safe = "1  X-Admin: true       "
	want := "X-A: <" + safe + "é|a\tb|x y|" + safe + "|" + safe + ">\r\n"
	if got := string(e.Append(nil, from)); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	e, _ = New(Spec{Set: set("X-A", "${query.a}")})
	if got := string(e.Append(nil, &request{query: []byte("a=%0d%0a+%00")})); got != "" {
		t.Errorf("a value of controls became %q", got)
	}
}

// TestAppendDoesNotAllocate beyond what dst needs.
func TestAppendDoesNotAllocate(t *testing.T) {
	e, err := New(Spec{Set: set("X-A", "${client_ip} ${header.x-b} ${query.q} ${cookie.c}", "X-B", "plain"), Remove: []string{"X-C"}})
	if err != nil {
		t.Fatal(err)
	}
	from := &request{fields: fieldsOf("X-B: 1", "Cookie: a=b; c=d"), query: []byte("?q=%41")}
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		for i := range from.fields {
			e.Drops(from.fields[i].Name)
		}
		dst = e.Append(dst[:0], from)
	}); n != 0 || string(dst) != "X-A: client_ip 1 A d\r\nX-B: plain\r\n" {
		t.Errorf("%v allocations for %q", n, dst)
	}
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string][2]string{ // why not, in a request and in an answer
		"X-Mine": {}, "Authorization": {}, "Cookie": {}, "Set-Cookie": {}, "X-Forwarded-User": {}, "Origin": {}, "X_Mine": {},
		"":                    {"empty", "empty"},
		"X Mine":              {"letters", "letters"},
		"X-Mine:":             {"letters", "letters"},
		"X-Mine\r\nX":         {"letters", "letters"},
		"host":                {"rewrite: {host", ""},
		"Connection":          {"the balancer sets it", "the balancer sets it"},
		"UPGRADE":             {"the balancer sets it", "the balancer sets it"},
		"Content_Length":      {"the balancer sets it", "the balancer sets it"},
		"transfer-encoding":   {"the balancer sets it", "the balancer sets it"},
		"Sec-WebSocket-Key":   {"WebSocket handshake", "WebSocket handshake"},
		"sec_websocket_x":     {"WebSocket handshake", "WebSocket handshake"},
		"Holdfast-Session":    {"only the balancer", "only the balancer"},
		"X-Forwarded-For":     {"x_forwarded", ""},
		"X_Forwarded_Proto":   {"x_forwarded", ""},
		"X-Forwarded-Prefix":  {"path_prefix", ""},
		"Forwarded":           {"forwarded: {forwarded", ""},
		"X-Real-IP":           {"x_real_ip", ""},
		"X-Request-ID":        {"request_id", "request_id"},
		"traceparent":         {"trace_context", ""},
		"Via":                 {"http: {via", ""},
		"Proxy-Authorization": {"for the balancer", ""},
		"Proxy-Authenticate":  {"", "for proxies"},
	} {
		for i, m := range []Message{Request, Answer} {
			err := m.CheckName(name, Sent{XForwarded: true, Forwarded: true, XRealIP: true})
			if (err == nil) != (want[i] == "") || err != nil && !strings.Contains(err.Error(), want[i]) {
				t.Errorf("%q, answer %t: %v, want %q", name, bool(m), err, want[i])
			}
		}
	}
}

// TestCheckNameUnsent: fields that the balancer could send, and doesn't, can be set.
func TestCheckNameUnsent(t *testing.T) {
	for name, sent := range map[string]Sent{
		"X-Forwarded-For": {XForwarded: true}, "x_forwarded_host": {XForwarded: true}, "X-Forwarded-Prefix": {XForwarded: true},
		"Forwarded": {Forwarded: true}, "X-Real-IP": {XRealIP: true},
	} {
		if err := Request.CheckName(name, sent); err == nil {
			t.Errorf("%s can be set although the balancer sends it", name)
		}
		others := Sent{XForwarded: !sent.XForwarded, Forwarded: !sent.Forwarded, XRealIP: !sent.XRealIP}
		if err := Request.CheckName(name, others); err != nil {
			t.Errorf("the balancer doesn't send %s: %v", name, err)
		}
	}
	if err := Request.CheckName("Host", Sent{}); err == nil {
		t.Error("Host can be set")
	}
}
