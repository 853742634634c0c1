package jwtkeys

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// issuer is what a URL answers.
type issuer struct {
	mu    sync.Mutex
	text  []byte
	err   error
	hang  bool
	takes time.Duration // what an answer takes
	reads int
}

func (i *issuer) answer(text []byte, err error, hang bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.text, i.err, i.hang = text, err, hang
}

func (i *issuer) fetch(ctx context.Context, _ Spec) ([]byte, error) {
	i.mu.Lock()
	i.reads++
	text, err, hang := i.text, i.err, i.hang
	i.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(i.takes)
	return text, err
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reads
}

func newKey(t testing.TB, kid string) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return object(t, public, "kid", kid)
}

var atURL = Spec{URL: "https://issuer.example/jwks?secret=1", Refresh: 15 * time.Minute}

// open follows one source, until the test ends.
func open(t *testing.T, o Options, spec Spec, wait time.Duration) (*Source, *Store) {
	t.Helper()
	s := NewStore(o)
	sources, err := s.Load([]Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	s.Use(sources, wait)
	return sources[spec], s
}

func knows(s *Source, kid string) bool {
	_, known := s.Keys().Find(kid, "EdDSA")
	return known
}

// TestURL: the keys of a URL are there after the start, are read again, and stay in use
// while it is down.
func TestURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		var reads [2]atomic.Int64 // that succeeded, and others
		i := &issuer{text: set(newKey(t, "1"))}
		s, store := open(t, Options{Log: log.Logger("level", "msg", "source", "error"), fetch: i.fetch, Loaded: func(ok bool) {
			if ok {
				reads[0].Add(1)
			} else {
				reads[1].Add(1)
			}
		}}, atURL, time.Minute)
		defer store.Close()
		if !knows(s, "1") || i.count() != 1 {
			t.Fatalf("the keys are not there, after %d reads", i.count())
		}
		i.answer(set(newKey(t, "1"), newKey(t, "2")), nil, false)
		time.Sleep(16 * time.Minute)
		if !knows(s, "2") {
			t.Error("a new key was not read")
		}
		if n := i.count(); n != 2 {
			t.Errorf("%d reads in 16 minutes", n)
		}
		log.Take()
		i.answer(nil, errors.New("down"), false)
		time.Sleep(24 * time.Hour)
		if !knows(s, "1") || !knows(s, "2") {
			t.Error("the keys are gone while the URL is down")
		}
		if text := log.Take(); !strings.HasPrefix(text, `level=WARN msg="the keys for tokens can't be read; those that were read before stay in use" source=https://issuer.example/jwks error=down`) || strings.Contains(text, "secret") {
			t.Errorf("the log has %q", text)
		}
		i.answer([]byte("<html>"), nil, false)
		time.Sleep(time.Hour)
		if !knows(s, "1") {
			t.Error("a page that isn't a set has replaced the keys")
		}
		i.answer(set(newKey(t, "3")), nil, false)
		time.Sleep(16 * time.Minute)
		if knows(s, "1") || !knows(s, "3") {
			t.Error("the keys were not replaced")
		}
		if ok, failed := reads[0].Load(), reads[1].Load(); ok < 3 || failed < 24*4 {
			t.Errorf("counted %d successes and %d failures", ok, failed)
		}
	})
}

// TestStartWithoutKeys: a start waits a moment for the first answer, and not longer. The
// keys are tried for again soon.
func TestStartWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{hang: true}
		began := time.Now()
		s, store := open(t, Options{Log: new(testkit.Log).Logger(), fetch: i.fetch}, atURL, 2*time.Second)
		defer store.Close()
		if d := time.Since(began); d != 2*time.Second || s.Keys() != nil {
			t.Errorf("waited for %v", d)
		}
		i.answer(set(newKey(t, "1")), nil, false)
		time.Sleep(timeout + firstRetry)
		if !knows(s, "1") {
			t.Error("there are no keys yet")
		}
	})
}

// TestRefresh: a key that isn't known has the URL read at once, for all who wait, but
// not again within ten seconds.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{text: set(newKey(t, "1")), takes: time.Millisecond} // all ask before the answer
		s, store := open(t, Options{Log: new(testkit.Log).Logger(), fetch: i.fetch}, atURL, time.Minute)
		defer store.Close()
		if s.Refresh(func() { t.Error("called") }) {
			t.Error("read again at once")
		}
		time.Sleep(pause)
		i.answer(set(newKey(t, "2")), nil, false)
		var done sync.WaitGroup
		for range 3 {
			done.Add(1)
			if !s.Refresh(done.Done) {
				t.Error("not read")
			}
		}
		done.Wait()
		if !knows(s, "2") || i.count() != 2 {
			t.Errorf("after %d reads, the key is not there", i.count())
		}
		for range 9 {
			time.Sleep(time.Second)
			if s.Refresh(func() {}) {
				t.Error("read within ten seconds")
			}
		}
		// Whoever waits when the store is closed goes on.
		i.answer(nil, nil, true)
		time.Sleep(pause)
		done.Add(1)
		if !s.Refresh(done.Done) {
			t.Error("not read")
		}
		synctest.Wait()
		store.Close()
		done.Wait()
		if s.Refresh(func() {}) {
			t.Error("read after the end")
		}
	})
}

