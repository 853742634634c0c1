package proxy_test

import (
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// docker answers requests for the upgrade tcp with a 101, and then sends back what it
// is sent, after the request's body. It declines others.
func docker(t testing.TB) *backend {
	return newBackend(t, func(p *peer, head string) {
		body := make([]byte, 0)
		if n, err := strconv.Atoi(field(t, head, "Content-Length")); err == nil {
			body = make([]byte, n)
			io.ReadFull(p.br, body)
		}
		if !strings.EqualFold(field(t, head, "Upgrade"), "tcp") {
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
			return
		}
		io.WriteString(p, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nServer: docker\r\n\r\n"+string(body))
		io.Copy(p, p.br)
		p.Close()
	})
}

func TestOtherUpgrade(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := docker(t)
		b := start(t, engine, setup{backends: []string{testkit.FreeAddress(t), server.addr}, upgrades: []string{"tcp", "x/1.0"}})
		c := b.dial()
		// Its connection has served plain HTTP before.
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").want(200)
		c.send("POST /exec?x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other, TCP\r\nContent-Length: 6\r\nX-Mine: y\r\n\r\n{body}\x81\x00early")
		resp, _ := c.want(101)
		if got := resp.Header; got.Get("Upgrade") != "TCP" || got.Get("Server") != "docker" || got.Get("Connection") != "Upgrade" {
			t.Errorf("the 101 has %v", got)
		}
		c.wantBytes("{body}\x81\x00early")
		c.send(" and \xff more").closeWrite().wantAll(" and \xff more")
		s := b.wantEnded(session.ClientClosed)
		if s.From[session.Client].Messages != 0 || s.From[session.Client].Bytes != 18 {
			t.Errorf("it ended as %+v", s)
		}
		_, heads := server.seen()
		head := heads[len(heads)-1]
		if !strings.HasPrefix(head, "POST /exec?x HTTP/1.1\r\n") || field(t, head, "Upgrade") != "TCP" || field(t, head, "Content-Length") != "6" ||
			field(t, head, "X-Mine") != "y" || field(t, head, "Holdfast-Session") != s.ID.String() {
			t.Errorf("the backend got %q", head)
		}
	})
}

// TestOtherUpgradeLarge: a body that doesn't fit the usual buffer.
func TestOtherUpgradeLarge(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{backends: []string{docker(t).addr}, upgrades: []string{"tcp"}})
		body := strings.Repeat("body", 10_000)
		c := b.dial().send("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 40000\r\n\r\n" + body + "more")
		c.want(101)
		c.wantBytes(body + "more")
	})
}

// TestOtherUpgradeNot: requests that are plain HTTP all the same.
func TestOtherUpgradeNot(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := docker(t)
		b := start(t, engine, setup{backends: []string{server.addr}, upgrades: []string{"tcp"}})
		for _, text := range []string{
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\n\r\n",
			"GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab",
			"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		} {
			c := b.dial().send(text)
			resp, _ := c.answer()
			for resp.StatusCode == 100 {
				resp, _ = c.answer()
			}
			if resp.StatusCode != 200 {
				t.Errorf("%q: %s", text, resp.Status)
			}
		}
		_, heads := server.seen()
		for _, head := range heads {
			if strings.Contains(head, "Upgrade: ") {
				t.Errorf("the backend got %q", head)
			}
		}
	})
}

// TestOtherUpgradeDeclined: another answer than the 101 that was asked for.
func TestOtherUpgradeDeclined(t *testing.T) {
	const ask = " / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	for _, tt := range []struct {
		method, answer string
		status         int
		body, result   string
	}{
		{"GET", "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", 404, "none", "backend_declined"},
		{"HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n", 404, "", "backend_declined"},
		{"GET", "HTTP/1.1 426 Upgrade Required\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n", 426, "", "backend_declined"},
		{"GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502, "The server's answer to the handshake broke the WebSocket protocol.\n", "backend_broken"},
		{"GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n", 502, "The server's answer to the handshake broke the WebSocket protocol.\n", "backend_broken"},
	} {
		eachEngine(t, func(t *testing.T, engine string) {
			server := newBackend(t, func(p *peer, head string) { io.WriteString(p, tt.answer); p.Close() })
			b := start(t, engine, setup{backends: []string{server.addr}, upgrades: []string{"tcp"}})
			c := b.dial().send(tt.method + ask)
			all, err := io.ReadAll(c.br)
			head, body, _ := strings.Cut(string(all), "\r\n\r\n")
			if err != nil || !strings.HasPrefix(head, "HTTP/1.1 "+strconv.Itoa(tt.status)+" ") || body != tt.body {
				t.Errorf("the client got %q, %v", all, err)
			}
			if tt.status == 426 && field(t, head, "Upgrade") != "tcp" {
				t.Errorf("the 426 is %q", head)
			}
			b.wantResult(tt.result)
		})
	}
}
