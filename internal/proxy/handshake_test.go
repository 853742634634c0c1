package proxy_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

func TestClientGetsItsAnswerAfterTheBackends(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		asked, answer := make(chan string), make(chan bool)
		server := newBackend(t, func(p *peer, head string) {
			asked <- head
			<-answer
			io.WriteString(p, switching())
			io.Copy(io.Discard, p.br)
		})
		b := start(t, engine, setup{backends: []string{server.addr}})
		c := b.dial().send(upgrade("/chat?room=1", "Cookie: a=b"))
		head := <-asked
		if !strings.HasPrefix(head, "GET /chat?room=1 HTTP/1.1\r\n") || field(t, head, "Cookie") != "a=b" || field(t, head, "Host") != "ws.example.com" {
			t.Errorf("the backend was sent %q", head)
		}
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if p, err := c.br.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("before the backend's answer the client got %q, %v", p, err)
		}
		c.SetReadDeadline(time.Now().Add(patience))
		c.br.Reset(c)
		close(answer)
		c.want(101)
		b.wantResult("opened")
	})
}

// A backend that doesn't answer is retried on the next choice.
func TestRetry(t *testing.T) {
	mute := func(t *testing.T) string {
		return newBackend(t, func(p *peer, _ string) { io.Copy(io.Discard, p.br) }).addr
	}
	closing := func(t *testing.T) string {
		return newBackend(t, func(p *peer, _ string) { p.Close() }).addr
	}
	refused := func(t *testing.T) string { return testkit.FreeAddress(t) }
	good := func(t *testing.T) string { return echoing(t, "good").addr }
	declining := func(t *testing.T) string {
		return newBackend(t, func(p *peer, _ string) {
			io.WriteString(p, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		}).addr
	}
	garbage := func(t *testing.T) string {
		return newBackend(t, func(p *peer, _ string) { io.WriteString(p, "ERR unknown command\r\n\r\n"); p.Close() }).addr
	}
	truncated := func(t *testing.T) string {
		return newBackend(t, func(p *peer, _ string) { io.WriteString(p, "HTTP/1.1 101 Swit"); p.Close() }).addr
	}
	type backends []func(*testing.T) string
	for name, c := range map[string]struct {
		backends backends
		status   int
		result   string
	}{
		"refused, then good":         {backends{refused, good}, 101, "opened"},
		"closed silently, then good": {backends{closing, good}, 101, "opened"},
		"hangs, then good":           {backends{mute, good}, 101, "opened"},
		"two fail, then good":        {backends{refused, closing, good}, 101, "opened"},
		"three fail, none is left":   {backends{refused, closing, refused, good}, 502, "backend_unreachable"},
		"declined is an answer":      {backends{declining, good}, 403, "backend_declined"},
		"garbage is not tried again": {backends{garbage, good}, 502, "backend_broken"},
		"truncated is no answer":     {backends{truncated, good}, 502, "backend_broken"},
		"the only one refuses":       {backends{refused}, 502, "backend_unreachable"},
		"the only one closes":        {backends{closing}, 502, "backend_silent"},
		"the only one hangs":         {backends{mute}, 504, "backend_silent"},
		"there is none":              {backends{}, 503, "no_backend"},
		"three refuse":               {backends{refused, refused, refused}, 502, "backend_unreachable"},
		"three close silently":       {backends{closing, closing, closing}, 502, "backend_silent"},
		"three hang":                 {backends{mute, mute, mute}, 504, "backend_silent"},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				s := setup{handshake: 300 * time.Millisecond}
				for _, make := range c.backends {
					s.backends = append(s.backends, make(t))
				}
				b := start(t, engine, s)
				resp, body := b.dial().send(upgrade("/")).want(c.status)
				b.wantResult(c.result)
				if c.status == 503 && resp.Header.Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
				if c.status > 500 && (body == "" || !resp.Close) {
					t.Errorf("%d with body %q, Connection: close %v", c.status, body, resp.Close)
				}
			})
		})
	}
}

