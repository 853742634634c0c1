package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/internal/identity/jwtkeys"
	"github.com/holdfast-ws/holdfast/internal/identity/subrequest"
	"github.com/holdfast-ws/holdfast/internal/proxy/reattach"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/wire/bearer"
)

const tokenSecret = "0123456789abcdef0123456789abcdef"

// token is one that the policies here accept; more are further claims.
func token(t testing.TB, more ...any) string {
	t.Helper()
	c := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	for i := 0; i < len(more); i += 2 {
		c[more[i].(string)] = more[i+1]
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(tokenSecret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tokens is a policy that wants a token, from anywhere.
func tokens(t testing.TB, o auth.JWTOptions) *auth.Policy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := jwtkeys.Spec{Secret: file}
	sources, err := jwtkeys.NewStore(jwtkeys.Options{}).Load([]jwtkeys.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	o.Keys, o.Algorithms = sources[spec], []string{"HS256"}
	for _, word := range []string{"header:Authorization", "query:access_token", "cookie:token", "subprotocol:bearer"} {
		s, err := bearer.Parse(word)
		if err != nil {
			t.Fatal(err)
		}
		o.Sources = append(o.Sources, s)
	}
	return &auth.Policy{JWT: auth.NewJWT(o)}
}

// TestTokens: a handshake and a plain request need a token, get the same answers, and
// reach the backend in the same way.
func TestTokens(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		back := echoing(t, "a")
		policy := tokens(t, auth.JWTOptions{Headers: []auth.HeaderOf{{Name: "X-User", Claim: "sub"}}, Strip: true, Session: []string{"sub"}, CloseOnExpiry: true})
		b := start(t, engine, setup{backends: []string{back.addr}, auth: policy})
		good := token(t)
		plain := func(target string, more ...string) string {
			return "GET " + target + " HTTP/1.1\r\nHost: ws.example.com\r\n" + lines(more) + "\r\n"
		}
		for _, tt := range []struct {
			name    string
			ask     func(target string, more ...string) string
			success int
		}{{"handshake", upgrade, 101}, {"plain", plain, 200}} {
			ask := tt.ask
			for name, refused := range map[string]struct {
				request, why string
				status       int
			}{
				"no token":   {ask("/ws", "X-User: root"), `Bearer realm="holdfast"`, 401},
				"a bad one":  {ask("/ws", "Authorization: Bearer a.b.c"), `error="invalid_token"`, 401},
				"an old one": {ask("/ws?access_token=" + token(t, "exp", 1)), "expired", 401},
				"two":        {ask("/ws", "Authorization: Bearer "+good, "Authorization: Bearer "+good), `error="invalid_request"`, 400},
			} {
				resp, body := b.dial().send(refused.request).want(refused.status)
				if !strings.Contains(resp.Header.Get("WWW-Authenticate"), refused.why) || body == "" {
					t.Errorf("%s, %s: %q, %q", tt.name, name, resp.Header.Get("WWW-Authenticate"), body)
				}
			}
			if _, heads := back.seen(); tt.success == 101 && len(heads) > 0 {
				t.Errorf("the backend has seen %q", heads)
			}
			before := len(second(back.seen()))
			resp, _ := b.dial().send(ask("/ws?a=b&access_token="+good+"&c=d", "x_user: root", "X-User: root", "Connection: Upgrade, X-User", "Cookie: token=x; other=y")).want(tt.success)
			head := second(back.seen())[before]
			if !strings.HasPrefix(head, "GET /ws?a=b&c=d HTTP/1.1\r\n") || field(t, head, "X-User") != "alice" || field(t, head, "Cookie") != "other=y" || strings.Contains(head, "root") {
				t.Errorf("%s: the backend has got %q", tt.name, head)
			}
			if resp.Header.Get("Sec-WebSocket-Protocol") != "" {
				t.Errorf("a subprotocol: %q", resp.Header)
			}
		}
		b.wait("the session", func() bool { return len(b.opened) == 1 })
		if sub, _ := b.claims[0].Get("sub"); sub != "alice" {
			t.Errorf("the session shows %q", b.claims[0])
		}
		if text := b.log.String(); strings.Contains(text, good) || strings.Contains(text, "access_token") || strings.Contains(text, strings.Split(good, ".")[2]) {
			t.Errorf("a token is in the log:\n%s", text)
		}
	})
}

// TestTokensHTTP2: requests of an HTTP/2 connection need a token, too.
func TestTokensHTTP2(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		back := echoing(t, "a")
		b := start(t, engine, setup{backends: []string{back.addr}, tls: &transport.TLS{Protocol: "h2"},
			auth: tokens(t, auth.JWTOptions{Headers: []auth.HeaderOf{{Name: "X-User", Claim: "sub"}}, Strip: true})})
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		get := func(cookies ...string) *http.Response {
			t.Helper()
			req, _ := http.NewRequest("GET", "http://"+b.addr+"/x?a", nil)
			req.Header["Cookie"], req.Header["X-User"] = cookies, []string{"root"}
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			return res
		}
		if res := get("a=b"); res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Bearer realm="holdfast"` {
			t.Errorf("without a token: %s, %q", res.Status, res.Header)
		}
		if res := get("a=b", "token="+token(t)); res.StatusCode != 200 {
			t.Errorf("with a token: %s", res.Status)
		}
		if heads := second(back.seen()); len(heads) != 1 || field(t, heads[0], "X-User") != "alice" || field(t, heads[0], "Cookie") != "a=b" {
			t.Errorf("the backend has got %q", heads)
		}
	})
}

func second(_ int, heads []string) []string { return heads }

// TestSubprotocolToken: the token is no subprotocol for the backend, and the client's
// offer is answered.
func TestSubprotocolToken(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		back := newBackend(t, func(p *peer, head string) {
			offer := field(t, head, "Sec-WebSocket-Protocol")
			if offer == "" {
				io.WriteString(p, switching())
			} else {
				io.WriteString(p, switching("Sec-WebSocket-Protocol: "+offer))
			}
			readFrame(p.br)
		})
		b := start(t, engine, setup{backends: []string{back.addr}, auth: tokens(t, auth.JWTOptions{})})
		for offer, want := range map[string]string{"bearer, " + token(t): "bearer", "v1, bearer, " + token(t): "v1", "bearer," + token(t) + ", v2": "v2"} {
			resp, _ := b.dial().send(upgrade("/", "Sec-WebSocket-Protocol: "+offer)).want(101)
			if got := resp.Header.Values("Sec-WebSocket-Protocol"); len(got) != 1 || got[0] != want {
				t.Errorf("%.20s: answered %q, want %s", offer, got, want)
			}
		}
		for _, head := range second(back.seen()) {
			if strings.Contains(head, "bearer") || strings.Contains(head, "eyJ") {
				t.Errorf("the backend has got %q", head)
			}
		}
	})
}

// TestExpiryIsPassedOn: the engine ends the session when the token expires.
func TestExpiryIsPassedOn(t *testing.T) {
	back := echoing(t, "a")
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, closes := range []bool{true, false} {
		b, e := still(t, setup{backends: []string{back.addr}, auth: tokens(t, auth.JWTOptions{CloseOnExpiry: closes, Leeway: time.Minute})})
		b.dial().send(upgrade("/?access_token=" + token(t, "exp", at.Unix()))).want(101)
		want := time.Time{}
		if closes {
			want = at.Add(time.Minute)
		}
		if got := e.started(t, 0).TokenExpires; !got.Equal(want) {
			t.Errorf("it expires at %v, want %v", got, want)
		}
	}
}

// TestMoveWithToken: a session that moves has the same claims, although its token has
// expired: it isn't verified again.
func TestMoveWithToken(t *testing.T) {
	first, other := echoing(t, "a"), echoing(t, "b")
	policy := tokens(t, auth.JWTOptions{Headers: []auth.HeaderOf{{Name: "X-User", Claim: "sub"}}, Strip: true, Leeway: time.Hour})
	b, e := still(t, setup{backends: []string{first.addr, other.addr}, auth: policy})
	c := b.dial().send(upgrade("/ws?access_token="+token(t, "exp", time.Now().Add(-time.Minute).Unix()), "Sec-WebSocket-Protocol: bearer"))
	c.want(101)
	e.started(t, 0)
	b.wantMove(e, b.moving(session.Drain), reattach.Moved)
	head := second(other.seen())[0]
	if !strings.HasPrefix(head, "GET /ws HTTP/1.1\r\n") || field(t, head, "X-User") != "alice" {
		t.Errorf("the other backend has got %q", head)
	}
}

// TestAuthRequest asks an endpoint for a handshake and for plain HTTP.
func TestAuthRequest(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-User", "alice of "+r.Header.Get("X-Original-URL"))
			if r.Header.Get("Cookie") != "good" {
				w.Header().Set("WWW-Authenticate", "Basic")
				w.WriteHeader(401)
			}
		}))
		defer endpoint.Close()
		spec := subrequest.Spec{URL: endpoint.URL, Timeout: patience, Most: 10}
		store := subrequest.NewStore(subrequest.Options{})
		clients, err := store.Load([]subrequest.Spec{spec})
		if err != nil {
			t.Fatal(err)
		}
		store.Use(clients)
		defer store.Close()
		policy := &auth.Policy{Request: auth.NewRequest(auth.RequestOptions{Client: clients[spec], Headers: []string{"Cookie"}, Copy: []string{"X-User"}})}
		back := echoing(t, "a")
		b := start(t, engine, setup{backends: []string{back.addr}, auth: policy})
		plain := func(cookie string) string {
			return "GET /p?q HTTP/1.1\r\nHost: ws.example.com\r\nCookie: " + cookie + "\r\n\r\n"
		}
		for _, ask := range []string{upgrade("/w", "Cookie: bad"), plain("bad")} {
			if resp, _ := b.dial().send(ask).want(401); resp.Header.Get("WWW-Authenticate") != "Basic" {
				t.Errorf("told %q", resp.Header)
			}
		}
		c := b.dial().send(upgrade("/w?q", "Cookie: good", "X-User: root") + clientFrame(1, "early"))
		c.want(101)
		c.wantBytes(serverFrame(1, "early"))
		b.dial().send(plain("good")).want(200)
		heads := second(back.seen())
		if len(heads) != 2 || field(t, heads[0], "X-User") != "alice of http://ws.example.com/w?q" || field(t, heads[1], "X-User") != "alice of http://ws.example.com/p?q" {
			t.Errorf("the backend has got %q", heads)
		}
	})
}

// TestAuthWaits: while an endpoint hangs, a client may leave, and one that stays is told
// in time.
func TestAuthWaits(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		hang, asked := make(chan struct{}), make(chan struct{}, 10)
		endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			asked <- struct{}{}
			<-hang
		}))
		defer endpoint.Close()
		defer close(hang)
		spec := subrequest.Spec{URL: endpoint.URL, Timeout: time.Second / 2, Most: 10}
		store := subrequest.NewStore(subrequest.Options{})
		clients, err := store.Load([]subrequest.Spec{spec})
		if err != nil {
			t.Fatal(err)
		}
		store.Use(clients)
		defer store.Close()
		policy := &auth.Policy{Request: auth.NewRequest(auth.RequestOptions{Client: clients[spec]})}
		b := start(t, engine, setup{backends: []string{echoing(t, "a").addr}, auth: policy})
		leaves := b.dial().send(upgrade("/"))
		<-asked
		leaves.Close()
		b.wantResult("client_gone")
		resp, _ := b.dial().send(upgrade("/")).want(503)
		if resp.Header.Get("Retry-After") == "" {
			t.Errorf("told %q", resp.Header)
		}
		b.dial().send("GET / HTTP/1.1\r\nHost: ws.example.com\r\n\r\n").want(503)
	})
}
