package httphead

import (
	"bufio"
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"testing"
)

// FuzzRequest compares Parse with net/http: it accepts nothing that net/http rejects, and
// finds the same method, target, host, path, fields and length, and the same end of the
// head.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		chrome,
		"GET / HTTP/1.0\r\n\r\nrest",
		"GET http://b.example:80?x HTTP/1.1\r\nHost: a\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"POST /%2e%2E//x?%zz HTTP/1.1\r\nHost: a\r\nContent-Length: 0012\r\nExpect: 100-continue\r\n\r\n0123456789ab",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: a,b\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\ta \r\nPragma: no-cache\r\n: \r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"\r\n\r\nGET wss://b:/x HTTP/1.1\r\nHost: a:\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) { compareRequest(t, b) })
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// compareRequest reports whether Parse accepted b.
func compareRequest(t failer, b []byte) bool {
	var r Request
	n, err := r.Parse(b)
	empty := emptyLines(b)
	checkResult(t, b[empty:], max(n-empty, 0), err)
	if n == 0 {
		return false
	}
	theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[empty:])))
	if err != nil {
		t.Fatalf("accepted what net/http refuses: %v", err)
	}
	if string(r.Method) != theirs.Method || string(r.Target) != theirs.RequestURI || r.Minor != min(theirs.ProtoMinor, 1) || theirs.ProtoMajor != 1 {
		t.Errorf("request line: %q %q 1.%d; net/http has %q %q %s", r.Method, r.Target, r.Minor, theirs.Method, theirs.RequestURI, theirs.Proto)
	}
	if string(r.Host) != theirs.Host {
		t.Errorf("host %q; net/http has %q", r.Host, theirs.Host)
	}
	path, err := url.PathUnescape(string(r.Path))
	if want := theirs.URL.Path; err != nil || path != want && !(path == "/" && want == "") {
		t.Errorf("path %q (%v); net/http has %q", r.Path, err, want)
	}
	query := theirs.URL.RawQuery
	if query != "" || theirs.URL.ForceQuery {
		query = "?" + query
	}
	if string(r.Query) != query {
		t.Errorf("query %q; net/http has %q", r.Query, query)
	}
	length := max(r.ContentLength, 0)
	if r.Chunked {
		length = -1
	}
	if length != theirs.ContentLength {
		t.Errorf("length %d, chunked %t; net/http has %d", r.ContentLength, r.Chunked, theirs.ContentLength)
	}
	checkFields(t, r.Fields, theirs.Header)
	return true
}

// FuzzResponse is FuzzRequest for Response.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		switching,
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 304\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.0 500 \r\nContent-Type: text/plain\r\n\r\nuntil the end",
		"HTTP/1.1 426 Upgrade Required\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" + switching,
		"HTTP/1.1 200 OK\nA: b\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) { compareResponse(t, b) })
}

func compareResponse(t failer, b []byte) bool {
	var r Response
	n, err := r.Parse(b)
	checkResult(t, b, n, err)
	if n == 0 {
		return false
	}
	theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		t.Fatalf("accepted what net/http refuses: %v", err)
	}
	if r.Status != theirs.StatusCode || r.Minor != min(theirs.ProtoMinor, 1) || theirs.ProtoMajor != 1 {
		t.Errorf("status line: %d 1.%d; net/http has %d %s", r.Status, r.Minor, theirs.StatusCode, theirs.Proto)
	}
	if bodiless := r.Status < 200 || r.Status == 204 || r.Status == 304; !bodiless {
		if r.ContentLength != theirs.ContentLength || r.Chunked != (len(theirs.TransferEncoding) > 0) {
			t.Errorf("length %d, chunked %t; net/http has %d, %q", r.ContentLength, r.Chunked, theirs.ContentLength, theirs.TransferEncoding)
		}
	}
	checkFields(t, r.Fields, theirs.Header)
	return true
}

// checkResult checks what must be true for any input of both Parse functions.
func checkResult(t failer, b []byte, n int, err error) {
	end := EndOfHead(b, 0)
	switch {
	case err != nil && n != 0:
		t.Fatalf("Parse = %d with %v", n, err)
	case n > 0 && n != end:
		t.Fatalf("Parse = %d; the head ends at %d", n, end)
	case n == 0 && err == nil && end > 0:
		t.Fatalf("Parse asks for more, but the head ends at %d", end)
	}
}

// checkFields checks that every field is in net/http's header too, with the same values
// in the same order. net/http moves or drops some names.
func checkFields(t failer, ours Fields, theirs http.Header) {
	moved := map[string]bool{"Host": true, "Connection": true, "Transfer-Encoding": true, "Trailer": true}
	seen := map[string]int{}
	for _, field := range ours {
		name := textproto.CanonicalMIMEHeaderKey(string(field.Name))
		if moved[name] {
			continue
		}
		values := theirs[name]
		if i := seen[name]; i >= len(values) || values[i] != string(field.Value) {
			t.Errorf("field %q: %q is not number %d of net/http's %q", name, field.Value, i, values)
		}
		seen[name]++
	}
	for name, values := range theirs {
		// net/http derives Cache-Control from Pragma.
		if len(values) != seen[name] && !(name == "Cache-Control" && seen[name] == 0) && !moved[name] {
			t.Errorf("field %q: net/http has %q, of which %d were found", name, values, seen[name])
		}
	}
}
