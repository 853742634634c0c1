package handshake

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

const browserRequest = "GET /chat?room=1 HTTP/1.1\r\n" +
	"Host: WS.example.com:8080\r\n" +
	"Connection: keep-alive, Upgrade\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: http://ws.example.com:8080\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Protocol: chat, superchat\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"\r\n"

// backendResponse answers browserRequest; the key and its answer are those of
// RFC 6455 §1.3.
const backendResponse = "HTTP/1.1 101 Switching Protocols\r\n" +
	"Upgrade: websocket\r\n" +
	"Connection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" +
	"Sec-WebSocket-Protocol: superchat\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n" +
	"Set-Cookie: a=b\r\n" +
	"\r\n"

const earlyFrame = "\x81\x82\x01\x02\x03\x04\x05\x06"

func TestReadRequest(t *testing.T) {
	for name, pieces := range map[string][]string{
		"at once":                {browserRequest},
		"with an early frame":    {browserRequest + earlyFrame},
		"in two":                 {browserRequest[:100], browserRequest[100:] + earlyFrame},
		"split in the last CRLF": {browserRequest[:len(browserRequest)-1], "\n"},
		"byte by byte":           bytewise(browserRequest),
	} {
		t.Run(name, func(t *testing.T) {
			all := strings.Join(pieces, "")
			buf := make([]byte, 1024)
			var req httphead.Request
			n, have, err := ReadRequest(&conn{pieces: pieces}, buf, &req)
			if err != nil || n != len(browserRequest) || string(buf[:have]) != all {
				t.Fatalf("ReadRequest = %d, %d, %v; want %d, %d", n, have, err, len(browserRequest), len(all))
			}
			if string(req.Path) != "/chat" || len(req.Fields) != 11 {
				t.Errorf("read path %q and %d fields", req.Path, len(req.Fields))
			}
		})
	}
}

func TestReadRequestFails(t *testing.T) {
	tests := []struct {
		name   string
		conn   conn
		want   error // nil for a refusal
		status int
		result string
	}{
		{"closed at once", conn{}, io.EOF, 0, ""},
		{"silent", conn{end: os.ErrDeadlineExceeded}, os.ErrDeadlineExceeded, 0, ""},
		{"reset within", conn{pieces: []string{"GET"}, end: syscall.ECONNRESET}, syscall.ECONNRESET, 0, ""},
		{"closed within", conn{pieces: []string{"GET / HT"}}, nil, 400, "bad_request"},
		{"slow", conn{pieces: []string{"GET / HTTP/1.1\r\n"}, end: os.ErrDeadlineExceeded}, nil, 408, "request_timeout"},
		{"malformed", conn{pieces: []string{"GET / HTTP/1.1\r\nHost : a\r\n\r\n"}}, nil, 400, "bad_request"},
		{"malformed, in pieces", conn{pieces: bytewise("GET / HTTP/1.1\r\nHost : a\r\n\r\n")}, nil, 400, "bad_request"},
		{"TLS, of which no more will come", conn{pieces: []string{"\x16\x03\x01\x02\x00\x01"}, end: os.ErrDeadlineExceeded}, nil, 400, "bad_request"},
		{"too large", conn{pieces: []string{browserRequest[:300], strings.Repeat("x", 1000)}}, nil, 431, "head_too_large"},
		{"too many fields", conn{pieces: []string{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a:b\r\n", 100) + "\r\n"}}, nil, 431, "head_too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var req httphead.Request
			_, _, err := ReadRequest(&tt.conn, make([]byte, 1000), &req)
			if tt.want != nil {
				if err != tt.want {
					t.Fatalf("error %v; want %v", err, tt.want)
				}
				return
			}
			checkRefusal(t, err, tt.status, tt.result)
		})
	}
}

func checkRefusal(t *testing.T, err error, status int, result string) {
	t.Helper()
	var f *failure.Error
	if !errors.As(err, &f) || f.Refusal == nil || f.Refusal.Status != status || f.Code.Result() != result {
		t.Fatalf("error %v; want the refusal %d %s", err, status, result)
	}
	resp := parseResponse(t, string(AppendRefusal(nil, f.Refusal)))
	if resp.status != status || !resp.close || resp.body != f.Refusal.Message+"\n" {
		t.Errorf("the refusal reads as %+v", resp)
	}
}

func TestReadResponse(t *testing.T) {
	continued := "HTTP/1.1 100 Continue\r\n\r\n"
	hints := "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
	for name, pieces := range map[string][]string{
		"at once":       {backendResponse + earlyFrame},
		"in pieces":     bytewise(continued + hints + backendResponse),
		"after interim": {continued + hints + backendResponse + earlyFrame},
		"interim apart": {continued, hints[:20], hints[20:] + backendResponse[:20], backendResponse[20:] + earlyFrame},
		"eight interim": {strings.Repeat(continued, 8) + backendResponse},
	} {
		t.Run(name, func(t *testing.T) {
			all := strings.Join(pieces, "")
			buf := make([]byte, 1024)
			var resp httphead.Response
			n, have, err := ReadResponse(&conn{pieces: pieces}, buf, &resp)
			if want := all[strings.Index(all, "HTTP/1.1 101"):]; err != nil || n != len(backendResponse) || string(buf[:have]) != want {
				t.Fatalf("ReadResponse = %d, %v, %q", n, err, buf[:have])
			}
			if accept, _ := resp.Fields.Get("Sec-WebSocket-Accept"); resp.Status != 101 || string(accept) != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Errorf("read status %d, accept %q", resp.Status, accept)
			}
		})
	}
}

