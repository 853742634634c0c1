package proxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// isHandshake reports whether net/http, too, reads a WebSocket handshake at the beginning.
func isHandshake(request []byte) bool {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	return err == nil && r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) &&
		len(r.Header.Values("Sec-WebSocket-Key")) == 1 && r.Header.Get("Sec-WebSocket-Version") == "13" &&
		strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Upgrade"), ",")), "websocket")
}

// FuzzServe sends whatever bytes to the spine over a socket. It must answer
// with HTTP or close, soon, and come to an end without a panic.
func FuzzServe(f *testing.F) {
	for _, seed := range []string{
		"", "\r\n", "GET", upgrade("/"), upgrade("/ws?x=%20") + clientFrame(1, "hello") + clientFrame(8, "\x03\xe8"),
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n" + upgrade("/"),
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + upgrade("/"),
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01", upgrade("/") + "\xff\xff\xff\xff",
		upgrade("/") + clientFrame(1, "x")[:3], "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	server := echoing(f, "one")
	var addrs []string
	var balancers []*balancer
	engines := testkit.Engines()
	for _, engine := range engines {
		b := start(f, engine, setup{backends: []string{server.addr}, handshake: time.Second, maxSessions: 10_000})
		balancers, addrs = append(balancers, b), append(addrs, b.addr)
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		for i, addr := range addrs {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			nc.SetDeadline(time.Now().Add(patience))
			go func() { // it may be answered, and closed, before all is written
				nc.Write(request)
				nc.(*net.TCPConn).CloseWrite()
			}()
			br := bufio.NewReader(nc)
			if first, err := br.Peek(1); err == nil && first[0] != 21 { // an alert, for TLS
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Errorf("%s: the answer is no HTTP: %v", engines[i], err)
				} else if resp.StatusCode == 101 && !isHandshake(request) {
					t.Errorf("%s: 101 to %q", engines[i], request)
				}
			}
			if _, err := io.Copy(io.Discard, br); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection never ended", engines[i])
			}
			nc.Close()
		}
	})
	for _, b := range balancers {
		b.wait("the end of all sessions", func() bool { return len(b.opened) == len(b.ended) })
	}
}
