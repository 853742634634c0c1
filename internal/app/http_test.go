package app_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// eventServer answers with an endless stream of events.
func eventServer(t *testing.T) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: first\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// openEvents opens such a stream; the channel reports its end.
func (r *running) openEvents() <-chan error {
	r.t.Helper()
	transport := &http.Transport{}
	resp, err := (&http.Client{Transport: transport}).Get("http://" + r.Addresses()[0])
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { resp.Body.Close(); transport.CloseIdleConnections() })
	events := bufio.NewReader(resp.Body)
	if line, err := events.ReadString('\n'); line != "data: first\n" {
		r.t.Fatalf("got %q, %v", line, err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, events)
		ended <- err
	}()
	return ended
}

func wantCut(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the stream ended as if it were whole")
		}
	case <-time.After(3 * testkit.Patience):
		t.Error("the stream goes on")
	}
}

// TestEventStreams: event streams count as requests, not as sessions, and end with
// a drain, with their backend, and with the balancer.
func TestEventStreams(t *testing.T) {
	long := regexp.MustCompile(`shutdown: \w+`)
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		file := func(name, address string) string {
			return long.ReplaceAllString(pools(engine, "pools: {a: {drain: {timeout: 200ms, spread: 0}, backends: [{name: "+name+", address: "+address+"}]}}"), "shutdown: 1h")
		}
		one, two := eventServer(t), eventServer(t)
		r := start(t, file("one", one))
		ended := r.openEvents()
		s := r.status()
		if b := s.Pools[0].Backends[0]; b.Sessions != 0 || b.Requests != 1 || s.Totals.Requests != 1 || s.Pools[0].Requests != 1 {
			t.Errorf("of one request the status tells %+v, %+v", s.Totals, s.Pools)
		}
		if code, body := post("http://" + r.AdminAddr() + "/v1/pools/a/backends/one/drain"); code != 200 {
			t.Fatalf("drain: %d %s", code, body)
		}
		wantCut(t, ended)
		testkit.Eventually(t, "no request is left", func() bool { return r.status().Pools[0].Backends[0].Requests == 0 })
		post("http://" + r.AdminAddr() + "/v1/pools/a/backends/one/undrain")

		ended = r.openEvents()
		r.mustReload(file("two", two))
		wantCut(t, ended)

		ended = r.openEvents()
		_, metrics := get("http://" + r.AdminAddr() + "/metrics")
		for _, want := range []string{
			`holdfast_http_requests_cut_total{cause="backend_drained"} 1`, `holdfast_http_requests_cut_total{cause="backend_removed"} 1`,
			`holdfast_backend_http_requests{backend="two",pool="a"} 1`, `holdfast_backend_sessions{backend="two",pool="a"} 0`,
		} {
			if !strings.Contains(metrics, want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
		stopped := make(chan int, 1)
		go func() { stopped <- r.stop() }()
		wantCut(t, ended)
		select {
		case <-stopped: // long before timeouts.shutdown
		case <-time.After(3 * testkit.Patience):
			t.Error("the shutdown waits")
		}
	})
}

func post(url string) (status int, body string) {
	resp, err := http.Post(url, "", nil)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	p, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(p)
}