func TestReadResponseFails(t *testing.T) {
	interim := "HTTP/1.1 102 Processing\r\n\r\n"
	tests := []struct {
		name   string
		conn   conn
		want   error // nil for a BackendError
		reason Reason
	}{
		{"closed at once", conn{}, io.EOF, ""},
		{"closed after an interim response", conn{pieces: []string{interim}}, io.EOF, ""},
		{"silent", conn{end: os.ErrDeadlineExceeded}, os.ErrDeadlineExceeded, ""},
		{"slow", conn{pieces: []string{"HTTP"}, end: os.ErrDeadlineExceeded}, os.ErrDeadlineExceeded, ""},
		{"reset", conn{pieces: []string{"HTTP"}, end: syscall.ECONNRESET}, syscall.ECONNRESET, ""},
		{"closed within", conn{pieces: []string{backendResponse[:50]}}, nil, ReasonMalformed},
		{"no HTTP", conn{pieces: []string{"SSH-2.0-OpenSSH_9.6\r\n"}}, nil, ReasonMalformed},
		{"bare LF", conn{pieces: []string{"HTTP/1.1 101 OK\n\n"}}, nil, ReasonMalformed},
		{"too large", conn{pieces: []string{backendResponse[:50], strings.Repeat("x", 1000)}}, nil, ReasonTooLarge},
		{"too many fields", conn{pieces: []string{"HTTP/1.1 101 OK\r\n" + strings.Repeat("a:b\r\n", 101) + "\r\n"}}, nil, ReasonTooLarge},
		{"nine interim responses", conn{pieces: []string{strings.Repeat(interim, 9) + backendResponse}}, nil, ReasonInterim},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var resp httphead.Response
			_, _, err := ReadResponse(&tt.conn, make([]byte, 1000), &resp)
			if tt.want != nil {
				if err != tt.want {
					t.Fatalf("error %v; want %v", err, tt.want)
				}
				return
			}
			checkBackendError(t, err, tt.reason)
		})
	}
}

func checkBackendError(t *testing.T, err error, reason Reason) {
	t.Helper()
	var broken *BackendError
	if !errors.As(err, &broken) || broken.Reason != reason || !strings.Contains(err.Error(), reasonTexts[reason]) || reasonTexts[reason] == "" {
		t.Fatalf("error %v; want %s", err, reason)
	}
}
