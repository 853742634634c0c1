package admin

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/ops/logging"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

const goodToken = "abcdefgh-ijkl.mnop_QRST~+/=="

func TestParseTokens(t *testing.T) {
	for text, want := range map[string]string{
		goodToken:                           "",
		"# comment\n\n  " + goodToken + " ": "",
		goodToken + "\r\n" + strings.Repeat("x", 16) + "\n": "",
		"":                                      "there is no token: make one with openssl rand -base64 24",
		"# only a comment\n":                    "there is no token",
		"short\n":                               "the token on line 1 has 5 characters, fewer than 16",
		goodToken + "\nnot a good token!":       "line 2 has a character that no token may have",
		strings.Repeat("x", 513):                "the token on line 1 has 513 characters, more than 512",
		strings.Repeat("x\n"+goodToken+"\n", 1): "the token on line 1 has 1 characters",
		strings.Repeat(goodToken+"\n", 101):     "there are more than 100 tokens",
	} {
		tokens, err := ParseTokens([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || (tokens != nil) != (err == nil) {
			t.Errorf("%.50q: %v, want %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), goodToken) || strings.Contains(err.Error(), "good token!")) {
			t.Errorf("the error shows a token: %v", err)
		}
	}
}

func TestTokens(t *testing.T) {
	tokens, err := ParseTokens([]byte(goodToken + "\nanother-token-1234567890\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		headers []string
		why     string
	}{
		{nil, "no token"},
		{[]string{"Bearer " + goodToken}, ""},
		{[]string{"bearer  another-token-1234567890"}, ""},
		{[]string{"Bearer " + goodToken + "x"}, "wrong token"},
		{[]string{"Bearer " + goodToken[1:]}, "wrong token"},
		{[]string{"Bearer " + strings.ToUpper(goodToken)}, "wrong token"},
		{[]string{"Bearer "}, "wrong token"},
		{[]string{"Bearer"}, "wrong token"},
		{[]string{""}, "no bearer token"},
		{[]string{goodToken}, "no bearer token"},
		{[]string{"Basic " + goodToken}, "no bearer token"},
		{[]string{"Bearer " + goodToken, "Bearer " + goodToken}, "no bearer token"},
	} {
		r := httptest.NewRequest("GET", "/v1/status", nil)
		r.Header["Authorization"] = test.headers
		if why := tokens.admits(r); why != test.why {
			t.Errorf("%q: %q, want %q", test.headers, why, test.why)
		}
		if why := (*Tokens)(nil).admits(r); why != "" {
			t.Errorf("%q without tokens: %q", test.headers, why)
		}
	}
}

// Requests by TCP need a token, those by the unix socket don't. A new set of tokens counts
// at once. Refusals are logged without the token, and a flood of them isn't.
func TestAuthorization(t *testing.T) {
	var log testkit.Log
	lines := logging.New(&log, "json", 0)
	defer lines.Close()
	b := new(balancer)
	o := b.options()
	o.Log = lines.Logger()
	s := New(o)
	first, _ := ParseTokens([]byte(goodToken))
	s.SetTokens(first)
	path := testkit.SocketPath(t)
	address := serve(t, s, "tcp", "127.0.0.1:0")
	serve(t, s, "unix", path)
	ask := func(network, address, token string) *http.Response {
		t.Helper()
		transport := &http.Transport{DisableKeepAlives: true, Dial: func(string, string) (net.Conn, error) { return net.Dial(network, address) }}
		r, _ := http.NewRequest("GET", "http://localhost/v1/status", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	if res := ask("unix", path, ""); res.StatusCode != 200 {
		t.Errorf("by the unix socket: %d", res.StatusCode)
	}
	if res := ask("tcp", address, goodToken); res.StatusCode != 200 {
		t.Errorf("with the token: %d", res.StatusCode)
	}
	if res := ask("tcp", address, ""); res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Bearer realm="holdfast"` {
		t.Errorf("without a token: %d %v", res.StatusCode, res.Header)
	}
	second, _ := ParseTokens([]byte("another-token-1234567890"))
	s.SetTokens(second)
	if res := ask("tcp", address, goodToken); res.StatusCode != 401 || !strings.Contains(res.Header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("with the old token: %d %v", res.StatusCode, res.Header)
	}
	for range 300 {
		ask("tcp", address, "secret-token-in-a-flood")
	}
	lines.Close()
	text := log.String()
	if n := strings.Count(text, Refused); n < 2 || n > 200 {
		t.Errorf("%d lines about refusals", n)
	}
	if strings.Contains(text, goodToken) || strings.Contains(text, "flood") {
		t.Error("the log shows a token")
	}
}

// serve serves s on an address until the test ends, and returns the address.
func serve(t *testing.T, s *Server, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(l, nil) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}
