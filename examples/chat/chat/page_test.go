package chat

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPageIsServedWithItsPolicy(t *testing.T) {
	mux := http.NewServeMux()
	servePage(mux, "/more.js?a&b")
	for path, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/chat.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml",
		"/chat.js": "text/javascript; charset=utf-8", "/connection.js": "text/javascript; charset=utf-8",
		"/client.js": "text/javascript; charset=utf-8",
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || w.Header().Get("Content-Type") != contentType || w.Body.Len() == 0 {
			t.Errorf("%s: %d %q, %d bytes", path, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", path)
		}
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if more := `<script src="/more.js?a&amp;b" type="module"></script>` + "\n</head>"; !strings.Contains(w.Body.String(), more) {
		t.Errorf("the page has no %s", more)
	}
	for _, path := range []string{"/other", "/page/chat.js", "/index.html"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
}

// The policy would block these in the browser. This test finds them earlier.
func TestPageHasNothingInlineOrExternal(t *testing.T) {
	files, err := pageFiles.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(pageTypes) {
		t.Errorf("%d files, but content types for %d", len(files), len(pageTypes))
	}
	bad := regexp.MustCompile(`https?://[^w]|\bstyle=|\son[a-z]+="|<style|<script>|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\.style\b`)
	for _, file := range files {
		content, err := pageFiles.ReadFile("page/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		if found := bad.Find(content); found != nil {
			t.Errorf("%s has %q", file.Name(), found)
		}
	}
}
