package tracing

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector is a fake one: it answers requests as its function says.
type collector struct {
	answer func(n int) (*http.Response, error) // to the n-th request, from 1

	mu    sync.Mutex
	at    []time.Time // of requests
	spans int         // in those that were answered 200
}

func status(code int, header ...string) (*http.Response, error) {
	res := &http.Response{StatusCode: code, Status: http.StatusText(code), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}
	for i := 0; i < len(header); i += 2 {
		res.Header.Set(header[i], header[i+1])
	}
	return res, nil
}

func (c *collector) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	n := len(c.at)
	c.mu.Unlock()
	res, err := c.answer(n)
	if err == nil && res == nil { // hangs
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	if err == nil && res.StatusCode == 200 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spans += len(decode(fatal{}, body).ResourceSpans[0].ScopeSpans[0].Spans)
	}
	return res, err
}

type fatal struct{}

func (fatal) Fatal(args ...any) { panic(args) }

// run runs a test with a collector in a bubble of time.
func run(t *testing.T, answer func(n int) (*http.Response, error), test func(t *testing.T, c *collector, e *Exporter, log *strings.Builder)) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{answer: answer}
		log := &strings.Builder{}
		e := New(Options{Endpoint: "http://collector.test/v1/traces", Timeout: 5 * time.Second, Transport: c, Service: "s", Version: "v", Log: slog.New(slog.NewTextHandler(log, nil))})
		test(t, c, e, log)
		e.Close(t.Context())
	})
}

func ok(int) (*http.Response, error) { return status(200) }

func some(n int) []Span { return make([]Span, n) }

func want(t *testing.T, e *Exporter, s Stats) {
	t.Helper()
	if got := e.Stats(); got != s {
		t.Errorf("counted %+v, want %+v", got, s)
	}
}

func TestBatches(t *testing.T) {
	run(t, ok, func(t *testing.T, c *collector, e *Exporter, _ *strings.Builder) {
		e.Add(some(3))
		time.Sleep(batchDelay / 2)
		synctest.Wait()
		if len(c.at) != 0 {
			t.Error("sent without waiting for others")
		}
		e.Add(some(4))
		time.Sleep(batchDelay)
		synctest.Wait()
		if len(c.at) != 1 || c.spans != 7 {
			t.Errorf("%d spans in %d requests, want 7 in one", c.spans, len(c.at))
		}
		began := time.Now()
		e.Add(some(maxBatch + 1)) // a full one isn't kept waiting
		synctest.Wait()
		if len(c.at) != 3 || !c.at[1].Equal(began) || c.spans != 8+maxBatch {
			t.Errorf("%d spans in %d requests", c.spans, len(c.at))
		}
		want(t, e, Stats{Exported: 8 + maxBatch})
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(c.at) != 3 {
			t.Error("requests without spans")
		}
	})
}

func TestRetries(t *testing.T) {
	run(t, func(n int) (*http.Response, error) {
		switch n {
		case 1:
			return status(503)
		case 2:
			return status(429, "Retry-After", "17")
		case 3:
			return nil, errors.New("connection refused")
		case 4:
			return nil, nil // no answer within 5 s
		}
		return status(200)
	}, func(t *testing.T, c *collector, e *Exporter, log *strings.Builder) {
		e.Add(some(2))
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(c.at) != 5 || c.spans != 2 {
			t.Fatalf("%d requests, %d spans arrived", len(c.at), c.spans)
		}
		for i, bounds := range [][2]time.Duration{{800 * time.Millisecond, 1200 * time.Millisecond}, {17 * time.Second, 17 * time.Second}, {3200 * time.Millisecond, 4800 * time.Millisecond},
			{5*time.Second + 6400*time.Millisecond, 5*time.Second + 9600*time.Millisecond}} {
			if pause := c.at[i+1].Sub(c.at[i]); pause < bounds[0] || pause > bounds[1] {
				t.Errorf("the pause before try %d is %v, want %v", i+2, pause, bounds)
			}
		}
		want(t, e, Stats{Exported: 2})
		if log.String() != "" {
			t.Errorf("logged %s", log)
		}
	})
}