// TestFile: a file is followed, and what can't be used isn't.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "jwks.json")
		write := func(text []byte) {
			t.Helper()
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(set(newKey(t, "1")))
		var log testkit.Log
		s, store := open(t, Options{Log: log.Logger("level")}, Spec{Set: path}, time.Minute)
		defer store.Close()
		if !knows(s, "1") || s.Refresh(func() {}) {
			t.Error("not read, or read like a URL")
		}
		write(set(newKey(t, "2")))
		time.Sleep(poll + time.Millisecond)
		synctest.Wait()
		if !knows(s, "2") {
			t.Error("a new file was not read")
		}
		write([]byte("half"))
		time.Sleep(5 * poll)
		os.Remove(path)
		time.Sleep(5 * poll)
		synctest.Wait()
		if !knows(s, "2") {
			t.Error("a bad file was used")
		}
		write(set(newKey(t, "3")))
		time.Sleep(poll)
		synctest.Wait()
		if got := log.Take(); !knows(s, "3") || got != "level=INFO\nlevel=ERROR\nlevel=ERROR\nlevel=INFO\n" {
			t.Errorf("the log has %q", got)
		}
	})
}

// TestReload: a source that stays in use is the same one; a bad file is an error, and
// changes nothing.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{text: set(newKey(t, "1"))}
		s, store := open(t, Options{Log: new(testkit.Log).Logger(), fetch: i.fetch}, atURL, time.Minute)
		defer store.Close()
		if _, err := store.Load([]Spec{atURL, {PEM: "/does/not/exist"}}); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
			t.Errorf("a file that isn't there: %v", err)
		}
		other := atURL
		other.Refresh = time.Hour
		for _, specs := range [][]Spec{{atURL, atURL}, {other, atURL}, {atURL}} {
			sources, err := store.Load(specs)
			if err != nil || sources[atURL] != s {
				t.Fatalf("another source, %v", err)
			}
			store.Use(sources, time.Minute)
		}
		if i.count() != 2 {
			t.Errorf("%d reads, want one for each source", i.count())
		}
	})
}

// TestFetch reads from real servers.
func TestFetch(t *testing.T) {
	text := set(newKey(t, "1"))
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(text) }))
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/jwks":
			w.Write(text)
		case "/moved":
			http.Redirect(w, r, "/jwks", http.StatusFound)
		case "/plain":
			http.Redirect(w, r, plain.URL, http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/huge":
			w.Write(make([]byte, maxText+1))
		default:
			http.NotFound(w, r)
		}
	}))
	ca := testca.New(t)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue("127.0.0.1").TLS}}
	secure.StartTLS()
	defer secure.Close()
	for path, want := range map[string]string{"/jwks": "", "/moved": "", "/plain": "from https to http", "/loop": "too many redirects", "/huge": "longer", "/other?secret": "status 404"} {
		got, err := fetch(t.Context(), Spec{URL: secure.URL + path, CA: ca.File()})
		switch {
		case want == "":
			if string(got) != string(text) || err != nil {
				t.Errorf("%s: %v", path, err)
			}
		case err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if _, err := fetch(t.Context(), Spec{URL: secure.URL + "/jwks"}); err == nil {
		t.Error("an unknown certificate was accepted")
	}
	if got, err := fetch(t.Context(), Spec{URL: plain.URL}); err != nil || string(got) != string(text) {
		t.Errorf("without TLS: %v", err)
	}
	if err := Check(Spec{URL: secure.URL, CA: "/does/not/exist"}); err == nil {
		t.Error("a CA that isn't there was accepted")
	}
}

// TestText: keys in memory, whose file is only a name.
func TestText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Options{})
		defer s.Close()
		spec := Spec{Secret: "/secret/default/tokens/hmac", Text: strings.Repeat("a", 32) + "\n"}
		sources, err := s.Load([]Spec{spec})
		if err != nil {
			t.Fatal(err)
		}
		s.Use(sources, time.Second)
		time.Sleep(time.Hour) // in which a file would be looked at
		if keys := sources[spec].Keys(); len(keys) != 1 || string(keys[0].Public.([]byte)) != strings.Repeat("a", 32) {
			t.Errorf("keys: %v", keys)
		}
		if sources[spec].Refresh(func() {}) {
			t.Error("it is read again")
		}
		spec.Text = "short"
		if _, err := s.Load([]Spec{spec}); err == nil || !strings.Contains(err.Error(), "/secret/default/tokens/hmac: the secret has 5 bytes") {
			t.Errorf("a short one: %v", err)
		}
	})
}
