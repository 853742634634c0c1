package tracing

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Options of an Exporter.
type Options struct {
	// Endpoint is the URL that spans are posted to.
	Endpoint string
	// Headers are sent with them, by name.
	Headers http.Header
	// Service is the name of the resource, Version that of this program.
	// Host is the name of the machine; "" is unknown.
	Service, Version, Host string
	// Timeout bounds one request.
	Timeout time.Duration
	Log     *slog.Logger
	// Transport makes the requests; nil is one of its own.
	Transport http.RoundTripper
}

const (
	// maxQueue bounds the spans that wait. A handshake has about seven.
	maxQueue = 8192
	// maxBatch is how many spans a request has at most.
	maxBatch = 512
	// batchDelay is how long a span waits for others.
	batchDelay = 2 * time.Second

	// A request that may succeed later is sent again after firstPause, then after twice
	// as long, until maxPause; for maxElapsed in all.
	firstPause = time.Second
	maxPause   = 30 * time.Second
	maxElapsed = time.Minute
)

// Stats counts spans since the start.
type Stats struct {
	Exported uint64 // the collector has them
	Dropped  uint64 // the queue was full
	Failed   uint64 // the collector has refused them, or wasn't there for too long
}

// Plus returns the sums.
func (s Stats) Plus(o Stats) Stats {
	return Stats{s.Exported + o.Exported, s.Dropped + o.Dropped, s.Failed + o.Failed}
}

// Exporter sends spans in the background. The caller must Close it.
type Exporter struct {
	options Options
	client  *http.Client
	wake    chan struct{}
	done    chan struct{}
	closing chan struct{} // closed by Close
	last    context.Context
	giveUp  context.CancelFunc // ends what Close waits for

	mu      sync.Mutex // guards the following
	queue   []Span
	stats   Stats
	closed  bool
	failing bool // the last request failed, which was logged
}

// New makes an Exporter.
func New(o Options) *Exporter {
	transport := o.Transport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 1
		transport = t
	}
	e := &Exporter{options: o, wake: make(chan struct{}, 1), done: make(chan struct{}), closing: make(chan struct{}),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	e.last, e.giveUp = context.WithCancel(context.Background())
	go e.run()
	return e
}

// Add queues spans. It never waits: if the queue is full, they are dropped and counted.
func (e *Exporter) Add(spans []Span) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.queue)+len(spans) > maxQueue {
		e.stats.Dropped += uint64(len(spans))
		return
	}
	e.queue = append(e.queue, spans...)
	if len(e.queue) >= maxBatch {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// Stats returns the present counts.
func (e *Exporter) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats
}

// Close sends what waits, until ctx is done; the rest is dropped.
func (e *Exporter) Close(ctx context.Context) {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.closing)
	}
	e.mu.Unlock()
	defer context.AfterFunc(ctx, e.giveUp)()
	<-e.done
	e.giveUp()
	e.client.CloseIdleConnections()
}

func (e *Exporter) run() {
	defer close(e.done)
	timer := time.NewTimer(batchDelay)
	defer timer.Stop()
	for {
		closing := false
		select {
		case <-timer.C:
		case <-e.wake:
		case <-e.closing:
			closing = true
		}
		for {
			batch := e.take()
			if len(batch) == 0 {
				break
			}
			e.count(len(batch), e.send(batch))
		}
		if closing {
			return
		}
		timer.Reset(batchDelay)
	}
}

// take takes the spans that have waited longest.
func (e *Exporter) take() []Span {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.queue), maxBatch)
	batch := e.queue[:n:n]
	if e.queue = e.queue[n:]; len(e.queue) == 0 {
		e.queue = nil // gives the array back
	}
	return batch
}

// count counts what has become of n spans, and logs when that changes.
func (e *Exporter) count(n int, err error) {
	e.mu.Lock()
	var partial *partialError
	failed := n
	switch {
	case err == nil:
		failed = 0
	case errors.As(err, &partial):
		failed = min(n, int(partial.rejected))
	}
	e.stats.Exported += uint64(n - failed)
	e.stats.Failed += uint64(failed)
	changed := e.failing != (err != nil)
	e.failing = err != nil
	e.mu.Unlock()
	switch {
	case !changed:
	case err != nil:
		e.options.Log.Warn("traces can't be sent; they are dropped and counted until that succeeds again", "endpoint", e.options.Endpoint, "error", err)
	default:
		e.options.Log.Info("traces are sent again", "endpoint", e.options.Endpoint)
	}
}

// send sends a batch, several times if the collector may take it later.
func (e *Exporter) send(batch []Span) error {
	resource := []Attribute{Text("service.name", e.options.Service), Text("service.version", e.options.Version)}
	if e.options.Host != "" {
		resource = append(resource, Text("host.name", e.options.Host))
	}
	body := appendRequest(nil, resource, e.options.Version, batch)
	began, pause := time.Now(), firstPause
	for {
		after, err := e.post(body)
		var later *retryableError
		if err == nil || !errors.As(err, &later) {
			return err
		}
		wait := max(after, pause-pause/5+rand.N(2*pause/5))
		pause = min(2*pause, maxPause)
		if time.Since(began)+wait > maxElapsed {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.closing: // one more try, at once
			timer.Stop()
			if e.last.Err() != nil {
				return err
			}
			_, err = e.post(body)
			return err
		}
	}
}
