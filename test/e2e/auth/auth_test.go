//go:build unix

package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// issuer signs tokens, and publishes its newest key.
type issuer struct {
	*httptest.Server
	mu   sync.Mutex // guards the following
	kid  int
	key  ed25519.PrivateKey
	down bool
}

func startIssuer(t *testing.T) *issuer {
	i := new(issuer)
	i.rotate()
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.down {
			http.Error(w, "down", 503)
			return
		}
		x := base64.RawURLEncoding.EncodeToString(i.key.Public().(ed25519.PublicKey))
		fmt.Fprintf(w, `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "%d", "x": %q}]}`, i.kid, x)
	}))
	t.Cleanup(i.Close)
	return i
}

// rotate replaces the key.
func (i *issuer) rotate() {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kid, i.key = i.kid+1, key
}

func (i *issuer) setDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// token is one for a user, that expires.
func (i *issuer) token(t *testing.T, user string, in time.Duration) string {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": "me", "aud": "chat", "sub": user, "exp": time.Now().Add(in).Unix()})
	token.Header["kid"] = fmt.Sprint(i.kid)
	text, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// startTelling starts a backend that answers with what it was told: as plain HTTP, or as
// the first message of a WebSocket.
func startTelling(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told := fmt.Sprintf("%s user=%q auth=%q offer=%q", r.RequestURI, r.Header["X-User"], r.Header["Authorization"], r.Header["Sec-Websocket-Protocol"])
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, told)
			return
		}
		conn, in, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		ws, err := wspeer.Accept(conn, in.Reader, r)
		if err != nil {
			return
		}
		ws.SendText(told)
		for {
			if _, err := ws.Message(); err != nil {
				ws.SendClose(1000, "")
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func file(engine, backend, auth string) string {
	return kit.Settings{Engine: engine, Backends: []string{backend}, More: "routes: [{pool: main, auth: {" + auth + "}}]"}.YAML()
}

// TestTokens: the journey of a token, from its issuer to the end of its session.
func TestTokens(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		i := startIssuer(t)
		b := kit.StartBalancer(t, file(engine, startTelling(t), `jwt: {jwks_url: "`+i.URL+`/jwks?key=hidden", refresh: 1h, issuer: me, audience: chat, leeway: 0,
			token: [header:Authorization, query:access_token, subprotocol:bearer], claims_to_headers: {X-User: sub}, strip_token: true, session_claims: [sub]}`)+"\nlog: {level: debug}\n")
		alice := i.token(t, "alice", time.Hour)

		// Plain HTTP, and a page of a browser.
		res, err := http.Get("http://" + b.Address + "/page?access_token=" + alice + "&a=b")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if want := `/page?a=b user=["alice"] auth=[] offer=[]`; string(body) != want {
			t.Errorf("plain HTTP: %d %s, want %s", res.StatusCode, body, want)
		}
		out, err := kit.Node(t, "token.js", b.Address, i.token(t, "node", 3*time.Second)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := `{"messages":["/ user=[\"node\"] auth=[] offer=[]"],"protocol":"bearer","code":1008,"reason":"token expired"}`; strings.TrimSpace(string(out)) != want {
			t.Errorf("a page: %s, want %s", out, want)
		}
		b.FindLog(t, "session closed", 0, "cause=token_expired", "close_code=1008", "claim.sub=node")
		out, err = kit.Node(t, "token.js", b.Address, "a.b.c").Output()
		if !strings.Contains(string(out), `{"status":401,"challenge":"Bearer realm=\"holdfast\", error=\"invalid_token\"`) {
			t.Errorf("a page with a bad token: %s, %v", out, err)
		}

		// Sessions by claim.
		var sessions []*wspeer.Conn
		for range 2 {
			sessions = append(sessions, open(t, b, alice))
		}
		bob := open(t, b, i.token(t, "bob", time.Hour))
		var listed struct {
			Sessions []struct {
				ID     string
				Claims map[string]string
			}
		}
		status, text := b.Get(t, "/v1/sessions?claim=sub%3Dalice")
		if err := json.Unmarshal([]byte(text), &listed); status != 200 || err != nil || len(listed.Sessions) != 2 || listed.Sessions[0].Claims["sub"] != "alice" {
			t.Errorf("her sessions: %d %s", status, text)
		}
		if status, text := b.Get(t, "/v1/sessions?claim=tenant%3Dx"); status != 422 || !strings.Contains(text, "session_claims") {
			t.Errorf("by a claim that isn't shown: %d %s", status, text)
		}
		if got := b.Command(t, 0, "close", "--claim", "sub=alice", "--code", "4001", "--reason", "signed out"); got != "2 sessions closed\n" {
			t.Errorf("close says %q", got)
		}
		for _, ws := range sessions {
			var closed *wspeer.CloseError
			if _, err := ws.Message(); !errors.As(err, &closed) || closed.Code != 4001 || closed.Reason != "signed out" {
				t.Errorf("her session: %v", err)
			}
			ws.SendClose(4001, "")
		}
		b.FindLog(t, "session closed", 0, "cause=admin_closed", "claim.sub=alice")
		if err := bob.SendText("still there"); err != nil {
			t.Error(err)
		}

		// The issuer is down, and comes back with another key.
		i.setDown(true)
		open(t, b, alice)
		b.AwaitSessions(t, 2)
		i.rotate()
		i.setDown(false)
		next := i.token(t, "carol", time.Hour)
		testkit.Eventually(t, "a token with the new key is accepted", func() bool {
			ws, _, err := wspeer.Dial(b.Address, "/?access_token="+next)
			if err == nil {
				defer ws.Close()
			}
			return err == nil
		})

		for _, line := range b.Stderr.Lines(0) {
			if strings.Contains(line, "eyJ") || strings.Contains(line, "hidden") {
				t.Errorf("the log has a secret: %s", line)
			}
		}
	})
}

func open(t *testing.T, b *kit.Balancer, token string) *wspeer.Conn {
	t.Helper()
	ws, _, err := wspeer.Dial(b.Address, "/", "Authorization: Bearer "+token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	if _, err := ws.Message(); err != nil {
		t.Fatal(err)
	}
	return ws
}

// TestAskedEndpoint: what an endpoint says of a client holds.
func TestAskedEndpoint(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Basic good" {
			w.WriteHeader(403)
		}
		w.Header().Set("X-User", "alice")
	}))
	b := kit.StartBalancer(t, file("auto", startTelling(t), `request: {url: "`+endpoint.URL+`", copy_headers: [X-User], timeout: 5s}`))
	ws, _, err := wspeer.Dial(b.Address, "/ws", "Authorization: Basic good", "X-User: root")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if text, err := ws.Message(); text != `/ws user=["alice"] auth=["Basic good"] offer=[]` {
		t.Errorf("the backend was told %s, %v", text, err)
	}
	refused := func(want int) {
		t.Helper()
		if _, res, err := wspeer.Dial(b.Address, "/ws"); err == nil || res == nil || res.StatusCode != want {
			t.Errorf("%v, %v, want %d", res, err, want)
		}
	}
	refused(403)
	endpoint.Close()
	refused(503)
	b.FindLog(t, "handshake refused", 0, "result=auth_unavailable")
	m := b.Metrics(t)
	if m[`holdfast_auth_requests_total{result="permitted"}`] != 1 || m[`holdfast_auth_requests_total{result="denied"}`] != 1 || m[`holdfast_auth_requests_total{result="failed"}`] != 1 {
		t.Errorf("counted %v", m)
	}
	// A bad file is an error, and changes nothing.
	b.WriteConfig(t, file("auto", "127.0.0.1:1", `jwt: {secret_file: none.secret, audience: chat}`))
	if e := b.Reload(t, kit.ReloadRefused); !strings.Contains(fmt.Sprint(e["error"]), "none.secret") {
		t.Errorf("the reload was refused with %v", e)
	}
}