// The answer says what is wrong with a handshake, and no backend gets it.
func TestRefusals(t *testing.T) {
	right := upgrade("/ws")
	change := func(old, new string) string {
		if !strings.Contains(right, old) {
			t.Fatalf("%q is not in the handshake", old)
		}
		return strings.Replace(right, old, new, 1)
	}
	for name, c := range map[string]struct {
		request string
		status  int
		result  string
		body    string
	}{
		"no route":         {upgrade("/elsewhere"), 404, "no_route", "No route"},
		"ambiguous path":   {upgrade("/ws/../admin"), 400, "bad_path", "path"},
		"version 8":        {change("Version: 13", "Version: 8"), 426, "unsupported_version", "13"},
		"no version":       {change("Sec-WebSocket-Version: 13\r\n", ""), 426, "unsupported_version", "13"},
		"short key":        {change(key, "c2hvcnQ="), 400, "bad_request", "16 random bytes"},
		"no key":           {change("Sec-WebSocket-Key: "+key+"\r\n", ""), 400, "bad_request", "Sec-WebSocket-Key"},
		"no Connection":    {change("Connection: Upgrade", "Connection: keep-alive"), 400, "bad_request", "Connection: Upgrade"},
		"POST":             {change("GET", "POST"), 405, "method_not_allowed", "GET"},
		"a body":           {change("Upgrade: websocket", "Content-Length: 3\r\nUpgrade: websocket") + "abc", 400, "bad_request", "body"},
		"HTTP/1.0":         {change("HTTP/1.1", "HTTP/1.0"), 400, "bad_request", "HTTP/1.0"},
		"CONNECT":          {change("GET /ws", "CONNECT ws.example.com:80"), 501, "bad_request", "CONNECT"},
		"no Host":          {change("Host: ws.example.com\r\n", ""), 400, "bad_request", ""},
		"garbage":          {"\x15\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 400, "bad_request", "request line"},
		"HTTP/2":           {change("HTTP/1.1", "HTTP/2.0"), 505, "bad_request", "HTTP/1.1"},
		"another coding":   {change("Upgrade: websocket", "Transfer-Encoding: gzip\r\nUpgrade: websocket"), 501, "bad_request", "chunked"},
		"target too long":  {change("/ws", "/ws?"+strings.Repeat("x", 20<<10)), 414, "head_too_large", "target"},
		"a head too large": {upgrade("/ws", "Cookie: "+strings.Repeat("x", 20<<10)), 431, "head_too_large", "too large"},
		"broken off":       {right[:40], 400, "bad_request", "ended"},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := echoing(t, "one")
				b := start(t, engine, setup{backends: []string{server.addr}, rules: []route.Rule{{Path: path(t, "/ws"), Pool: "all"}}})
				cl := b.dial().send(c.request)
				cl.Conn.(interface{ CloseWrite() error }).CloseWrite()
				resp, body := cl.want(c.status)
				if !strings.Contains(body, c.body) {
					t.Errorf("body %q, want %q in it", body, c.body)
				}
				if c.status == 426 && resp.Header.Get("Sec-WebSocket-Version") != "13" {
					t.Errorf("426 with header %v", resp.Header)
				}
				if c.status == 405 && resp.Header.Get("Allow") == "" {
					t.Errorf("405 with header %v", resp.Header)
				}
				cl.wantEnd()
				b.wantResult(c.result)
				if conns, heads := server.seen(); conns != 0 {
					t.Errorf("the backend was connected to %d times, and told %q", conns, heads)
				}
			})
		})
	}
}

// An incomplete head is answered in time. A connection on which nothing came is
// closed without an answer and not counted.
func TestSlowClients(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{handshake: 200 * time.Millisecond})
		silent, slow := b.dial(), b.dial().send(upgrade("/")[:30])
		slow.want(408)
		silent.wantEnd()
		b.wantResult("request_timeout")
	})
}

func TestFullGate(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "one")
		b := start(t, engine, setup{backends: []string{server.addr}, maxSessions: 1})
		first := b.dial().send(upgrade("/"))
		first.want(101)
		// Until then, it is a handshake of the same address.
		testkit.Eventually(t, "a session", func() bool { return b.gate.Stats().Sessions == 1 })
		resp, _ := b.dial().send(upgrade("/")).want(503)
		if resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		first.send(clientFrame(8, "\x03\xe8"))
		b.wait("the end of the session", func() bool { return len(b.ended) == 1 })
		b.dial().send(upgrade("/")).want(101)
	})
}

// A wrong answer of a backend is a 502 for the client, and never tunnelled.
func TestBrokenBackends(t *testing.T) {
	right := switching()
	for name, answer := range map[string]string{
		"wrong Accept":              strings.Replace(right, "Accept: ", "Accept: x", 1),
		"no Accept":                 strings.Replace(right, "Sec-WebSocket-Accept", "X-Accept", 1),
		"no Upgrade":                strings.Replace(right, "Upgrade: websocket\r\n", "", 1),
		"another protocol":          strings.Replace(right, "Upgrade: websocket", "Upgrade: h2c", 1),
		"no Connection":             strings.Replace(right, "Connection: Upgrade", "Connection: close", 1),
		"HTTP/1.0":                  strings.Replace(right, "HTTP/1.1", "HTTP/1.0", 1),
		"a subprotocol not offered": switching("Sec-WebSocket-Protocol: mqtt"),
		"an extension not offered":  switching("Sec-WebSocket-Extensions: permessage-deflate"),
		"endless interim answers":   strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20) + right,
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				ended := make(chan error, 1)
				server := newBackend(t, func(p *peer, _ string) {
					io.WriteString(p, answer+serverFrame(1, "smuggled"))
					_, err := io.Copy(io.Discard, p.br)
					ended <- err
				})
				b := start(t, engine, setup{backends: []string{server.addr}})
				_, body := b.dial().send(upgrade("/", "Sec-WebSocket-Protocol: chat")).want(502)
				if strings.Contains(body, "smuggled") {
					t.Errorf("the client was told %q", body)
				}
				b.wantResult("backend_broken")
				<-ended
			})
		})
	}
}

