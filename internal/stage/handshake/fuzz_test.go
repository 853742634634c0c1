package handshake

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// FuzzRequest turns a client's bytes into those for the backend. An accepted head
// must come out as net/http reads the input, without hop-by-hop fields and without
// an additional field or request.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(browserRequest + earlyFrame))
	f.Add([]byte(strings.Replace(browserRequest, "GET /chat", "GET http://b.example:80?", 1)))
	f.Add([]byte(strings.Replace(browserRequest, "keep-alive, Upgrade", "upgrade, cookie, \"x, origin\r\nX-Forwarded-For: 1.1.1.1", 1)))
	f.Add([]byte(strings.Replace(browserRequest, "Cookie: ", "TE: trailers\r\nKeep-Alive: 5\r\nContent-Length: 0\r\nHTTP2-Settings: ", 1)))
	f.Add([]byte(strings.Replace(browserRequest, "Cookie: ", "Holdfast-Session: A\r\nholdfast_attempt: 1\r\nX-Holdfast-Reattach: ", 1)))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var req httphead.Request
		var up Upgrade
		n, have, err := ReadRequest(&conn{pieces: []string{string(b)}}, make([]byte, 4096), &req)
		if err != nil || !IsWebSocket(&req) || Check(&req, &up) != nil {
			return
		}
		in, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(withoutEmptyLines(b))))
		if err != nil {
			t.Fatalf("accepted what net/http refuses: %v", err)
		}
		head := AppendRequest(nil, &req, &up, &About{Forwarded: new(forwarded.Policy), Hop: clientHop(&req)})
		from := bufio.NewReader(bytes.NewReader(head))
		out, err := http.ReadRequest(from)
		if err != nil {
			t.Fatalf("what comes out is no request: %v\n%s", err, head)
		}
		if from.Buffered() > 0 || !bytes.HasSuffix(head, []byte("\r\n\r\n")) || n > have {
			t.Fatalf("more than a head comes out:\n%s", head)
		}
		if path := in.URL.Path; out.Method != "GET" || out.Host != in.Host || out.ContentLength != 0 || out.URL.RawQuery != in.URL.RawQuery ||
			out.URL.Path != path && !(path == "" && out.URL.Path == "/") {
			t.Errorf("%s %s %s went in, %s %s %s came out", in.Method, in.Host, in.RequestURI, out.Method, out.Host, out.RequestURI)
		}
		if up := string(up.Host); up == "" || !strings.HasPrefix(in.Host, "[") && up != strings.ToLower(strings.TrimSuffix(strings.SplitN(in.Host, ":", 2)[0], ".")) {
			t.Errorf("host %q is routed as %q", in.Host, up)
		}
		checkEndToEnd(t, in.Header, out.Header)
		for name := range out.Header {
			if _, sent := in.Header[name]; !sent && !forwarded.IsReserved([]byte(name)) {
				t.Errorf("%s was not sent", name)
			}
			if IsReserved([]byte(name)) {
				t.Errorf("%s can be forged", name)
			}
		}
		for _, name := range []string{"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
			if strings.Join(in.Header[name], "|") != strings.Join(out.Header[name], "|") {
				t.Errorf("%s: %q became %q", name, in.Header[name], out.Header[name])
			}
		}
	})
}

// FuzzResponse turns a backend's bytes into those for the client, as a 101 or as a
// plain answer.
func FuzzResponse(f *testing.F) {
	f.Add([]byte(backendResponse + earlyFrame))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\n" + backendResponse))
	f.Add([]byte(strings.Replace(backendResponse, "Connection: Upgrade", "Connection: upgrade, set-cookie\r\nKeep-Alive: 5", 1)))
	f.Add([]byte("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\nConnection: a\r\n\r\n2\r\nab\r\n0\r\na: b\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 404 Not Found\r\nUpgrade: h2c\r\n\r\nuntil the end"))
	var up Upgrade
	if err := Check(parseRequest(f, browserRequest), &up); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var resp httphead.Response
		buf := make([]byte, 4096)
		backend, client := &conn{pieces: []string{string(b)}}, &conn{}
		n, have, err := ReadResponse(backend, buf, &resp)
		if err != nil {
			return
		}
		in, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(buf[:n])), nil)
		if err != nil {
			t.Fatalf("accepted what net/http refuses: %v", err)
		}
		var sent []byte
		switch err := CheckResponse(&resp, &up); err {
		case nil:
			sent = AppendResponse(nil, &resp, &up, nil)
			if in.StatusCode != 101 || in.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Fatalf("taken for the right answer: %q", buf[:n])
			}
		case ErrPlainAnswer:
			err := PassBack(client, backend, &Upgrade{Method: []byte("GET")}, buf[:have], time.Minute, nil)
			if sent = client.written.Bytes(); err != nil || in.StatusCode == 101 {
				return
			}
		default:
			return
		}
		out, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(sent)), nil)
		if err != nil || out.StatusCode != in.StatusCode || out.ProtoMinor != 1 {
			t.Fatalf("%d went in, %v (%v) came out:\n%s", in.StatusCode, out, err, sent)
		}
		if in.StatusCode == 101 {
			if out.Header.Get("Upgrade") != "websocket" || out.Header.Get("Connection") != "Upgrade" || !bytes.HasSuffix(sent, []byte("\r\n\r\n")) {
				t.Errorf("no 101 came out:\n%s", sent)
			}
			checkEndToEnd(t, in.Header, out.Header)
		} else if !out.Close {
			t.Errorf("the client is not told that the connection closes:\n%s", sent)
		}
	})
}

