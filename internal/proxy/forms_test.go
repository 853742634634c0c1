package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

const wsFields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"

// forms are requests, usual and unusual ones, with the right answer to each by RFC
// 9112 §2, §3 and §7 and RFC 6455 §4.2.1, including the SHOULDs. They were compared
// with nginx 1.22 and HAProxy 2.6 in front of the same backend; if holdfast agrees
// with neither, why gives the reason. HAProxy answers 400 to a target with another
// host than the Host field, although RFC 9112 §3.2.2 says that a proxy replaces it.
var forms = []struct {
	name, request  string
	status         int
	seen           string // by the backend: method, target and host; "" for nothing
	nginx, haproxy int    // their status; 0 is none
	why            string
}{
	{"plain", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"websocket", "GET /x HTTP/1.1\r\nHost: a\r\n" + wsFields + "\r\n",
		101, "GET /x a", 101, 101, ""},
	{"absolute http", "GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x?y b", 200, 400, ""},
	{"absolute https", "GET https://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x b", 200, 400, ""},
	{"absolute ws", "GET ws://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x b", 200, 400, ""},
	{"absolute ws, websocket", "GET ws://b/x HTTP/1.1\r\nHost: a\r\n" + wsFields + "\r\n",
		101, "GET /x b", 101, 400, ""},
	{"absolute wss, websocket", "GET wss://b/x HTTP/1.1\r\nHost: a\r\n" + wsFields + "\r\n",
		101, "GET /x b", 101, 400, ""},
	{"absolute http, websocket", "GET http://b/x HTTP/1.1\r\nHost: a\r\n" + wsFields + "\r\n",
		101, "GET /x b", 101, 400, ""},
	{"absolute, upper case scheme", "GET HTTP://B/x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x B", 200, 400, ""},
	{"absolute without path", "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET / b", 200, 400, ""},
	{"absolute without path, query", "GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /?y b", 200, 400, ""},
	{"absolute with userinfo", "GET http://u:p@b/x HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 400, 400, ""},
	{"absolute with empty port", "GET http://b:/x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x b:", 200, 400, ""},
	{"absolute ftp", "GET ftp://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 200, 400, ""},
	{"absolute without host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 400, 200, ""},
	{"absolute, no Host", "GET http://b/x HTTP/1.1\r\n\r\n",
		400, "", 400, 200, ""},
	{"absolute OPTIONS without path", "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "OPTIONS * b", 200, 400, ""},
	{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "", 400, 200, ""},
	{"GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 400, 200, ""},
	{"CONNECT", "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
		501, "", 400, 400, "nothing here can serve it, which is what 501 says (RFC 9110 §15.6.2)"},
	{"unknown method", "PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "PROPFIND /x a", 200, 200, ""},
	{"lower case method", "get /x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "get /x a", 400, 200, ""},
	{"empty line first", "\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"two empty lines first", "\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"bare LF line first", "\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 200, 200, "RFC 9112 §2.2 lets a recipient take a bare LF for the end of a line; one that doesn't would read another request"},
	{"bare LF in the request line", "GET /x HTTP/1.1\nHost: a\r\n\r\n",
		400, "", 200, 200, "RFC 9112 §2.2 lets a recipient take a bare LF for the end of a line; one that doesn't would read another request"},
	{"bare LF throughout", "GET /x HTTP/1.1\nHost: a\n\n",
		400, "", 200, 200, "RFC 9112 §2.2 lets a recipient take a bare LF for the end of a line; one that doesn't would read another request"},
	{"bare CR in a field", "GET /x HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n",
		400, "", 400, 400, ""},
	{"NUL in a field", "GET /x HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n",
		400, "", 400, 200, ""},
	{"obs-text in a field", "GET /x HTTP/1.1\r\nHost: a\r\nA: \xe4\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"obs-fold", "GET /x HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
		400, "", 400, 200, ""},
	{"fold before the first field", "GET /x HTTP/1.1\r\n Host: a\r\n\r\n",
		400, "", 400, 400, ""},
	{"space before the colon", "GET /x HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
		400, "", 400, 400, ""},
	{"field without colon", "GET /x HTTP/1.1\r\nHost: a\r\nA\r\n\r\n",
		400, "", 200, 400, ""},
	{"empty field name", "GET /x HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
		400, "", 400, 400, ""},
	{"empty field value", "GET /x HTTP/1.1\r\nHost: a\r\nA:\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"field name with _", "GET /x HTTP/1.1\r\nHost: a\r\nA_B: c\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"two spaces in the line", "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 200, 200, "RFC 9112 §3 lets a recipient split at any whitespace; one that doesn't would read another target"},
	{"tab in the line", "GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 400, 200, ""},
	{"space at the end of the line", "GET /x HTTP/1.1 \r\nHost: a\r\n\r\n",
		400, "", 200, 400, ""},
	{"space in the target", "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 400, 400, ""},
	{"raw UTF-8 in the path", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 200, 400, ""},
	{"raw UTF-8 in the query", "GET /x?\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 200, 400, ""},
	{"fragment", "GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 200, 400, ""},
	{"unusual but allowed by browsers", "GET /x|y{z}\"^`<>\\ HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x|y{z}\"^`<>\\ a", 200, 200, ""},
	{"escaped", "GET /%e4%2Fx HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /%e4%2Fx a", 200, 200, ""},
	{"bad escape in the path", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 400, 200, ""},
	{"bad escape in the query", "GET /x?%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x?%zz a", 200, 200, ""},
	{"escaped NUL", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /%00 a", 400, 200, ""},
	{"dots", "GET /a/../x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /a/../x a", 200, 200, ""},
	{"double slash", "GET //x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET //x a", 200, 200, ""},
	{"empty query", "GET /x? HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "GET /x? a", 200, 200, ""},
	{"HTTP/1.0", "GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"HTTP/1.0 without Host", "GET /x HTTP/1.0\r\n\r\n",
		200, "GET /x", 200, 200, ""},
	{"HTTP/1.0, websocket", "GET /x HTTP/1.0\r\nHost: a\r\n" + wsFields + "\r\n",
		400, "", 101, 101, "RFC 6455 §4.2.1 wants HTTP/1.1. To ignore Upgrade, as RFC 9110 §7.8 has it, would send a backend a plain GET, and nobody would learn that a proxy in front is set up wrong"},
	{"HTTP/0.9", "GET /x\r\n\r\n",
		400, "", 0, 400, ""},
	{"HTTP/1.2", "GET /x HTTP/1.2\r\nHost: a\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"HTTP/2.0", "GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
		505, "", 505, 200, ""},
	{"HTTP/1.01", "GET /x HTTP/1.01\r\nHost: a\r\n\r\n",
		400, "", 200, 400, ""},
	{"lower case version", "GET /x http/1.1\r\nHost: a\r\n\r\n",
		400, "", 400, 400, ""},
	{"no Host", "GET /x HTTP/1.1\r\n\r\n",
		400, "", 400, 200, ""},
	{"two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		400, "", 400, 400, ""},
	{"two Hosts, the same", "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		400, "", 400, 200, ""},
	{"empty Host", "GET /x HTTP/1.1\r\nHost:\r\n\r\n",
		400, "", 400, 200, ""},
	{"Host with a port", "GET /x HTTP/1.1\r\nHost: a:80\r\n\r\n",
		200, "GET /x a:80", 200, 200, ""},
	{"Host with an empty port", "GET /x HTTP/1.1\r\nHost: a:\r\n\r\n",
		200, "GET /x a:", 200, 200, ""},
	{"Host with a bad port", "GET /x HTTP/1.1\r\nHost: a:b\r\n\r\n",
		400, "", 200, 200, "RFC 9112 §3.2: a server must answer 400"},
	{"Host with a path", "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
		400, "", 400, 200, ""},
	{"Host with userinfo", "GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n",
		400, "", 200, 200, "RFC 9112 §3.2: a server must answer 400"},
	{"Host IPv6", "GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		200, "GET /x [::1]:80", 200, 200, ""},
	{"Content-Length 0", "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"GET with a body", "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
		200, "GET /x a", 200, 200, ""},
	{"POST", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
		200, "POST /x a", 200, 200, ""},
	{"POST without a length", "POST /x HTTP/1.1\r\nHost: a\r\n\r\n",
		200, "POST /x a", 200, 200, ""},
	{"Content-Length with zeros", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 004\r\n\r\nbody",
		200, "POST /x a", 200, 200, ""},
	{"Content-Length twice, the same", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
		400, "", 400, 200, ""},
	{"Content-Length list, the same", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nbody",
		400, "", 400, 200, ""},
	{"Content-Length twice, different", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
		400, "", 400, 400, ""},
	{"Content-Length with a sign", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody",
		400, "", 400, 400, ""},
	{"Content-Length empty", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nbody",
		400, "", 400, 400, ""},
	{"Content-Length and chunked", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		400, "", 400, 200, ""},
	{"chunked", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		200, "POST /x a", 200, 200, ""},
	{"chunked, upper case", "POST /x HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		200, "POST /x a", 200, 200, ""},
	{"chunked with an extension", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;a=\"b\"\r\nbody\r\n0\r\n\r\n",
		200, "POST /x a", 200, 200, ""},
	{"chunked with space behind the size", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4  \r\nbody\r\n0\r\n\r\n",
		200, "POST /x a", 200, 200, ""},
	{"chunked with a trailer", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n4\r\nbody\r\n0\r\nX: y\r\n\r\n",
		200, "POST /x a", 200, 200, ""},
	{"chunked with a bad size", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nbody\r\n0\r\n\r\n",
		400, "", 400, 400, ""},
	{"chunked with bare LF", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\nbody\n0\n\n",
		400, "", 200, 200, "RFC 9112 §2.2 lets a recipient take a bare LF for the end of a line; one that doesn't would read another request"},
	{"chunked with a long chunk", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbody\r\n0\r\n\r\n",
		400, "", 400, 400, ""},
	{"chunked in HTTP/1.0", "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		400, "", 400, 200, ""},
	{"gzip, chunked", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		501, "", 501, 422, ""},
	{"identity", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nbody",
		501, "", 501, 400, ""},
	{"chunked, chunked", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		501, "", 501, 400, ""},
	{"Trailer names Content-Length", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		400, "", 200, 200, "RFC 9110 §6.5.1: what frames a message can't come behind it"},
	{"Expect: 100-continue", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody",
		200, "POST /x a", 200, 200, ""},
	{"Expect: something else", "GET /x HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n",
		417, "", 200, 200, "RFC 9110 §10.1.1: an expectation that nobody knows can't be met"},
	{"websocket, lower case", "GET /x HTTP/1.1\r\nHost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		101, "GET /x a", 101, 101, ""},
	{"websocket, lists", "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, , Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		101, "GET /x a", 101, 101, ""},
	{"websocket, two Connection fields", "GET /x HTTP/1.1\r\nHost: a\r\n" + wsFields + "Connection: keep-alive\r\n\r\n",
		101, "GET /x a", 101, 101, ""},
	{"websocket, Upgrade with h2c", "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		101, "GET /x a", 200, 200, "RFC 6455 §4.2.1: websocket is in the list, and is all that is spoken here"},
	{"websocket without Connection", "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		400, "", 101, 502, "RFC 6455 §4.2.1: no handshake, and the client learns why"},
	{"websocket without Upgrade", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"websocket without a key", "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
		400, "", 101, 400, ""},
	{"websocket, bad key", "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: abc\r\n\r\n",
		400, "", 101, 400, ""},
	{"websocket, two keys", "GET /x HTTP/1.1\r\nHost: a\r\n" + wsFields + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		400, "", 101, 101, "RFC 6455 §4.2.1: no handshake, and the client learns why"},
	{"websocket, version 8", "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		426, "", 101, 101, "RFC 6455 §4.4"},
	{"websocket by POST", "POST /x HTTP/1.1\r\nHost: a\r\n" + wsFields + "\r\n",
		405, "", 101, 101, "RFC 6455 §4.2.1: it must be GET"},
	{"websocket with Content-Length 0", "GET /x HTTP/1.1\r\nHost: a\r\n" + wsFields + "Content-Length: 0\r\n\r\n",
		101, "GET /x a", 101, 101, ""},
	{"websocket with a body", "GET /x HTTP/1.1\r\nHost: a\r\n" + wsFields + "Content-Length: 4\r\n\r\nbody",
		400, "", 101, 200, "what follows a handshake are frames; a body would be taken for some"},
	{"websocket, chunked", "GET /x HTTP/1.1\r\nHost: a\r\n" + wsFields + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		400, "", 101, 200, "what follows a handshake are frames; a body would be taken for some"},
	{"upgrade to h2c", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
		200, "GET /x a", 200, 200, ""},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		505, "", 400, 0, "RFC 9110 §15.6.6"},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		0, "", 400, 400, "the client expects TLS, and gets an alert"},
	{"target too long", "GET /" + strings.Repeat("x", 70000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
		414, "", 414, 400, ""},
	{"head too large", "GET /x HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("x", 70000) + "\r\n\r\n",
		431, "", 400, 400, "RFC 6585 §5"},
	{"PROXY protocol", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		400, "", 400, 400, ""},
}

// TestRequestForms: each form has its answer, and is read in the same way
// whether it is the first request of its connection or a later one.
func TestRequestForms(t *testing.T) {
	for _, form := range forms {
		if form.status != form.nginx && form.status != form.haproxy && form.why == "" {
			t.Errorf("%s: we differ from both, and nobody knows why", form.name)
		}
	}
	eachEngine(t, func(t *testing.T, engine string) {
		b := formsBalancer(t, engine)
		for _, form := range forms {
			for _, before := range []int{0, 1, 2} {
				status, saw := askForm(t, b.addr, form.request, before)
				if status != form.status || saw != form.seen {
					t.Errorf("%s, after %d others: status %d, and the backend saw %q; want %d and %q", form.name, before, status, saw, form.status, form.seen)
				}
			}
		}
	})
}

// FuzzRequestForms: the first request of a connection and a second one have the
// same answer, and the backend sees the same.
func FuzzRequestForms(f *testing.F) {
	for _, form := range forms {
		if len(form.request) < 1<<10 {
			f.Add([]byte(form.request))
		}
	}
	b := formsBalancer(f, testkit.Engines()[0])
	f.Fuzz(func(t *testing.T, request []byte) {
		if bytes.HasPrefix(bytes.TrimLeft(request, "\r\n"), []byte{22}) {
			return // it looks like TLS on a plain port, which only the first request is asked about
		}
		first, firstSaw := askForm(t, b.addr, string(request), 0)
		second, secondSaw := askForm(t, b.addr, string(request), 1)
		if first != second || firstSaw != secondSaw {
			t.Errorf("as the first request: %d, %q; as the second: %d, %q", first, firstSaw, second, secondSaw)
		}
	})
}

// formsBalancer is a balancer in front of a backend that accepts every complete
// request and answers what it saw.
func formsBalancer(t testing.TB, engine string) *balancer {
	server := newBackend(t, func(p *peer, head string) {
		req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), p.br)))
		if err != nil {
			t.Errorf("the backend can't read %q: %v", head, err)
			p.Close()
			return
		}
		saw := "X-Saw: " + strconv.QuoteToASCII(strings.TrimSpace(req.Method+" "+req.RequestURI+" "+req.Host))
		if strings.Contains(head, "Upgrade: websocket") {
			io.WriteString(p, switching(saw))
			io.Copy(io.Discard, p.br)
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			p.Close()
			return
		}
		io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"+saw+"\r\n\r\n")
	})
	return start(t, engine, setup{backends: []string{server.addr}, maxSessions: 10000})
}

// askForm sends a request behind others on one connection. It returns the final
// status, 0 for none, and what the backend saw of it.
func askForm(t testing.TB, addr, request string, before int) (status int, saw string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	c := &client{nc, t, bufio.NewReader(nc)}
	for range before {
		c.send("GET /before HTTP/1.1\r\nHost: a\r\n\r\n").want(200)
	}
	_, err = io.WriteString(c, request)
	var head httphead.Request
	if n, _ := head.Parse([]byte(request)); err == nil && (n == 0 || !head.Fields.HasToken("upgrade", "websocket")) {
		// Whoever waits for more waits for nothing. A handshake would end.
		nc.(*net.TCPConn).CloseWrite()
	}
	for {
		res, err := http.ReadResponse(c.br, &http.Request{Method: string(head.Method)})
		if err != nil {
			return 0, ""
		}
		if status := res.StatusCode; status >= 200 || status == http.StatusSwitchingProtocols {
			if status == 499 { // the end of a body that broke off was seen before the break
				status = http.StatusBadRequest
			}
			saw, _ := strconv.Unquote(res.Header.Get("X-Saw"))
			return status, saw
		}
	}
}
