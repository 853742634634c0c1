package httphead

import (
	"errors"
	"strings"
	"testing"
)

// chrome is a browser's handshake.
const chrome = "GET /chat/room-1?token=eyJhbGciOi.J9 HTTP/1.1\r\n" +
	"Host: ws.example.com:8080\r\n" +
	"Connection: Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: http://ws.example.com:8080\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"\r\n"

func TestRequest(t *testing.T) {
	tests := []struct {
		name, head string

		host, path, query string
		minor             int
		length            int64
		chunked           bool
	}{
		{name: "browser", head: chrome, host: "ws.example.com:8080", path: "/chat/room-1", query: "?token=eyJhbGciOi.J9", minor: 1, length: -1},
		{name: "least", head: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", host: "a", path: "/", minor: 1, length: -1},
		{name: "1.0 without host", head: "GET /x HTTP/1.0\r\n\r\n", path: "/x", length: -1},
		{name: "absolute-form", head: "GET http://B.example/x?y HTTP/1.1\r\nHost: a\r\n\r\n", host: "B.example", path: "/x", query: "?y", minor: 1, length: -1},
		{name: "absolute-form without path", head: "GET HTTPS://b.example?y HTTP/1.1\r\nHost: a\r\n\r\n", host: "b.example", path: "/", query: "?y", minor: 1, length: -1},
		{name: "URL of a WebSocket", head: "GET ws://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n", host: "b.example", path: "/x", minor: 1, length: -1},
		{name: "URL of a WebSocket over TLS", head: "GET WSS://b.example:8443 HTTP/1.1\r\nHost: a\r\n\r\n", host: "b.example:8443", path: "/", minor: 1, length: -1},
		{name: "a version to come", head: "GET / HTTP/1.9\r\nHost: a\r\n\r\n", host: "a", path: "/", minor: 1, length: -1},
		{name: "empty port", head: "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", host: "a:", path: "/", minor: 1, length: -1},
		{name: "empty line first", head: "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", host: "a", path: "/", minor: 1, length: -1},
		{name: "empty lines first", head: "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", host: "a", path: "/", minor: 1, length: -1},
		{name: "asterisk-form", head: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", host: "a", path: "*", minor: 1, length: -1},
		{name: "two slashes are a path", head: "GET //evil/x HTTP/1.1\r\nHost: a\r\n\r\n", host: "a", path: "//evil/x", minor: 1, length: -1},
		{name: "query with anything", head: "GET /?a=%&b=http://c/?d HTTP/1.1\r\nHost: a\r\n\r\n", host: "a", path: "/", query: "?a=%&b=http://c/?d", minor: 1, length: -1},
		{name: "content length", head: "POST /%41 HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", host: "a", path: "/%41", minor: 1, length: 12},
		{name: "chunked", head: "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n", host: "a", path: "/", minor: 1, length: -1, chunked: true},
		{name: "IPv6 host", head: "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", host: "[::1]:80", path: "/", minor: 1, length: -1},
		{name: "100 fields", head: "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a: b\r\n", 99) + "\r\n", host: "a", path: "/", minor: 1, length: -1},
	}
	var r Request // one for all, so that nothing may be left over from the parse before
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := r.Parse([]byte(tt.head + "rest\r\n\r\n"))
			if n != len(tt.head) || err != nil {
				t.Fatalf("Parse = %d, %v; want %d", n, err, len(tt.head))
			}
			if string(r.Host) != tt.host || string(r.Path) != tt.path || string(r.Query) != tt.query {
				t.Errorf("host %q, path %q, query %q; want %q, %q, %q", r.Host, r.Path, r.Query, tt.host, tt.path, tt.query)
			}
			if r.Minor != tt.minor || r.ContentLength != tt.length || r.Chunked != tt.chunked {
				t.Errorf("minor %d, length %d, chunked %t; want %d, %d, %t", r.Minor, r.ContentLength, r.Chunked, tt.minor, tt.length, tt.chunked)
			}
			for i := range tt.head {
				if n, err := r.Parse([]byte(tt.head[:i])); n != 0 || err != nil {
					t.Fatalf("Parse of the first %d bytes = %d, %v; want it to ask for more", i, n, err)
				}
			}
		})
	}
}

