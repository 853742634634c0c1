package peer

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	why := "waiting"
	s, err := Start(Options{Address: "127.0.0.1:0", NotReady: func() string { return why }, Log: slog.New(slog.DiscardHandler),
		Handlers: map[string]http.Handler{"GET /loads": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "[]") })}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string) (int, string) {
		request, _ := http.NewRequest(method, "http://"+s.Addr()+path, nil)
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, strings.TrimSpace(string(body))
	}
	expect := func(method, path string, status int, body string) {
		t.Helper()
		if gotStatus, got := ask(method, path); gotStatus != status || body != "" && got != body {
			t.Errorf("%s %s: %d %q, want %d %q", method, path, gotStatus, got, status, body)
		}
	}
	expect("GET", "/health", 503, "waiting")
	expect("GET", "/live", 200, "ok")
	why = ""
	expect("GET", "/health", 200, "ok")
	expect("GET", "/loads", 200, "[]")
	expect("POST", "/health", 405, "")
	expect("GET", "/status", 404, "")
	expect("POST", "/drain", 404, "")
	if _, err := Start(Options{Address: s.Addr(), Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "--peer-address") {
		t.Errorf("an address in use: %v", err)
	}
	s.Close()
}
