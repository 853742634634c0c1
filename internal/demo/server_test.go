package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// testServer is a server in a goroutine.
type testServer struct {
	addr string
	stop func() // waits until Serve has returned nil
}

func startServer(t *testing.T, name string, h *hub, listen string) testServer {
	t.Helper()
	t.Setenv(tokenEnv, "secret")
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	served := make(chan error, 1)
	go func() {
		err := Serve(ctx, ServerOptions{Name: name, Listen: listen, Hub: h.addr(), Stdout: w})
		w.CloseWithError(fmt.Errorf("Serve returned: %w", err))
		served <- err
	}()
	addr, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	s := testServer{addr: strings.TrimSpace(addr), stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}}
	t.Cleanup(s.stop)
	return s
}

// page is a WebSocket client that does what the page's script does.
type page struct {
	t       *testing.T
	ctx     context.Context
	conn    *websocket.Conn
	welcome welcome
}

func openPage(t *testing.T, addr, query string) *page {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/ws"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	p := &page{t: t, ctx: ctx, conn: conn}
	p.read(&p.welcome)
	if p.welcome.Type != "welcome" {
		t.Fatalf("first message %+v", p.welcome)
	}
	return p
}

func (p *page) read(v any) {
	p.t.Helper()
	if err := wsjson.Read(p.ctx, p.conn, v); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) write(v any) {
	p.t.Helper()
	if err := wsjson.Write(p.ctx, p.conn, v); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) post(text string) { p.write(fromClient{"post", post{"key of " + text, "Ada", text}}) }

// want reads messages and compares their texts.
func (p *page) want(texts ...string) (last delivery) {
	p.t.Helper()
	for _, text := range texts {
		p.read(&last)
		if last.Type != "message" || last.Text != text {
			p.t.Fatalf("got %+v, want %q", last, text)
		}
	}
	return last
}

// wantClose reads on and expects the server's Close.
func (p *page) wantClose(code websocket.StatusCode) {
	p.t.Helper()
	for {
		_, _, err := p.conn.Read(p.ctx)
		if err == nil {
			continue
		}
		if websocket.CloseStatus(err) != code {
			p.t.Fatalf("closed with %v, want %v", err, code)
		}
		return
	}
}

func TestMessagesReachClientsOfAllServers(t *testing.T) {
	h := newHub(t)
	var pages []*page
	for i := range 3 {
		s := startServer(t, fmt.Sprintf("chat-%d", i+1), h, "127.0.0.1:0")
		pages = append(pages, openPage(t, s.addr, ""))
	}
	for i, p := range pages {
		if p.welcome.Server != fmt.Sprintf("chat-%d", i+1) || p.welcome.PID != os.Getpid() || p.welcome.Epoch != h.epoch {
			t.Errorf("welcome %+v", p.welcome)
		}
		text := fmt.Sprintf("<b>from %d</b>", i+1)
		p.post(text)
		for _, q := range pages {
			m := q.want(text)
			if m.ID != uint64(i+1) || m.Server != p.welcome.Server || m.Name != "Ada" || m.Key != "key of "+text {
				t.Errorf("got %+v", m)
			}
		}
	}
}

func TestResumeGivesExactlyTheMissed(t *testing.T) {
	h := newHub(t)
	one, two := startServer(t, "chat-1", h, "127.0.0.1:0"), startServer(t, "chat-2", h, "127.0.0.1:0")
	a, b := openPage(t, one.addr, ""), openPage(t, two.addr, "")
	for _, text := range []string{"1", "2", "3"} {
		a.post(text)
	}
	b.want("1", "2", "3")
	last := a.want("1", "2").ID
	_ = a.conn.CloseNow()
	b.post("4")
	b.want("4")

	query := fmt.Sprintf("?epoch=%s&after=%d", a.welcome.Epoch, last)
	a = openPage(t, two.addr, query)
	a.want("3", "4")
	a.post("4") // it had not seen its own message come back, and sends it again
	a.post("5")
	a.want("5")
	if a.welcome.Lost != 0 {
		t.Errorf("%d lost", a.welcome.Lost)
	}
	openPage(t, two.addr, "?epoch=another&after=4").want("1", "2", "3", "4", "5")
	openPage(t, two.addr, "?after=nonsense").want("1", "2", "3", "4", "5")

	for i := range historySize {
		h.take("s", post{Key: fmt.Sprint(i), Text: fmt.Sprint(i)})
	}
	b.want("5")
	for i := range historySize {
		b.want(fmt.Sprint(i))
	}
	late := openPage(t, two.addr, query)
	late.want("0")
	if late.welcome.Lost != 3 {
		t.Errorf("%d lost, want 3", late.welcome.Lost)
	}
}

