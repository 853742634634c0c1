// Package subrequest asks an HTTP endpoint whether a client may have what it asks for.
// The client of an endpoint outlives configurations: it keeps connections, and for a
// moment answers.
package subrequest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

// Spec says which endpoint is asked, and how.
type Spec struct {
	URL     string
	CA      string        // a file of certificates that the endpoint's is verified by; "" is the system's
	Timeout time.Duration // of one request, with the wait for its turn
	Most    int           // requests at a time; others wait
	Cache   time.Duration // how long an answer that permits is used again; 0 is not at all
}

// Query is what the endpoint is asked.
type Query struct {
	Fields [][2]string
	// Keep are the names of header fields of the answer that matter if it permits. A kept
	// answer has no others.
	Keep []string
}

// Answer is what it has answered.
type Answer struct {
	Status int
	Header http.Header
}

// Client asks one endpoint. Its methods may be called concurrently.
type Client struct {
	spec Spec
	o    *Options
	http *http.Client
	turn chan struct{} // has a place for each request that is under way

	mu      sync.Mutex // guards the following
	answers map[key]kept
}

type key [sha256.Size]byte

type kept struct {
	answer *Answer
	until  time.Time
}

// maxKept bounds the answers that are kept. They are only those to clients that the
// endpoint permits.
const maxKept = 10_000

func newClient(spec Spec, o *Options) (*Client, error) {
	var pool *x509.CertPool
	if spec.CA != "" {
		text, err := os.ReadFile(spec.CA)
		if err != nil {
			return nil, err
		}
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate", spec.CA)
		}
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
		MaxIdleConns: spec.Most, MaxIdleConnsPerHost: spec.Most, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
	}
	return &Client{spec: spec, o: o, turn: make(chan struct{}, spec.Most), answers: map[key]kept{},
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

func (c *Client) close() { c.http.CloseIdleConnections() }

// Cached returns an answer that is kept. It doesn't block.
func (c *Client) Cached(q *Query) (*Answer, bool) {
	if c.spec.Cache == 0 {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.answers[q.key()]
	if !ok || !time.Now().Before(k.until) {
		return nil, false
	}
	c.o.Done(Cached, 0)
	return k.answer, true
}

// Ask asks the endpoint, and calls done once, on another goroutine.
func (c *Client) Ask(q *Query, done func(*Answer, error)) {
	go func() {
		began := time.Now()
		answer, err := c.ask(q)
		result := Failed
		if err == nil {
			result = resultOf(answer.Status)
		}
		c.o.Done(result, time.Since(began))
		done(answer, err)
	}()
}

func (c *Client) ask(q *Query) (*Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.spec.Timeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, errors.New("too many requests to the endpoint are under way")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.spec.URL, nil)
	if err != nil {
		return nil, err
	}
	for _, f := range q.Fields {
		req.Header.Add(f[0], f[1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which may have secrets in it
		}
		return nil, fmt.Errorf("the endpoint gives no answer: %w", err)
	}
	defer res.Body.Close()
	const most = 64 << 10
	io.CopyN(io.Discard, res.Body, most) // so that the connection can be used again
	answer := &Answer{res.StatusCode, res.Header}
	if resultOf(answer.Status) == Permitted {
		c.keep(q, answer)
	}
	return answer, nil
}

func (c *Client) keep(q *Query, answer *Answer) {
	if c.spec.Cache == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if len(c.answers) >= maxKept {
		for k, old := range c.answers { // in no order
			if !now.Before(old.until) || len(c.answers) > maxKept*3/4 {
				delete(c.answers, k)
			}
		}
	}
	small := &Answer{answer.Status, http.Header{}}
	for _, name := range q.Keep {
		if values := answer.Header.Values(name); len(values) > 0 {
			small.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	c.answers[q.key()] = kept{small, now.Add(c.spec.Cache)}
}

// key is a hash of all that is asked, so that an answer is only used for the same
// question.
func (q *Query) key() (k key) {
	h := sha256.New()
	var length [8]byte
	add := func(text string) {
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		h.Write(length[:])
		io.WriteString(h, text)
	}
	for _, f := range q.Fields {
		add(f[0])
		add(f[1])
	}
	for _, name := range q.Keep {
		add(name)
	}
	h.Sum(k[:0])
	return k
}

// Results of a question, the labels of a metric.
const (
	Permitted = "permitted"
	Denied    = "denied"
	Failed    = "failed" // no answer, or one that doesn't say
	Cached    = "cached" // permitted before
)

// Results lists them.
func Results() []string { return []string{Permitted, Denied, Failed, Cached} }

func resultOf(status int) string {
	switch {
	case status >= 200 && status < 300:
		return Permitted
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Denied
	}
	return Failed
}
