package auth

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/internal/identity/jwtkeys"
	"github.com/holdfast-ws/holdfast/internal/identity/subrequest"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// asking makes a policy that asks an endpoint.
func asking(t *testing.T, url string, o RequestOptions) *Policy {
	t.Helper()
	spec := subrequest.Spec{URL: url, Timeout: testkit.Patience, Most: 1}
	store := subrequest.NewStore(subrequest.Options{})
	clients, err := store.Load([]subrequest.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	store.Use(clients)
	t.Cleanup(store.Close)
	o.Client = clients[spec]
	return &Policy{Request: NewRequest(o)}
}

func TestRequest(t *testing.T) {
	var asked http.Header
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header
		w.Header()["X-User"] = []string{"Zoë", "b"}
		switch r.Header.Get("Cookie") {
		case "401":
			w.Header().Set("WWW-Authenticate", `Basic realm="them"`)
			w.WriteHeader(401)
		case "401 without a challenge":
			w.WriteHeader(401)
		case "403":
			w.WriteHeader(403)
		case "302":
			http.Redirect(w, r, "/login", http.StatusFound)
		case "500":
			w.WriteHeader(500)
		case "long":
			w.Header().Set("X-User", strings.Repeat("x", maxCopied+1))
		}
	}))
	defer endpoint.Close()
	p := asking(t, endpoint.URL, RequestOptions{Headers: []string{"Authorization", "Cookie"}, Copy: []string{"X-User", "X-None"}})
	g, err := p.Permit(ask("?a=b", "Authorization: Basic x", "Cookie: a", "Cookie: b", "X-Other: y"), await)
	if err != nil || len(g.Fields) != 1 || g.Fields[0] != [2]string{"X-User", "Zo%C3%AB, b"} || g.Edits() {
		t.Errorf("permitted: %+v, %v", g, err)
	}
	if asked.Get("X-Original-URL") != "http://ws.example/?a=b" || asked.Get("X-Original-Method") != "GET" || asked.Get("X-Forwarded-For") != "192.0.2.1" ||
		len(asked["Cookie"]) != 2 || asked.Get("Authorization") != "Basic x" || asked["X-Other"] != nil {
		t.Errorf("asked with %q", asked)
	}
	for cookie, want := range map[string]struct {
		status            int
		result, challenge string
	}{
		"401":                     {401, "auth_denied", `Basic realm="them"`},
		"401 without a challenge": {401, "auth_denied", `Bearer realm="holdfast"`},
		"403":                     {403, "auth_denied", ""},
		"302":                     {503, "auth_unavailable", ""},
		"500":                     {503, "auth_unavailable", ""},
		"long":                    {503, "auth_unavailable", ""},
	} {
		_, err := p.Permit(ask("", "Cookie: "+cookie), await)
		if err == nil {
			t.Errorf("%s: permitted", cookie)
		} else if status, result, challenge := answer(err); status != want.status || result != want.result || challenge != want.challenge {
			t.Errorf("%s: %d %s %q", cookie, status, result, challenge)
		}
	}
}

// TestRequestFails: it fails closed, unless that is asked for.
func TestRequestFails(t *testing.T) {
	const down = "http://127.0.0.1:1/"
	_, err := asking(t, down, RequestOptions{}).Permit(ask(""), await)
	if status, result, _ := answer(err); status != 503 || result != "auth_unavailable" {
		t.Errorf("%d %s", status, result)
	}
	if _, err := asking(t, down, RequestOptions{Open: true}).Permit(ask(""), await); err != nil {
		t.Errorf("open: %v", err)
	}
	// Open or not, who doesn't wait isn't let in.
	for err, want := range map[error]string{os.ErrDeadlineExceeded: "auth_unavailable", io.EOF: "client_gone"} {
		_, got := asking(t, down, RequestOptions{Open: true}).Permit(ask(""), func(start func(done func())) error {
			ended := make(chan struct{})
			start(func() { close(ended) })
			<-ended
			return err
		})
		if _, result, _ := answer(got); result != want {
			t.Errorf("%v: %s", err, result)
		}
	}
}

// TestKeysOfURL: a token waits for keys that are on their way, once for each key that
// isn't known, and is refused with 503 if there never were any.
func TestKeysOfURL(t *testing.T) {
	i := newIssuer()
	text := make(chan []byte, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case b := <-text:
			w.Write(b)
		default:
			http.Error(w, "down", 500)
		}
	}))
	defer server.Close()
	store := jwtkeys.NewStore(jwtkeys.Options{Log: new(testkit.Log).Logger()})
	spec := jwtkeys.Spec{URL: server.URL, Refresh: time.Hour}
	sources, err := store.Load([]jwtkeys.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	o := usual(t)
	o.Keys = sources[spec]
	p := policy(o)
	token := sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf(), "kid", "ed")
	store.Use(sources, testkit.Patience)
	defer store.Close()
	_, err = p.Permit(bearing(token), await)
	if status, result, _ := answer(err); status != 503 || result != "no_token_keys" {
		t.Errorf("without keys: %d %s", status, result)
	}
	text <- i.set(t)
	testkit.Eventually(t, "the token is accepted", func() bool {
		_, err := p.Permit(bearing(token), await)
		return err == nil
	})
	gone := errors.New("gone")
	_, err = p.Permit(bearing(sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf(), "kid", "next")), func(start func(done func())) error {
		start(func() {})
		return gone
	})
	if _, result, _ := answer(err); result != "client_gone" && result != "token_invalid" {
		t.Errorf("a client that has gone: %s", result)
	}
}
