package app

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/tracing"
)

// traces sends traces while the configuration has tracing. The zero value sends none.
type traces struct {
	current atomic.Pointer[tracingUse] // nil without tracing
	spans   spanLinks

	mu      sync.Mutex // guards the following
	leaving map[*tracing.Exporter]bool
	before  tracing.Stats // of exporters that are closed
	closing sync.WaitGroup
}

// tracingUse is what comes of one tracing section. It is immutable.
type tracingUse struct {
	section config.Tracing
	headers http.Header
	// believes says that proxies may decide what is traced, by traceparent.
	believes bool
	exporter *tracing.Exporter // nil until it is used
}

// loadTracing reads the files of tracing. It changes nothing; useTracing does. It is nil
// without tracing.
func loadTracing(c *config.Config) (*tracingUse, error) {
	t := c.Tracing
	if t == nil {
		return nil, nil
	}
	u := &tracingUse{section: *t, headers: http.Header{}, believes: c.Forwarded.TraceContext && len(c.Forwarded.Trust) > 0}
	for _, h := range t.Headers {
		u.headers[textproto.CanonicalMIMEHeaderKey(h[0])] = []string{h[1]}
	}
	if t.HeadersFile == "" {
		return u, nil
	}
	text, err := os.ReadFile(t.HeadersFile)
	if err == nil {
		err = addHeaders(u.headers, text)
	}
	if err != nil {
		errs := config.Errors{{Path: "tracing.headers_file", Msg: err.Error()}}
		c.Locate(errs)
		return nil, errs
	}
	return u, nil
}

// maxHeadersFile bounds a file of header fields.
const maxHeadersFile = 64 << 10

// addHeaders adds the fields in the text of a file. Errors don't show values, which are
// secrets.
func addHeaders(to http.Header, text []byte) error {
	if len(text) > maxHeadersFile {
		return fmt.Errorf("the file is larger than %d bytes", maxHeadersFile)
	}
	n, added := 0, map[string]bool{}
	for line := range bytes.Lines(text) {
		n++
		line := strings.TrimSpace(string(line))
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case !ok || !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("line %d of the file isn't a header field: write NAME: VALUE", n)
		case !httpguts.ValidHeaderFieldValue(value):
			return fmt.Errorf("line %d of the file: the value of %s has a control character", n, name)
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if added[name] {
			return fmt.Errorf("line %d of the file: %s is there twice", n, name)
		}
		added[name] = true
		to[name] = []string{value}
	}
	return nil
}

// sameExporter reports whether the exporter of u can be used for other.
func (u *tracingUse) sameExporter(other *tracingUse) bool {
	a, b := u.section, other.section
	a.Sample, b.Sample = 0, 0
	return reflect.DeepEqual(a, b) && maps.EqualFunc(u.headers, other.headers, func(x, y []string) bool { return reflect.DeepEqual(x, y) })
}

// useTracing makes traces go by u from now on.
func (a *App) useTracing(u *tracingUse) {
	old := a.traces.current.Load()
	switch {
	case u == nil:
	case old != nil && u.sameExporter(old):
		u.exporter = old.exporter
		a.traces.current.Store(u)
		return
	default:
		host, _ := os.Hostname()
		u.exporter = tracing.New(tracing.Options{Endpoint: tracesURL(u.section.Endpoint), Headers: u.headers, Service: u.section.ServiceName,
			Version: a.options.Version, Host: host, Timeout: u.section.Timeout, Log: a.slog})
	}
	a.traces.current.Store(u)
	if old != nil {
		a.traces.leave(old.exporter, old.section.Timeout)
	}
}

// tracesURL adds the usual path to an endpoint that has none.
func tracesURL(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err == nil && (u.Path == "" || u.Path == "/") {
		u.Path = "/v1/traces"
		return u.String()
	}
	return endpoint
}

// close sends what waits, for as long as one request may take.
func (t *traces) close() {
	if u := t.current.Swap(nil); u != nil {
		t.leave(u.exporter, u.section.Timeout)
	}
	t.closing.Wait()
}

// leave closes an exporter in the background.
func (t *traces) leave(e *tracing.Exporter, within time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leaving == nil {
		t.leaving = map[*tracing.Exporter]bool{}
	}
	t.leaving[e] = true
	t.closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), min(within, maxFlush))
		defer cancel()
		e.Close(ctx)
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.leaving, e)
		t.before = t.before.Plus(e.Stats())
	})
}

// maxFlush bounds how long a shutdown waits for the collector.
const maxFlush = 5 * time.Second

// stats returns the counts of all exporters since the start.
func (t *traces) stats() tracing.Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.before
	for e := range t.leaving {
		sum = sum.Plus(e.Stats())
	}
	if u := t.current.Load(); u != nil && !t.leaving[u.exporter] {
		sum = sum.Plus(u.exporter.Stats())
	}
	return sum
}

// sampled reports whether a handshake is traced.
func (u *tracingUse) sampled() bool { return rand.Float64() < u.section.Sample }