// A collector that is down for long: the queue has an end, and what is dropped is counted.
func TestCollectorIsDown(t *testing.T) {
	down := true
	run(t, func(int) (*http.Response, error) {
		if down {
			return status(503)
		}
		return status(200)
	}, func(t *testing.T, c *collector, e *Exporter, log *strings.Builder) {
		e.Add(some(10))
		time.Sleep(5 * time.Second)
		e.Add(some(maxQueue))
		e.Add(some(5)) // too many
		want(t, e, Stats{Dropped: 5})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := e.Stats(); got.Failed < 10 || got.Dropped != 5 || got.Exported != 0 {
			t.Errorf("counted %+v", got)
		}
		if n := strings.Count(log.String(), "traces can't be sent"); n != 1 {
			t.Errorf("%d warnings: %s", n, log)
		}
		c.mu.Lock()
		down = false
		c.mu.Unlock()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		got := e.Stats()
		if got.Exported == 0 || got.Exported+got.Failed != 10+maxQueue || int(got.Exported) != c.spans {
			t.Errorf("counted %+v, %d arrived", got, c.spans)
		}
		if !strings.Contains(log.String(), "traces are sent again") {
			t.Errorf("logged %s", log)
		}
	})
}

// A request that is wrong isn't sent again; neither is a redirect followed, which would
// give the headers to somebody else.
func TestRefused(t *testing.T) {
	for _, code := range []int{400, 401, 404, 302, 500} {
		run(t, func(int) (*http.Response, error) { return status(code, "Location", "http://elsewhere.test/") }, func(t *testing.T, c *collector, e *Exporter, log *strings.Builder) {
			e.Add(some(4))
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if len(c.at) != 1 || !strings.Contains(log.String(), http.StatusText(code)) {
				t.Errorf("%d: %d requests; logged %s", code, len(c.at), log)
			}
			want(t, e, Stats{Failed: 4})
		})
	}
}

func TestPartialSuccess(t *testing.T) {
	run(t, func(int) (*http.Response, error) {
		res, _ := status(200)
		res.Body = io.NopCloser(strings.NewReader("\x0a\x09\x08\x03\x12\x05no id"))
		return res, nil
	}, func(t *testing.T, c *collector, e *Exporter, log *strings.Builder) {
		e.Add(some(4))
		time.Sleep(2 * batchDelay)
		synctest.Wait()
		want(t, e, Stats{Exported: 1, Failed: 3})
		if !strings.Contains(log.String(), "no id") {
			t.Errorf("logged %s", log)
		}
	})
}

// What waits is sent at the end, also in the middle of a pause.
func TestClose(t *testing.T) {
	run(t, ok, func(t *testing.T, c *collector, e *Exporter, _ *strings.Builder) {
		e.Add(some(maxBatch / 2))
		e.Add(some(3))
		e.Close(t.Context())
		e.Add(some(1)) // too late
		want(t, e, Stats{Exported: maxBatch/2 + 3, Dropped: 1})
	})
	run(t, func(n int) (*http.Response, error) {
		if n < 2 {
			return status(503, "Retry-After", "30")
		}
		return status(200)
	}, func(t *testing.T, c *collector, e *Exporter, _ *strings.Builder) {
		e.Add(some(3))
		time.Sleep(3 * time.Second)
		began := time.Now()
		e.Close(t.Context())
		if took := time.Since(began); took > 0 {
			t.Errorf("Close waited %v", took)
		}
		want(t, e, Stats{Exported: 3})
	})
	run(t, func(int) (*http.Response, error) { return nil, nil }, func(t *testing.T, c *collector, e *Exporter, _ *strings.Builder) {
		e.Add(some(3))
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		e.Close(ctx)
		if took := time.Since(began); took != time.Second {
			t.Errorf("Close waited %v for a collector that hangs, want 1 s", took)
		}
		want(t, e, Stats{Failed: 3})
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{"": 0, "5": 5 * time.Second, "-1": 0, "soon": 0, "99999999999": 0,
			time.Now().Add(9 * time.Second).UTC().Format(http.TimeFormat): 9 * time.Second, "Sat, 02 Jan 1999 15:04:05 GMT": 0} {
			if got := retryAfter(value); got != want {
				t.Errorf("%q: %v, want %v", value, got, want)
			}
		}
	})
}

// Over a real connection: the request has what collectors ask for.
func TestRequest(t *testing.T) {
	got := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if n := len(decode(fatal{}, body).ResourceSpans[0].ScopeSpans[0].Spans); n != 2 {
			t.Errorf("%d spans", n)
		}
		got <- r
	}))
	defer s.Close()
	e := New(Options{Endpoint: s.URL + "/v1/traces", Headers: http.Header{"Authorization": {"Bearer x"}}, Timeout: time.Minute, Version: "9", Log: slog.New(slog.DiscardHandler)})
	e.Add(some(2))
	e.Close(t.Context())
	r := <-got
	if r.Method != "POST" || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" ||
		r.Header.Get("Authorization") != "Bearer x" || r.Header.Get("User-Agent") != "holdfast/9" {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	want(t, e, Stats{Exported: 2})
}
