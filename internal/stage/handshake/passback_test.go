package handshake

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// response is a whole response as a client of net/http sees it.
type response struct {
	status int
	header http.Header
	body   string
	close  bool
	err    error // from reading the body
}

// parseResponse reads the only response in s.
func parseResponse(t *testing.T, s string) response {
	t.Helper()
	from := bufio.NewReader(strings.NewReader(s))
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatalf("%v in %q", err, s)
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil && from.Buffered() > 0 {
		t.Errorf("more follows the response in %q", s)
	}
	return response{resp.StatusCode, resp.Header, string(body), resp.Close, err}
}

func TestPassBack(t *testing.T) {
	big := strings.Repeat("0123456789", 10000)
	tests := []struct {
		name   string
		pieces []string
		status int
		body   string
	}{
		{"length", []string{"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\n"}, 403, "no!\n"},
		{"length, in pieces", bytewise("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\n"), 403, "no!\n"},
		{"length, and more than that", []string{"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 200 OK\r\n\r\n"}, 403, "no"},
		{"big", []string{"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + big[:500], big[500:50000], big[50000:]}, 200, big},
		{"chunked", []string{"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n2\r\nab\r\n", "1\r\nc\r\n0\r\na: b\r\n\r\n"}, 500, "abc"},
		{"until EOF", []string{"HTTP/1.1 404 Not Found\r\n\r\n", "until ", "the end"}, 404, "until the end"},
		{"HTTP/1.0", []string{"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx"}, 404, "x"},
		{"no body", []string{"HTTP/1.1 204 No Content\r\n\r\n"}, 204, ""},
		{"empty body", []string{"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"}, 302, ""},
		{"not modified", []string{"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"}, 304, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			backend, client := &conn{pieces: tt.pieces}, &conn{}
			buf := make([]byte, 1024)
			var resp httphead.Response
			_, have, err := ReadResponse(backend, buf, &resp)
			if err != nil {
				t.Fatal(err)
			}
			if err := PassBack(client, backend, &Upgrade{Method: []byte("GET")}, buf[:have], time.Minute, nil); err != nil {
				t.Fatal(err)
			}
			got := parseResponse(t, client.written.String())
			if got.status != tt.status || got.body != tt.body || got.err != nil || !got.close {
				t.Errorf("the client got %d, %d bytes, close %t, %v", got.status, len(got.body), got.close, got.err)
			}
			if !strings.HasPrefix(client.written.String(), "HTTP/1.1 ") {
				t.Errorf("the client got %.20q", client.written.String())
			}
		})
	}
}

func TestPassBackFields(t *testing.T) {
	passed := func(head string) http.Header {
		client := &conn{}
		if err := PassBack(client, &conn{}, &Upgrade{Method: []byte("GET")}, []byte(head), time.Minute, nil); err != nil {
			t.Fatal(err)
		}
		return parseResponse(t, client.written.String()).header
	}
	h := passed("HTTP/1.1 401 Unauthorized\r\nConnection: close, x-named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n" +
		"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
	for _, name := range []string{"X-Named", "Keep-Alive", "Upgrade"} {
		if h.Get(name) != "" {
			t.Errorf("%s is passed on", name)
		}
	}
	if len(h["Set-Cookie"]) != 2 || h.Get("WWW-Authenticate") != "Basic" {
		t.Errorf("fields got lost: %v", h)
	}
	h = passed("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n")
	if h.Get("Upgrade") != "websocket" || h.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("a 426 does not say to what: %v", h)
	}
}

func TestPassBackBroken(t *testing.T) {
	big := strings.Repeat("0123456789", 10000)
	passBack := func(client, backend *conn) error {
		head := backend.pieces[0]
		backend.pieces = backend.pieces[1:]
		return PassBack(client, backend, &Upgrade{Method: []byte("GET")}, []byte(head), time.Minute, nil)
	}
	t.Run("before anything was sent", func(t *testing.T) {
		client := &conn{}
		checkBackendError(t, passBack(client, &conn{pieces: []string{"HTTP/1.1 403 Forbidden\r\n"}}), ReasonMalformed)
		if client.written.Len() > 0 {
			t.Errorf("the client got %q", client.written.String())
		}
	})
	t.Run("later", func(t *testing.T) {
		for name, tt := range map[string]struct {
			backend *conn
			body    string
		}{
			"truncated":       {&conn{pieces: []string{"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno"}}, "no"},
			"truncated later": {&conn{pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", big}}, big},
			"truncated chunk": {&conn{pieces: []string{"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nno"}}, "no"},
			"bad chunk":       {&conn{pieces: []string{"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno"}}, ""},
			"reset":           {&conn{pieces: []string{"HTTP/1.1 403 Forbidden\r\n\r\nno"}, end: syscall.ECONNRESET}, "no"},
			"slow":            {&conn{pieces: []string{"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno"}, end: os.ErrDeadlineExceeded}, "no"},
		} {
			client := &conn{}
			err := passBack(client, tt.backend)
			if broken := new(BackendError); err == nil || errors.As(err, &broken) {
				t.Errorf("%s: error %v; want one that is no BackendError", name, err)
			}
			if got := parseResponse(t, client.written.String()); got.body != tt.body || got.err != io.ErrUnexpectedEOF {
				t.Errorf("%s: the client got %d bytes and %v", name, len(got.body), got.err)
			}
		}
	})
	t.Run("the client is gone", func(t *testing.T) {
		client := &conn{broken: syscall.EPIPE}
		err := PassBack(client, &conn{}, &Upgrade{Method: []byte("GET")}, []byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"), time.Minute, nil)
		if !errors.Is(err, syscall.EPIPE) {
			t.Errorf("error %v; want EPIPE", err)
		}
	})
}
