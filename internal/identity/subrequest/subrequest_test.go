package subrequest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a client of an endpoint, and counts results.
func open(t *testing.T, spec Spec) (*Client, func() string) {
	t.Helper()
	var mu sync.Mutex
	var results []string
	store := NewStore(Options{Done: func(result string, _ time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, result)
	}})
	spec.Most = max(spec.Most, 1)
	if spec.Timeout == 0 {
		spec.Timeout = testkit.Patience
	}
	clients, err := store.Load([]Spec{spec, spec})
	if err != nil {
		t.Fatal(err)
	}
	store.Use(clients)
	t.Cleanup(store.Close)
	return clients[spec], func() string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { results = nil }()
		return strings.Join(results, " ")
	}
}

func ask(c *Client, fields ...string) (answer *Answer, err error) {
	q := &Query{}
	for i := 0; i < len(fields); i += 2 {
		q.Fields = append(q.Fields, [2]string{fields[i], fields[i+1]})
	}
	if answer, ok := c.Cached(q); ok {
		return answer, nil
	}
	done := make(chan struct{})
	c.Ask(q, func(a *Answer, e error) {
		answer, err = a, e
		close(done)
	})
	<-done
	return answer, err
}

func TestAsk(t *testing.T) {
	got := make(chan *http.Request, 1)
	var conns atomic.Int64
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		w.Header().Set("X-User", "alice")
		switch r.Header.Get("Cookie") {
		case "bad":
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
		case "moved":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "huge":
			w.Write(make([]byte, 1<<20))
		}
	}))
	endpoint.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	endpoint.Start()
	defer endpoint.Close()
	c, results := open(t, Spec{URL: endpoint.URL + "/check?x=1"})
	a, err := ask(c, "X-Original-Method", "POST", "Cookie", "a", "Cookie", "b")
	if err != nil || a.Status != 200 || a.Header.Get("X-User") != "alice" {
		t.Fatalf("%+v, %v", a, err)
	}
	if r := <-got; r.Method != "GET" || r.URL.String() != "/check?x=1" || r.ContentLength != 0 || r.Header.Get("X-Original-Method") != "POST" || !slices.Equal(r.Header["Cookie"], []string{"a", "b"}) {
		t.Errorf("asked %+v", r)
	}
	for cookie, want := range map[string]int{"bad": 401, "moved": 302} {
		if a, err := ask(c, "Cookie", cookie); err != nil || a.Status != want {
			t.Errorf("%s: %+v, %v", cookie, a, err)
		}
		<-got
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if _, err := ask(c, "Cookie", "huge"); err != nil {
		t.Error(err)
	}
	<-got
	if text := results(); strings.Count(text, "permitted") != 2 || strings.Count(text, "denied") != 1 || strings.Count(text, "failed") != 1 {
		t.Errorf("results %s", text)
	}
}

// TestNoAnswer: an endpoint that is down, or hangs, is an error in time.
func TestNoAnswer(t *testing.T) {
	hang := make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer endpoint.Close()
	defer close(hang)
	c, results := open(t, Spec{URL: endpoint.URL + "/?secret", Timeout: 50 * time.Millisecond})
	var both sync.WaitGroup
	for range 2 { // one waits for its turn
		both.Go(func() {
			if _, err := ask(c); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("it hangs: %v", err)
			}
		})
	}
	both.Wait()
	down, _ := open(t, Spec{URL: "http://127.0.0.1:1/?secret"})
	if _, err := ask(down); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("it is down: %v", err)
	}
	if text := results(); text != "failed failed" {
		t.Errorf("results %s", text)
	}
}

// TestMost: no more are asked at a time.
func TestMost(t *testing.T) {
	var now, most atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(time.Millisecond)
		now.Add(-1)
	}))
	defer endpoint.Close()
	c, _ := open(t, Spec{URL: endpoint.URL, Most: 2})
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if a, err := ask(c); err != nil || a.Status != 200 {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	all.Wait()
	if most.Load() > 2 {
		t.Errorf("%d at a time", most.Load())
	}
}

// TestCache: an answer that permits is used again for the same question, and for no other
// one. Others are never kept.
func TestCache(t *testing.T) {
	var asked atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Cookie") == "bad" {
			w.WriteHeader(403)
		}
	}))
	defer endpoint.Close()
	c, results := open(t, Spec{URL: endpoint.URL, Cache: time.Hour})
	for range 3 {
		ask(c, "Cookie", "good")
		ask(c, "Cookie", "bad")
	}
	ask(c, "Cooki", "egood") // other fields that read the same
	if n := asked.Load(); n != 5 {
		t.Errorf("asked %d times", n)
	}
	if text := results(); strings.Count(text, "cached") != 2 {
		t.Errorf("results %s", text)
	}
	q := &Query{Keep: []string{"x-user"}}
	c.keep(q, &Answer{200, http.Header{"X-User": {"ada"}, "X-Large": {strings.Repeat("a", 1<<16)}}})
	if kept, ok := c.Cached(q); !ok || len(kept.Header) != 1 || kept.Header.Get("X-User") != "ada" {
		t.Errorf("kept %v, want only what matters", kept)
	}
	if _, ok := c.Cached(&Query{Keep: []string{"x-large"}}); ok {
		t.Error("an answer is used where another field matters")
	}
	for i := range maxKept + 100 {
		c.keep(&Query{Fields: [][2]string{{"n", fmt.Sprint(i)}}}, &Answer{})
	}
	if n := len(c.answers); n > maxKept {
		t.Errorf("%d answers are kept", n)
	}
	c.mu.Lock()
	for k, old := range c.answers {
		old.until = time.Now()
		c.answers[k] = old
	}
	c.mu.Unlock()
	if _, ok := c.Cached(&Query{Fields: [][2]string{{"Cookie", "good"}}}); ok {
		t.Error("an old answer is used")
	}
}

func TestStore(t *testing.T) {
	store := NewStore(Options{})
	if _, err := store.Load([]Spec{{URL: "https://a.example", CA: "/does/not/exist"}}); err == nil {
		t.Error("a CA that isn't there was accepted")
	}
	one, err := store.Load([]Spec{{URL: "https://a.example", Most: 1}})
	if err != nil {
		t.Fatal(err)
	}
	store.Use(one)
	again, _ := store.Load([]Spec{{URL: "https://a.example", Most: 1}, {URL: "https://b.example", Most: 1}})
	for spec, c := range one {
		if again[spec] != c {
			t.Error("another client for the same endpoint")
		}
	}
	store.Use(again)
	store.Close()
	if err := Check(Spec{URL: "https://a.example"}); err != nil {
		t.Error(err)
	}
}
