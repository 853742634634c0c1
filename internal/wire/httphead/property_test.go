package httphead

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestNetHTTPReadsTheSame builds heads from pieces that parsers are known to disagree
// about, and that a fuzzer alone finds too rarely.
func TestNetHTTPReadsTheSame(t *testing.T) {
	pick := func(t *rapid.T, label string, usual float64, pieces ...string) string {
		if rapid.Float64Range(0, 1).Draw(t, "usual "+label) < usual {
			return pieces[0]
		}
		return rapid.SampledFrom(pieces).Draw(t, label)
	}
	fields := func(t *rapid.T, usual float64) string {
		var b strings.Builder
		for range rapid.IntRange(0, 4).Draw(t, "fields") {
			b.WriteString(pick(t, "name", 0, "Content-Length", "content-length", "Transfer-Encoding", "TRANSFER-encoding", "Trailer",
				"Host", "Connection", "Upgrade", "HTTP2-Settings", "Pragma", "Cache-Control", "X", "x!#$%&'*+-.^_`|~", "X Y", "X\x00", "é", ""))
			b.WriteString(pick(t, "colon", usual, ": ", ":", " :", "\t:", ":\t ", ":\v", "", ": \r"))
			b.WriteString(pick(t, "value", 0, "0", "5", "005", "+5", "-0", "5,5", "5, 6", "1_0", "0x5", "99999999999999999999", "chunked", "Chunked",
				"chunked, chunked", "gzip, chunked", "identity", "", "a.example", "A.example:80", "[::1]:80", "a b", "b/c", "close, upgrade",
				"h2c", "websocket", "no-cache", "x, content-length", "\"x, trailer\"", "trailer", "\x7f", "\x00", "\xff", "a\tb", "a\r\n b", "a\n b", "a\rb"))
			b.WriteString(pick(t, "space", usual, "", " ", "\t", "\r", "\v", "\u00a0"))
			b.WriteString(pick(t, "end", usual, "\r\n", "\n", "\r", "\r\r\n"))
		}
		return b.String() + pick(t, "empty line", usual, "\r\n", "\n", "\r\r\n", " \r\n\r\n") + "0\r\n\r\n"
	}
	accepted := 0
	t.Run("request", rapid.MakeCheck(func(t *rapid.T) {
		usual := rapid.SampledFrom([]float64{0.5, 0.98}).Draw(t, "usual")
		var head strings.Builder
		head.WriteString(pick(t, "method", usual, "GET", "POST", "OPTIONS", "HEAD", "PRI", "CONNECT", "get", "G/T", "", "G\tT"))
		head.WriteString(pick(t, "space", usual, " ", "  ", "\t", "", "\v"))
		head.WriteString(pick(t, "target", 0, "/", "/a/b?c=d", "*", "/*", "//a/b", "///", "http://b", "HTTPS://b.example:80/x", "http://b?x/y", "http://[::1]:1/", "http://[::1",
			"http://u:p@b/", "http://b:x/", "http://b:/", "http:b", "http:/b", "ftp://b/", "ws://b/", "b:80", "b", "/%", "/%2", "/%2f%2E%00", "/a?%", "/?", "/??", "/#", "/a;b,c\\d|e^{}\"<>",
			"/\x7f", "/\x80", "/a b", "/a:b", "/../x", "?", "http://b/?", "http://b%41/", "http://%2f/"))
		head.WriteString(pick(t, "space", usual, " ", "  ", "\t", "", "\v"))
		head.WriteString(pick(t, "version", usual, "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.10", "HTTP/01.1", "HTTP/1", ""))
		head.WriteString(pick(t, "end", usual, "\r\n", "\n", " \r\n", "\r\r\n"))
		head.WriteString(pick(t, "host", usual, "Host: a.example\r\n", "", "Host:\r\n", "host:\ta.example:80 \r\n"))
		head.WriteString(fields(t, usual))
		if compareRequest(t, []byte(head.String())) {
			accepted++
		}
	}))
	t.Run("response", rapid.MakeCheck(func(t *rapid.T) {
		usual := rapid.SampledFrom([]float64{0.5, 0.98}).Draw(t, "usual")
		var head strings.Builder
		head.WriteString(pick(t, "version", usual, "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.10", "http/1.1", ""))
		head.WriteString(pick(t, "space", usual, " ", "  ", "\t", ""))
		head.WriteString(pick(t, "status", 0, "200", "101", "100", "204", "304", "426", "999", "099", "+20", "2e1", "20", "2000", ""))
		head.WriteString(pick(t, "reason", usual, " OK", "", " ", "  OK", "\tOK", " \xff", " \x00", "OK"))
		head.WriteString(pick(t, "end", usual, "\r\n", "\n", "\r\r\n"))
		head.WriteString(fields(t, usual))
		if compareResponse(t, []byte(head.String())) {
			accepted++
		}
	}))
	if accepted == 0 {
		t.Error("no head was accepted, so nothing was compared")
	}
}