// checkEndToEnd checks that out has no hop-by-hop field of in, and the balancer's
// own upgrade.
func checkEndToEnd(t *testing.T, in, out http.Header) {
	if strings.Join(out["Upgrade"], "|") != "websocket" || strings.Join(out["Connection"], "|") != "Upgrade" {
		t.Errorf("Upgrade: %q, Connection: %q", out["Upgrade"], out["Connection"])
	}
	for _, name := range []string{"Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Content-Length", "Http2-Settings", "Proxy-Authorization"} {
		if out[name] != nil {
			t.Errorf("%s is passed on", name)
		}
	}
	for _, list := range in["Connection"] {
		if strings.Contains(list, `"`) {
			continue // no token can be read out of it by splitting
		}
		for name := range strings.SplitSeq(list, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if out[name] != nil && name != "Upgrade" && name != "Connection" && !forwarded.IsReserved([]byte(name)) && !strings.HasPrefix(name, "Sec-Websocket-") && name != "Host" {
				t.Errorf("%s is passed on, though Connection names it", name)
			}
		}
	}
}

// withoutEmptyLines removes the lines that RFC 9112 §2.2 wants servers to ignore before a
// request. net/http doesn't.
func withoutEmptyLines(b []byte) []byte {
	for bytes.HasPrefix(b, []byte("\r\n")) {
		b = b[2:]
	}
	return b
}

// FuzzOther turns a client's bytes into those for the backend if they ask for another
// upgrade. Exactly one request for one protocol that is wanted must come out, with the
// method and the body's length that net/http reads, and no field that describes either
// in another way.
func FuzzOther(f *testing.F) {
	const request = "POST /exec?a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 4\r\n\r\nbodymore"
	f.Add([]byte(request))
	f.Add([]byte(strings.Replace(request, "Upgrade: tcp", "Upgrade: websocket/1, x/1.0;a, TCP", 1)))
	f.Add([]byte(strings.Replace(request, "Upgrade: tcp", "upgrade: \"tcp\"\r\nUpgrade:tcp\r\nTransfer_Encoding: chunked", 1)))
	f.Add([]byte(strings.Replace(request, "Content-Length: 4", "Content-Length: 4\r\nContent-Length: 4\r\nExpect: 100-continue", 1)))
	f.Add([]byte(strings.Replace(request, "Connection: Upgrade", "Connection: upgrade, content-length, host", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var req httphead.Request
		var up Upgrade
		n, _, err := ReadRequest(&conn{pieces: []string{string(b)}}, make([]byte, 4096), &req)
		if err != nil || !CheckOther(&req, []string{"tcp", "x/1.0"}, &up) {
			return
		}
		in, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(withoutEmptyLines(b[:n]))))
		if err != nil {
			t.Fatalf("accepted what net/http refuses: %v", err)
		}
		head := AppendRequest(nil, &req, &up, &About{Forwarded: new(forwarded.Policy), Hop: clientHop(&req)})
		from := bufio.NewReader(bytes.NewReader(head))
		out, err := http.ReadRequest(from)
		if err != nil || from.Buffered() > 0 {
			t.Fatalf("what comes out is no request alone: %v\n%s", err, head)
		}
		if out.Method != in.Method || out.Host != in.Host || out.URL.RawQuery != in.URL.RawQuery || max(0, in.ContentLength) != out.ContentLength ||
			int(out.ContentLength) != up.BodyLength || up.BodyLength > MaxBody || len(out.TransferEncoding) > 0 {
			t.Errorf("%s %s of %d bytes went in, %s %s of %d came out", in.Method, in.RequestURI, in.ContentLength, out.Method, out.RequestURI, out.ContentLength)
		}
		if got := out.Header["Upgrade"]; len(got) != 1 || !strings.EqualFold(got[0], "tcp") && !strings.EqualFold(got[0], "x/1.0") || strings.Join(out.Header["Connection"], "|") != "Upgrade" {
			t.Errorf("it asks for %q, with %q", got, out.Header["Connection"])
		}
		out.Header.Set("Upgrade", "websocket") // what was checked above
		out.Header.Del("Content-Length")
		checkEndToEnd(t, in.Header, out.Header)
	})
}