// A plain answer is passed on with its body. Then the connection ends.
func TestPlainAnswersArePassedBack(t *testing.T) {
	for name, answer := range map[string]string{
		"with a length": "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 9\r\n\r\nwho's it?",
		"in chunks":     "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nwho's it?\r\n0\r\n\r\n",
		"until the end": "HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\nwho's it?",
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := newBackend(t, func(p *peer, _ string) {
					io.WriteString(p, answer)
					if strings.HasPrefix(answer, "HTTP/1.0") {
						p.Close()
					}
				})
				b := start(t, engine, setup{backends: []string{server.addr}})
				for range 2 {
					c := b.dial().send(upgrade("/"))
					resp, body := c.want(401)
					if body != "who's it?" || resp.Header.Get("WWW-Authenticate") != "Basic" {
						t.Errorf("got %q with %v", body, resp.Header)
					}
					c.wantEnd()
				}
				b.wait("both results", func() bool { return len(b.results) == 2 })
				if conns, _ := server.seen(); conns != 2 {
					t.Errorf("the backend saw %d connections for two handshakes, want one each", conns)
				}
			})
		})
	}
}

func TestInterimAnswersBeforeThe101(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := newBackend(t, func(p *peer, _ string) {
			io.WriteString(p, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+switching()+serverFrame(1, "hello"))
			io.Copy(io.Discard, p.br)
		})
		b := start(t, engine, setup{backends: []string{server.addr}})
		c := b.dial().send(upgrade("/"))
		c.want(101)
		c.wantBytes(serverFrame(1, "hello"))
	})
}

// The fields of a 101 are passed on.
func TestAnswerIsPassedOn(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := newBackend(t, func(p *peer, head string) {
			if got := field(t, head, "Sec-WebSocket-Protocol"); got != "chat, superchat" {
				t.Errorf("offered %q", got)
			}
			io.WriteString(p, switching("Sec-WebSocket-Protocol: superchat", "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
				"Set-Cookie: a=1", "Set-Cookie: b=2", "Keep-Alive: timeout=5"))
			io.Copy(io.Discard, p.br)
		})
		b := start(t, engine, setup{backends: []string{server.addr}})
		resp, _ := b.dial().send(upgrade("/", "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate",
			"Keep-Alive: timeout=9")).want(101)
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "superchat" {
			t.Errorf("subprotocol %q", got)
		}
		if got := resp.Header.Values("Set-Cookie"); len(got) != 2 {
			t.Errorf("cookies %q", got)
		}
		if resp.Header.Get("Keep-Alive") != "" {
			t.Error("a hop-by-hop field was passed on")
		}
		if resp.Header.Get("Sec-WebSocket-Accept") == "" || !strings.EqualFold(resp.Header.Get("Connection"), "upgrade") {
			t.Errorf("header %v", resp.Header)
		}
		_, heads := server.seen()
		if field(t, heads[0], "Keep-Alive") != "" {
			t.Errorf("the backend was sent %q", heads[0])
		}
	})
}

// If the client goes while its backend is being waited for, the backend is released
// at once on event loops; a goroutine notices when the backend answers.
func TestClientThatGoesAway(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		asked, gone := make(chan bool), make(chan bool)
		server := newBackend(t, func(p *peer, _ string) {
			close(asked)
			io.Copy(io.Discard, p.br)
			close(gone)
		})
		b := start(t, engine, setup{backends: []string{server.addr}, handshake: time.Second})
		c := b.dial().send(upgrade("/"))
		<-asked
		c.Close()
		<-gone
		if engine == "epoll" {
			b.wantResult("client_gone")
		}
		b.wait("a result", func() bool { return len(b.results) == 1 })
	})
}

func TestNamesThatDoNotResolve(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{pools: []pool.Spec{{Name: "all", Backends: []pool.BackendSpec{{Address: "nowhere.invalid:80"}}}}})
		b.dial().send(upgrade("/")).want(http.StatusServiceUnavailable)
		b.wantResult("no_backend")
	})
}