func TestRequestRefused(t *testing.T) {
	line := func(l string) string { return l + "\r\nHost: a\r\n\r\n" }
	field := func(f string) string { return "POST / HTTP/1.1\r\nHost: a\r\n" + f + "\r\n\r\n" }
	tests := []struct {
		name, head string
		want       error
	}{
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", errBareLF},
		{"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", errBareLF},
		{"bare LF as the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", errBareLF},
		{"bare LF first", "\n" + chrome, errBareLF},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", errTLS},
		{"TLS with a line feed in it", "\x16\x03\x01\x02\x00\x01\n\x01\xfc\x03\x03", errTLS},
		{"TLS, the first byte", "\x16", errTLS},
		{"PROXY protocol 1", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + chrome, errProxyProtocol},
		{"PROXY protocol 2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", errProxyProtocol},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", errHTTP2},
		{"HTTP/0.9", "GET /\r\n", errRequestLine},
		{"HTTP/2.0", line("GET / HTTP/2.0"), errMajor},
		{"HTTP/1.01", line("GET / HTTP/1.01"), errVersion},
		{"HTTP/x.1", line("GET / HTTP/x.1"), errVersion},
		{"lower case version", line("GET / http/1.1"), errVersion},
		{"space after the version", line("GET / HTTP/1.1 "), errVersion},
		{"two spaces", line("GET  / HTTP/1.1"), errTargetByte},
		{"tab for a space", line("GET\t/ HTTP/1.1"), errRequestLine},
		{"method is no token", line("G(T / HTTP/1.1"), errMethod},
		{"no method", line(" / HTTP/1.1"), errMethod},
		{"no target", line("GET  HTTP/1.1"), errRequestLine},
		{"CONNECT", line("CONNECT a:80 HTTP/1.1"), errConnect},
		{"CONNECT of a path", line("CONNECT / HTTP/1.1"), errConnect},
		{"relative target", line("GET x HTTP/1.1"), errTarget},
		{"authority as a target", line("GET a:80 HTTP/1.1"), errTarget},
		{"other scheme", line("GET ftp://a/ HTTP/1.1"), errTarget},
		{"scheme without host", line("GET http:///x HTTP/1.1"), errHost},
		{"user in the target", line("GET http://u@a/ HTTP/1.1"), errHost},
		{"asterisk with GET", line("GET * HTTP/1.1"), errTarget},
		{"asterisk with more", line("OPTIONS *x HTTP/1.1"), errTarget},
		{"space in the target", line("GET /a b HTTP/1.1"), errTargetByte},
		{"control byte in the target", line("GET /a\x01 HTTP/1.1"), errTargetByte},
		{"DEL in the target", line("GET /a\x7f HTTP/1.1"), errTargetByte},
		{"raw UTF-8 in the target", line("GET /ä HTTP/1.1"), errTargetByte},
		{"fragment", line("GET /a#b HTTP/1.1"), errTargetByte},
		{"bad escape", line("GET /%4 HTTP/1.1"), errTargetEscape},
		{"bad escape, not hex", line("GET /%4x HTTP/1.1"), errTargetEscape},
		{"no host", "GET / HTTP/1.1\r\n\r\n", errHostMissing},
		{"no host, absolute-form", "GET http://a/ HTTP/1.1\r\n\r\n", errHostMissing},
		{"two hosts", field("host: a"), errHostTwice},
		{"empty host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", errHost},
		{"bad host beside absolute-form", "GET http://a/ HTTP/1.1\r\nHost: a/b\r\n\r\n", errHost},
		{"space before the colon", field("A : b"), errFieldName},
		{"no colon", field("A"), errFieldName},
		{"no name", field(": b"), errFieldName},
		{"NUL in a name", field("A\x00: b"), errFieldName},
		{"folded", field("A: b\r\n c"), errFold},
		{"folded at once", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", errFold},
		{"NUL in a value", field("A: b\x00"), errFieldValue},
		{"CR in a value", field("A: b\rc"), errFieldValue},
		{"CR before CR LF", field("A: b\r"), errFieldValue},
		{"DEL in a value", field("A: \x7f"), errFieldValue},
		{"lengths that differ", field("Content-Length: 1\r\nContent-Length: 2"), errLengthTwice},
		{"lengths that agree", field("Content-Length: 1\r\nContent-Length: 1"), errLengthTwice},
		{"list of lengths", field("Content-Length: 1, 1"), errLength},
		{"signed length", field("Content-Length: +1"), errLength},
		{"negative length", field("Content-Length: -1"), errLength},
		{"hex length", field("Content-Length: 0x1"), errLength},
		{"empty length", field("Content-Length:"), errLength},
		{"length above an int64", field("Content-Length: 9223372036854775808"), errLength},
		{"length and encoding", field("Content-Length: 1\r\nTransfer-Encoding: chunked"), errLengthEncoding},
		{"encoding and length", field("Transfer-Encoding: chunked\r\nContent-Length: 1"), errLengthEncoding},
		{"other encoding", field("Transfer-Encoding: gzip, chunked"), errCoding},
		{"identity", field("Transfer-Encoding: identity"), errCoding},
		{"chunked twice", field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), errEncoding},
		{"chunked, nearly", field("Transfer-Encoding: \x0bchunked"), errFieldValue},
		{"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", errEncoding},
		{"length as a trailer", field("Transfer-Encoding: chunked\r\nTrailer: x, content-length"), errTrailer},
		{"101 fields", field(strings.Repeat("a: b\r\n", 100) + "a: b"), ErrTooManyFields},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Request
			n, err := r.Parse([]byte(tt.head))
			if n != 0 || err != tt.want {
				t.Fatalf("Parse = %d, %v; want %v", n, err, tt.want)
			}
			if syntax := new(SyntaxError); !errors.As(err, &syntax) || syntax.Reason == "" {
				t.Errorf("%v is not a SyntaxError with a reason", err)
			}
		})
	}
}

func TestEndOfHead(t *testing.T) {
	head := []byte(chrome)
	for seen := range head {
		if n := EndOfHead(head[:len(head)-1], seen); n != -1 {
			t.Fatalf("EndOfHead of a part, %d bytes seen = %d; want -1", seen, n)
		}
		if n := EndOfHead(append(head, "more"...), seen); n != len(head) {
			t.Fatalf("EndOfHead, %d bytes seen = %d; want %d", seen, n, len(head))
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	head := []byte(chrome)
	var r Request
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := r.Parse(head); n != len(head) {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkRequestBytewise parses a head that comes in single bytes, as if it were read
// byte by byte.
func BenchmarkRequestBytewise(b *testing.B) {
	head := []byte(chrome)
	b.ReportAllocs()
	for b.Loop() {
		for i := range head {
			if n := EndOfHead(head[:i+1], i); n > 0 && n != len(head) {
				b.Fatal(n)
			}
		}
	}
}

// TestNoAllocation checks both outcomes: a flood of bad requests must not cause garbage
// collections.
func TestNoAllocation(t *testing.T) {
	var r Request
	for _, head := range []string{chrome, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"} {
		b := []byte(head)
		if n := testing.AllocsPerRun(100, func() { r.Parse(b) }); n != 0 {
			t.Errorf("%.0f allocations for %.20q…", n, head)
		}
	}
}
