package dashboard

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(h http.Handler, method, target string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

var (
	reference = regexp.MustCompile(`(?:href|src)="(/[^"]+)"`)
	imported  = regexp.MustCompile(`(?m)^(?:import|export) (?:[^"]* from )?"([^"]+)";$`)
)

// The page leads to all files, by its links and by the imports of its modules, and each is
// served with what browsers need to trust it.
func TestFiles(t *testing.T) {
	h := Handler()
	seen := map[string]bool{}
	var follow func(target string)
	follow = func(target string) {
		if seen[target] {
			return
		}
		seen[target] = true
		res := get(h, "GET", target)
		text := body(t, res)
		if res.StatusCode != 200 || text == "" {
			t.Fatalf("%s: %s", target, res.Status)
		}
		header := res.Header
		if header.Get("Content-Type") != types[path.Ext(target)] && target != "/" {
			t.Errorf("%s has the type %q", target, header.Get("Content-Type"))
		}
		if header.Get("Content-Security-Policy") != policy || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", target, header)
		}
		if cached := strings.Contains(header.Get("Cache-Control"), "immutable"); cached != (target != "/") {
			t.Errorf("%s: Cache-Control is %q", target, header.Get("Cache-Control"))
		}
		for _, m := range reference.FindAllStringSubmatch(text, -1) {
			follow(m[1])
		}
		for _, m := range imported.FindAllStringSubmatch(text, -1) {
			follow(path.Join(path.Dir(target), m[1]))
		}
	}
	follow("/")
	files := 0
	err := fs.WalkDir(site, "site", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
		}
		return err
	})
	if err != nil || len(seen) != files {
		t.Errorf("the page leads to %d files of %d: %v", len(seen), files, err)
	}
}

// Nothing of the page is on another server, and nothing is made of text but text.
func TestSource(t *testing.T) {
	bad := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML|createContextualFragment|` +
		`\beval\(|new Function|\bstyle="|<style|\bon[a-z]+="|javascript:|(?:src|href|url\(|import|from|fetch\()\s*=?\s*["']?(?:https?:)?//`)
	err := fs.WalkDir(site, "site", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := site.ReadFile(name)
		if found := bad.Find(text); found != nil {
			t.Errorf("%s has %q", name, found)
		}
		if path.Ext(name) == ".js" && strings.Count(string(text), "\n") > 400 {
			t.Errorf("%s has more than 400 lines", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCaching(t *testing.T) {
	h := Handler()
	plain := get(h, "GET", "/")
	etag, text := plain.Header.Get("ETag"), body(t, plain)
	packed := get(h, "GET", "/", "Accept-Encoding", "br, gzip")
	if packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("%v", packed.Header)
	}
	r, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != text {
		t.Errorf("compressed: %q, %v", got, err)
	}
	if res := get(h, "GET", "/", "If-None-Match", etag); res.StatusCode != 304 || body(t, res) != "" {
		t.Errorf("with its tag: %s", res.Status)
	}
	if res := get(h, "GET", "/", "If-None-Match", `"other"`); res.StatusCode != 200 {
		t.Errorf("with another tag: %s", res.Status)
	}
	if res := get(h, "HEAD", "/"); res.StatusCode != 200 || body(t, res) != "" || res.ContentLength != int64(len(text)) {
		t.Errorf("HEAD: %s, %d bytes", res.Status, res.ContentLength)
	}
}

func TestOtherRequests(t *testing.T) {
	h := Handler()
	for line, want := range map[string]int{
		"GET /index.html": 404, "GET /assets/": 404, "GET /assets/0000000000000000/app.js": 404, "GET /assets/../dashboard.go": 404,
		"POST /": 405, "DELETE /": 405,
	} {
		method, target, _ := strings.Cut(line, " ")
		if res := get(h, method, target); res.StatusCode != want {
			t.Errorf("%s: %s, want %d", line, res.Status, want)
		}
	}
}
