package handshake

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

func clientHop(req *httphead.Request) forwarded.Hop {
	return forwarded.Hop{
		Peer:  netip.MustParseAddrPort("203.0.113.9:1234"),
		Local: netip.MustParseAddrPort("192.0.2.1:8080"),
		Host:  req.Host,
		Proto: "http",
	}
}

func TestAppendRequest(t *testing.T) {
	head := "GET HTTP://Ws.example.com:80?a=%zz HTTP/1.1\r\n" +
		"Host: ignored.example\r\n" +
		"Connection: Upgrade, X-Named, host, sec-websocket-key, close\r\n" +
		"x-named: 1\r\n" +
		"Upgrade: h2c, websocket\r\n" +
		"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" +
		"Keep-Alive: timeout=5\r\n" +
		"Proxy-Connection: keep-alive\r\n" +
		"Proxy-Authorization: Basic eDp5\r\n" +
		"TE: trailers\r\n" +
		"Trailer: a\r\n" +
		"Content-Length: 0\r\n" +
		"X-Forwarded-For: 1.1.1.1\r\n" +
		"X-Real-IP: 1.1.1.1\r\n" +
		"Sec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Extensions: a\r\n" +
		"Sec-WebSocket-Extensions:b \r\n" +
		"Cookie: a=b\r\n" +
		"Holdfast-Session: forged\r\n" +
		"holdfast-reattach: loss\r\n" +
		"HOLDFAST_ATTEMPT: 1\r\n" +
		"X_Forwarded_For: 1.1.1.1\r\n" +
		"Transfer_Encoding: chunked\r\n" +
		"\r\n"
	want := "GET /?a=%zz HTTP/1.1\r\n" +
		"Host: Ws.example.com:80\r\n" +
		"Connection: Upgrade\r\n" +
		"Upgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Extensions: a\r\n" +
		"Sec-WebSocket-Extensions: b\r\n" +
		"Cookie: a=b\r\n" +
		"X-Forwarded-For: 203.0.113.9\r\n" +
		"X-Forwarded-Proto: http\r\n" +
		"X-Forwarded-Host: Ws.example.com:80\r\n" +
		"X-Forwarded-Port: 80\r\n" +
		"\r\n"
	req := parseRequest(t, head)
	var up Upgrade
	if err := Check(req, &up); err != nil {
		t.Fatal(err)
	}
	if got := string(AppendRequest(nil, req, &up, &About{Forwarded: new(forwarded.Policy), Hop: clientHop(req)})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAppendResponse(t *testing.T) {
	var resp httphead.Response
	head := strings.Replace(backendResponse, "Connection: Upgrade\r\n", "Connection: upgrade, x-named, Sec-WebSocket-Accept\r\n"+
		"X-Named: 1\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n", 1)
	if n, err := resp.Parse([]byte(head)); n != len(head) {
		t.Fatal(n, err)
	}
	if got := string(AppendResponse(nil, &resp, new(Upgrade), nil)); got != backendResponse {
		t.Errorf("got\n%s\nwant\n%s", got, backendResponse)
	}
}

// TestNoAllocation: a handshake that succeeds doesn't allocate.
func TestNoAllocation(t *testing.T) {
	for name, h := range wholeHandshakes(t) {
		if n := testing.AllocsPerRun(100, func() {
			if err := h.run(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("a handshake of a session that is %s allocates %.0f times", name, n)
		}
	}
}

func BenchmarkHandshake(b *testing.B) {
	for name, h := range wholeHandshakes(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := h.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func wholeHandshakes(t testing.TB) map[string]*wholeHandshake {
	fixed, movable, changed := newWholeHandshake(), newWholeHandshake(), newWholeHandshake()
	changed.changes = changes(t)
	movable.reattach = &Reattach{ID: session.NewID(), Attempt: 3}
	return map[string]*wholeHandshake{"fixed": fixed, "movable": movable, "changed": changed}
}

// wholeHandshake is everything that this package does for a session.
type wholeHandshake struct {
	client, backend conn
	policy          forwarded.Policy
	hop             forwarded.Hop
	in, out         [4096]byte
	req             httphead.Request
	resp            httphead.Response
	up              Upgrade
	pieces          [2][1]string
	reattach        *Reattach
	changes         Changes
}

func newWholeHandshake() *wholeHandshake {
	return &wholeHandshake{hop: clientHop(&httphead.Request{Host: []byte("ws.example.com")})}
}

func (h *wholeHandshake) run() error {
	h.pieces = [2][1]string{{browserRequest}, {backendResponse}}
	h.client.pieces, h.backend.pieces = h.pieces[0][:], h.pieces[1][:]
	if _, _, err := ReadRequest(&h.client, h.in[:], &h.req); err != nil {
		return err
	}
	if err := Check(&h.req, &h.up); err != nil {
		return err
	}
	h.up.Reattach = h.reattach
	AppendRequest(h.out[:0], &h.req, &h.up, &About{Forwarded: &h.policy, Hop: h.hop, Changes: h.changes})
	if _, _, err := ReadResponse(&h.backend, h.out[:], &h.resp); err != nil {
		return err
	}
	if err := CheckResponse(&h.resp, &h.up); err != nil {
		return err
	}
	AppendResponse(h.in[len(browserRequest):len(browserRequest)], &h.resp, &h.up, &h.changes)
	return nil
}
