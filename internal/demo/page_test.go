package demo

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestPageIsServedWithItsPolicy(t *testing.T) {
	mux := http.NewServeMux()
	servePage(mux)
	for path, contentType := range map[string]string{
		"/":         "text/html; charset=utf-8",
		"/chat.css": "text/css; charset=utf-8",
		"/chat.js":  "text/javascript; charset=utf-8",
		"/icon.svg": "image/svg+xml",
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+path, nil))
		if w.Code != 200 || w.Header().Get("Content-Type") != contentType || w.Body.Len() == 0 {
			t.Errorf("%s: %d %q, %d bytes", path, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: may be sniffed", path)
		}
	}
	for path, status := range map[string]int{"/other": 404, "/page/chat.js": 404} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+path, nil))
		if w.Code != status {
			t.Errorf("%s: %d, want %d", path, w.Code, status)
		}
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "http://evil.example/", nil))
	body, _ := io.ReadAll(w.Body)
	machine, _ := os.Hostname()
	want := "the demo is open by IP address, as localhost or as " + machine + ", not under other names\n"
	if w.Code != http.StatusMisdirectedRequest || string(body) != want {
		t.Errorf("under another name: %d %q", w.Code, body)
	}
}

// The policy would break what the page must not have; this finds it earlier.
func TestPageHasNothingInlineOrExternal(t *testing.T) {
	html, err := pageFiles.ReadFile("page/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{`https?://`, `\bstyle=`, `\son[a-z]+=`, `<style`, `<script(?: defer)?>`} {
		if found := regexp.MustCompile(bad).Find(html); found != nil {
			t.Errorf("index.html has %q", found)
		}
	}
	for _, id := range []string{"status", "backend", "messages", "message-input", "name-input", "send", "crash", "close", "events"} {
		if !strings.Contains(string(html), `data-testid="`+id+`"`) {
			t.Errorf("index.html has no data-testid %s", id)
		}
	}
	script, err := pageFiles.ReadFile("page/chat.js")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b`).Find(script); found != nil {
		t.Errorf("chat.js has %s: what people type must go through textContent", found)
	}
}

func TestLocalNames(t *testing.T) {
	tests := map[string]bool{
		"127.0.0.1": true, "127.0.0.1:8080": true, "[::1]:8080": true, "[::1]": true, "192.168.1.7:80": true,
		"localhost": true, "LOCALHOST:8080": true, "demo.localhost:8080": true, "box": true, "Box:8080": true,
		"": false, "evil.example": false, "evil.example:8080": false, "localhost.evil.example": false,
		"127.0.0.1.evil.example:80": false, "box.evil.example": false, "notlocalhost": false,
	}
	for host, want := range tests {
		if got := isLocalName(host, "box"); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