func TestServerSaysGoingAwayWhenItEnds(t *testing.T) {
	s := startServer(t, "chat-1", newHub(t), "127.0.0.1:0")
	p, q := openPage(t, s.addr, ""), openPage(t, s.addr, "")
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	p.wantClose(websocket.StatusGoingAway)
	q.wantClose(websocket.StatusGoingAway)
	<-stopped
	if conn, err := net.Dial("tcp", s.addr); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

func TestServerEndsThoughAClientDoesNotAnswer(t *testing.T) {
	s := startServer(t, "chat-1", newHub(t), "127.0.0.1:0")
	_ = openPage(t, s.addr, "") // does not read, so that its Close gets no answer
	s.stop()
}

func TestServerWithoutHubSendsClientsAway(t *testing.T) {
	h := newHub(t)
	s := startServer(t, "chat-1", h, "127.0.0.1:0")
	p := openPage(t, s.addr, "")
	if status, _ := get(t, s.addr, "/health", nil); status != http.StatusOK {
		t.Errorf("health %d with a hub", status)
	}
	h.close()
	p.wantClose(websocket.StatusTryAgainLater)
	if status, _ := get(t, s.addr, "/health", nil); status != http.StatusServiceUnavailable {
		t.Errorf("health %d without a hub", status)
	}
}

func TestServerComesBackToItsHub(t *testing.T) {
	h := newHub(t)
	s := startServer(t, "chat-1", h, "127.0.0.1:0")
	p := openPage(t, s.addr, "")
	p.post("1")
	p.want("1")
	h.mu.Lock()
	for conn := range h.conns {
		conn.Close()
	}
	h.mu.Unlock()
	p.wantClose(websocket.StatusTryAgainLater)
	h.take("s", post{Key: "2", Text: "2"})
	// The server lets us wait until it has its hub again.
	p = openPage(t, s.addr, "?epoch="+h.epoch+"&after=1")
	p.want("2")
}

func TestServerRefusesBadInput(t *testing.T) {
	s := startServer(t, "chat-1", newHub(t), "127.0.0.1:0")
	p := openPage(t, s.addr, "")
	p.write(fromClient{"post", post{"k1", "Ada", " "}})
	var r refusal
	p.read(&r)
	if want := (refusal{"refused", "k1", "the message is empty"}); r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	tests := []struct {
		name string
		kind websocket.MessageType
		data string
		code websocket.StatusCode
	}{
		{"no JSON", websocket.MessageText, "hi", websocket.StatusPolicyViolation},
		{"unknown type", websocket.MessageText, `{"type":"x"}`, websocket.StatusPolicyViolation},
		{"binary", websocket.MessageBinary, `{"type":"post"}`, websocket.StatusPolicyViolation},
		{"too big", websocket.MessageText, strings.Repeat(" ", maxFrame+1), websocket.StatusMessageTooBig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := openPage(t, s.addr, "")
			if err := p.conn.Write(p.ctx, tt.kind, []byte(tt.data)); err != nil {
				t.Fatal(err)
			}
			p.wantClose(tt.code)
		})
	}
}

func TestLongestMessageFitsItsFrame(t *testing.T) {
	for _, r := range []string{"\\", "\U0001f600", "é"} {
		p := fromClient{"post", post{strings.Repeat("k", maxKey), strings.Repeat(r, maxName), strings.Repeat(r, maxText)}}
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false) // as JSON.stringify
		if err := enc.Encode(p); err != nil || b.Len() > maxFrame {
			t.Errorf("%q: %d bytes, %v", r, b.Len(), err)
		}
	}
}

// get asks with the given Host and other headers.
func get(t *testing.T, addr, path string, header http.Header) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Host = header.Get("Host")
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode, resp.Header
}

func TestOtherSitesCannotConnect(t *testing.T) {
	s := startServer(t, "chat-1", newHub(t), "127.0.0.1:0")
	openPage(t, s.addr, "") // the hub is there
	tests := []struct {
		name, host, origin string
		status             int
	}{
		{"own page", "127.0.0.1:8080", "http://127.0.0.1:8080", 101},
		{"own page by name", "localhost:8080", "http://localhost:8080", 101},
		{"no browser", "127.0.0.1:8080", "", 101},
		{"other site", "127.0.0.1:8080", "https://evil.example", 403},
		{"other port", "127.0.0.1:8080", "http://127.0.0.1:9090", 403},
		{"sandboxed page", "127.0.0.1:8080", "null", 403},
		{"rebound name", "evil.example:8080", "http://evil.example:8080", 421},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{
				"Host": {tt.host}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"},
				"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
			}
			if tt.origin != "" {
				header.Set("Origin", tt.origin)
			}
			if status, _ := get(t, s.addr, "/ws", header); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
		})
	}
}

func TestServeTellsWhatIsWrong(t *testing.T) {
	h := newHub(t)
	t.Setenv(tokenEnv, "")
	err := Serve(t.Context(), ServerOptions{Name: "chat-1", Listen: "127.0.0.1:0", Hub: h.addr(), Stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "HOLDFAST_DEMO_TOKEN is not set: servers are started by `holdfast demo`") {
		t.Errorf("without a token: %v", err)
	}
	s := startServer(t, "chat-1", h, "127.0.0.1:0")
	err = Serve(t.Context(), ServerOptions{Name: "chat-2", Listen: s.addr, Hub: h.addr(), Stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "demo-server chat-2: listen tcp "+s.addr+": bind: address already in use") {
		t.Errorf("with a port in use: %v", err)
	}
}

// A server that finds another demo's hub on the port ends.
func TestServerEndsOnAnotherHub(t *testing.T) {
	h := newHub(t)
	r := newRoom()
	_ = r.receive(batch{Epoch: "another"})
	l := &hubLink{hub: h.addr(), self: hello{Token: "secret"}, room: r}
	if err := l.run(t.Context()); err != errOtherHub {
		t.Fatalf("error %v", err)
	}
}
