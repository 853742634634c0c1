//go:build unix

package hostile

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	get    = "GET /x HTTP/1.1\r\n"
	host   = "Host: a\r\n"
	key    = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	asks   = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key
	hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
)

// requests are hostile. The backend may see no more than one request of each, and
// never the hidden one.
var requests = []struct {
	name, bytes string
	// status is that of the answer; 0 is none.
	status int
	// absent must not be in what the backend sees. If it is "", the backend must
	// see nothing.
	absent string
}{
	{"two spaces in the line", "GET  /x HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"tab in the line", "GET\t/x HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"vertical tab in the line", "GET /x\x0bHTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"space in the target", "GET /x /y HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"a second version in the line", "GET /x HTTP/1.1 HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"no version", "GET /x\r\n" + host + asks + "\r\n", 400, ""},
	{"HTTP/1.0", "GET /x HTTP/1.0\r\n" + host + asks + "\r\n", 400, ""},
	{"HTTP/0.9 then a request", "GET /x\r\n" + hidden, 400, ""},
	{"HTTP/3.0", "GET /x HTTP/3.0\r\n" + host + asks + "\r\n", 505, ""},
	{"HTTP/1.1 with a plus", "GET /x HTTP/+1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"HTTP/1,1", "GET /x HTTP/1,1\r\n" + host + asks + "\r\n", 400, ""},
	{"lower case version", "GET /x http/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"POST handshake", "POST /x HTTP/1.1\r\n" + host + asks + "\r\n", 405, ""},
	{"HEAD handshake", "HEAD /x HTTP/1.1\r\n" + host + asks + "\r\n", 405, ""},
	{"lower case get", "get /x HTTP/1.1\r\n" + host + asks + "\r\n", 405, ""},
	{"CONNECT", "CONNECT a:80 HTTP/1.1\r\n" + host + asks + "\r\n", 501, ""},
	{"fragment in the target", "GET /x#y HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"NUL in the target", "GET /x\x00 HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"DEL in the target", "GET /x\x7f HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"raw UTF-8 in the target", "GET /\xc3\xa4 HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"bad escape in the path", "GET /%zz HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"CR in the target", "GET /x\rHTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"target without a slash", "GET x HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"absolute target with userinfo", "GET http://u@a/x HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"absolute target, another scheme", "GET file:///x HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"absolute target without a host", "GET http:///x HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"absolute target with another host", "GET http://b/x HTTP/1.1\r\nHost: hidden\r\n" + asks + "\r\n", 101, "hidden"},
	{"asterisk", "GET * HTTP/1.1\r\n" + host + asks + "\r\n", 400, ""},
	{"bare LF in the line", "GET /x HTTP/1.1\n" + host + asks + "\r\n", 400, ""},
	{"bare LF behind a field", get + "Host: a\n" + asks + "\r\n", 400, ""},
	{"bare LF ends the head", get + host + asks + "\n", 400, ""},
	{"bare CR behind a field", get + "Host: a\rA: b\r\n" + asks + "\r\n", 400, ""},
	{"CR CR LF", get + "Host: a\r\r\n" + asks + "\r\n", 400, ""},
	{"LF CR", get + "Host: a\n\r" + asks + "\r\n", 400, ""},
	{"NUL in a value", get + host + "A: b\x00c\r\n" + asks + "\r\n", 400, ""},
	{"NUL in a name", get + host + "A\x00B: c\r\n" + asks + "\r\n", 400, ""},
	{"escape in a value", get + host + "A: \x1b[2J\r\n" + asks + "\r\n", 400, ""},
	{"fold", get + host + "A: b\r\n c\r\n" + asks + "\r\n", 400, ""},
	{"fold with a tab", get + host + "A: b\r\n\tc\r\n" + asks + "\r\n", 400, ""},
	{"fold before the first field", get + " Host: a\r\n" + asks + "\r\n", 400, ""},
	{"fold that hides Connection", get + host + "A: b\r\n Connection: close\r\n" + asks + "\r\n", 400, ""},
	{"space before the colon", get + host + "A : b\r\n" + asks + "\r\n", 400, ""},
	{"space before the colon of Transfer-Encoding", get + host + asks + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden, 400, ""},
	{"field without colon", get + host + "A\r\n" + asks + "\r\n", 400, ""},
	{"empty field name", get + host + ": b\r\n" + asks + "\r\n", 400, ""},
	{"field name with a slash", get + host + "A/B: c\r\n" + asks + "\r\n", 400, ""},
	{"field name in UTF-8", get + host + "\xc3\xa4: c\r\n" + asks + "\r\n", 400, ""},
	{"no Host", get + asks + "\r\n", 400, ""},
	{"two Hosts", get + "Host: a\r\nHost: b\r\n" + asks + "\r\n", 400, ""},
	{"two equal Hosts", get + "Host: a\r\nHost: a\r\n" + asks + "\r\n", 400, ""},
	{"empty Host", get + "Host: \r\n" + asks + "\r\n", 400, ""},
	{"list of Hosts", get + "Host: a, b\r\n" + asks + "\r\n", 400, ""},
	{"Host with a path", get + "Host: a/b\r\n" + asks + "\r\n", 400, ""},
	{"Host with userinfo", get + "Host: b@a\r\n" + asks + "\r\n", 400, ""},
	{"Host with a bad port", get + "Host: a:b\r\n" + asks + "\r\n", 400, ""},
	{"Host with an open bracket", get + "Host: [::1\r\n" + asks + "\r\n", 400, ""},
	{"Content-Length", get + host + asks + "Content-Length: 5\r\n\r\nhello", 400, ""},
	{"Content-Length that hides a request", get + host + asks + "Content-Length: 37\r\n\r\n" + hidden, 400, ""},
	{"Content-Length 0 and a request", get + host + asks + "Content-Length: 0\r\n\r\n" + hidden, 101, "hidden"},
	{"Content-Length and chunked", get + host + asks + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 400, ""},
	{"chunked", get + host + asks + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 400, ""},
	{"chunked twice", get + host + asks + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501, ""},
	{"Transfer-Encoding identity", get + host + asks + "Transfer-Encoding: identity\r\n\r\n", 501, ""},
	{"Transfer-Encoding with a vertical tab", get + host + asks + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + hidden, 400, ""},
	{"Transfer_Encoding", get + host + asks + "Transfer_Encoding: hidden\r\n\r\n", 101, "hidden"},
	{"two Content-Lengths", get + host + asks + "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello", 400, ""},
	{"list of Content-Lengths", get + host + asks + "Content-Length: 0, 5\r\n\r\nhello", 400, ""},
	{"Content-Length with a sign", get + host + asks + "Content-Length: +5\r\n\r\nhello", 400, ""},
	{"negative Content-Length", get + host + asks + "Content-Length: -1\r\n\r\n", 400, ""},
	{"huge Content-Length", get + host + asks + "Content-Length: 99999999999999999999\r\n\r\n", 400, ""},
	{"Content-Length in hex", get + host + asks + "Content-Length: 0x5\r\n\r\nhello", 400, ""},
	{"Expect", get + host + asks + "Expect: 100-continue\r\n\r\n", 101, "get /hidden"},
	{"wrong version and a request", get + host + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 777\r\n" + key + "\r\n" + hidden, 426, ""},
	{"no version of WebSocket", get + host + "Upgrade: websocket\r\nConnection: Upgrade\r\n" + key + "\r\n", 426, ""},
	{"two versions of WebSocket", get + host + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\n" + key + "\r\n", 426, ""},
	{"no key", get + host + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n" + hidden, 400, ""},
	{"short key", get + host + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YQ==\r\n\r\n", 400, ""},
	{"key that isn't base64", get + host + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!!!\r\n\r\n", 400, ""},
	{"two keys", get + host + asks + key + "\r\n", 400, ""},
	{"Upgrade without Connection", get + host + "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + key + "\r\n" + hidden, 400, ""},
	{"Connection without Upgrade", get + host + "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key + "\r\n", 200, "upgrade"},
	{"upgrade to h2c", get + host + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: hidden\r\n\r\n", 200, "h2c"},
	{"upgrade to something else", get + host + "Upgrade: hidden\r\nConnection: Upgrade\r\n\r\n", 200, "hidden"},
	{"websocket and h2c", get + host + "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key + "\r\n", 101, "h2c"},
	{"Connection names Host", get + host + "Upgrade: websocket\r\nConnection: Upgrade, Host\r\nSec-WebSocket-Version: 13\r\n" + key + "\r\n", 101, "connection: upgrade, host"},
	{"Connection names the key", get + host + "Upgrade: websocket\r\nConnection: Upgrade, Sec-WebSocket-Key, Sec-WebSocket-Version\r\nSec-WebSocket-Version: 13\r\n" + key + "\r\n", 101, "connection: upgrade, sec"},
	{"Connection names X-Forwarded-For", get + host + "Upgrade: websocket\r\nConnection: Upgrade, X-Forwarded-For\r\nX-Forwarded-For: hidden\r\nSec-WebSocket-Version: 13\r\n" + key + "\r\n", 101, "hidden"},
	{"Connection names a secret field", get + host + "Upgrade: websocket\r\nConnection: Upgrade, X-Secret\r\nX-Secret: hidden\r\nSec-WebSocket-Version: 13\r\n" + key + "\r\n", 101, "hidden"},
	{"request before the answer", get + host + asks + "\r\n" + hidden, 101, "hidden"},
	{"X-Forwarded-For of a stranger", get + host + asks + "X-Forwarded-For: hidden\r\nX-Forwarded-Host: hidden\r\nX-Forwarded-Proto: hidden\r\nForwarded: for=hidden\r\n\r\n", 101, "hidden"},
	{"X_Forwarded_For", get + host + asks + "X_Forwarded_For: hidden\r\nX-Forwarded_For: hidden\r\nX_Real_IP: hidden\r\n\r\n", 101, "hidden"},
	{"fields of holdfast", get + host + asks + "Holdfast-Session: hidden\r\nHoldfast-Reattach: hidden\r\nHoldfast_Session: hidden\r\n\r\n", 101, "hidden"},
	{"Proxy-Connection", get + host + asks + "Proxy-Connection: hidden\r\nKeep-Alive: hidden\r\nTE: hidden\r\n\r\n", 101, "hidden"},
	{"Trailer", get + host + asks + "Trailer: X\r\n\r\n", 101, "trailer"},
	{"Sec-WebSocket-Accept of a client", get + host + asks + "Sec-WebSocket-Accept: hidden\r\n\r\n", 101, "get /hidden"},
	{"PROXY v1 of a stranger", "PROXY TCP4 6.6.6.6 1.1.1.1 1 2\r\n" + get + host + asks + "\r\n", 400, ""},
	{"PROXY v2 of a stranger", "\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\x06\x06\x06\x06\x01\x01\x01\x01\x00\x01\x00\x02" + get + host + asks + "\r\n", 400, ""},
	{"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0, ""},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505, ""},
	{"SSH", "SSH-2.0-OpenSSH_9.9\r\n", 400, ""},
	{"SMTP", "EHLO a\r\n", 400, ""},
	{"frames at once", "\x81\x85\x00\x00\x00\x00hello", 400, ""},
	{"zero bytes", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 400, ""},
	{"a field of 1 MiB", get + host + "A: " + megabyte + "\r\n" + asks + "\r\n", 431, ""},
	{"10,000 fields", get + host + manyFields + asks + "\r\n", 431, ""},
	{"a target of 1 MiB", "GET /" + megabyte + " HTTP/1.1\r\n" + host + asks + "\r\n", 414, ""},
	{"a method of 1 MiB", megabyte + " /x HTTP/1.1\r\n" + host + asks + "\r\n", 414, ""},
	{"1 MiB without a line end", megabyte, 414, ""},
	{"10,000 empty lines", emptyLines + get + host + asks + "\r\n", 431, ""},
}

var (
	megabyte   = strings.Repeat("a", 1<<20)
	manyFields = strings.Repeat("A: b\r\n", 10_000)
	emptyLines = strings.Repeat("\r\n", 10_000)
)

// exchange sends bytes to the balancer and returns the status of the first answer,
// and all of the answers. It returns when the balancer has closed the connection.
func exchange(t *testing.T, address, bytes string) (status int, answers string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(conn, bytes) // it may be refused before it is sent
	}()
	all := new(strings.Builder)
	in := bufio.NewReader(io.TeeReader(conn, all))
	res, err := http.ReadResponse(in, nil)
	if err == nil {
		status = res.StatusCode
	}
	conn.(*net.TCPConn).CloseWrite()
	_, err = io.Copy(io.Discard, in)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("the connection stays open after %q", all)
	}
	conn.Close()
	<-sent
	return status, all.String()
}

// TestHostileRequests: nothing ambiguous reaches a backend, and a backend sees at
// most one request on a connection.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	back := startRecorder(t, nil)
	for _, engine := range []string{"epoll", "portable"} {
		t.Run(engine, func(t *testing.T) {
			b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{back.address}}.YAML())
			_, seen := back.since(0)
			for _, tt := range requests {
				status, answers := exchange(t, b.Address, tt.bytes)
				if status != tt.status {
					t.Errorf("%s: status %d, want %d: %.300q", tt.name, status, tt.status, answers)
				}
				got, now := back.since(seen)
				seen = now
				switch {
				case tt.absent == "" && len(got) > 0:
					t.Errorf("%s: the backend gets %.500q", tt.name, got)
				case tt.absent != "":
					checkForwarded(t, tt.name, got, tt.absent)
				}
			}
			w, _, err := wspeer.Dial(b.Address, "/x")
			if err != nil {
				t.Fatalf("after all this, a good handshake: %v", err)
			}
			w.Close()
			b.Stop(t)
			if strings.ContainsAny(b.Stderr.String(), "\x00\x1b\r") {
				t.Error("a log line has bytes of a client that aren't escaped")
			}
		})
	}
}

// checkForwarded checks that got is one request without absent and without anything
// behind it.
func checkForwarded(t *testing.T, name string, got []string, absent string) {
	t.Helper()
	if len(got) != 1 {
		t.Errorf("%s: the backend gets %d connections: %.500q", name, len(got), got)
		return
	}
	head, rest, whole := strings.Cut(got[0], "\r\n\r\n")
	// A session's ID is random, and may have any letters in it.
	text := regexp.MustCompile(`Holdfast-Session: [0-9A-Z]+\r\n`).ReplaceAllString(got[0], "")
	if !whole || strings.Contains(strings.ToLower(text), absent) || strings.Contains(head, "\n\n") || strings.Contains(rest, "HTTP/1.1") {
		t.Errorf("%s: the backend gets %.800q", name, got[0])
	}
}