// TestAskedPool: endpoints that are balanced on a listener of the balancer's own, as
// docs/auth.md has it. They are told who the client is, and one may go.
func TestAskedPool(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		endpoint := func() *httptest.Server {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Basic good" {
					w.WriteHeader(403)
				}
				w.Header().Set("X-User", r.Header.Get("X-Original-URL")+" by "+r.Header.Get("X-Forwarded-For"))
			}))
			t.Cleanup(s.Close)
			return s
		}
		one, two, auth := endpoint(), endpoint(), testkit.FreeAddress(t)
		b := kit.StartBalancer(t, fmt.Sprintf(`
engine: %s
admin: {address: "127.0.0.1:0"}
listeners: [{name: public, address: "127.0.0.1:0"}, {name: auth, address: %q}]
forwarded: {trust: [127.0.0.1]}
routes:
  - {match: {listener: auth}, pool: auth}
  - {match: {listener: public}, pool: main, auth: {request: {url: "http://%s/check", copy_headers: [X-User]}}}
pools:
  auth: {backends: [{address: %q}, {address: %q}]}
  main: {backends: [{address: %q}]}
`, engine, auth, auth, one.Listener.Addr(), two.Listener.Addr(), startTelling(t)))
		for n := range 6 {
			if n == 3 {
				one.Close()
			}
			ws, _, err := wspeer.Dial(b.Address, "/ws", "Authorization: Basic good")
			if err != nil {
				t.Fatal(err)
			}
			defer ws.Close()
			if text, err := ws.Message(); err != nil || !strings.Contains(text, `/ws by 127.0.0.1, 127.0.0.1"]`) {
				t.Errorf("the backend was told %s, %v", text, err)
			}
			if _, res, err := wspeer.Dial(b.Address, "/ws"); err == nil || res == nil || res.StatusCode != 403 {
				t.Errorf("%v, %v, want 403", res, err)
			}
		}
	})
}
