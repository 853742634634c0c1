package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Watch says which events a stream has.
type Watch struct {
	// After is the ID of an event: those after it come, first those that happened already
	// and are still known. 0 means all. Now leaves out all that happened already.
	After uint64
	Now   bool
	// Once ends the stream after those that happened already.
	Once bool
	// Lost is called when the connection was lost, before each attempt to connect
	// again; nil to ignore that. Found is called when the stream is open again.
	Lost  func(error)
	Found func()
}

// silence is how long a stream may be silent: longer than two heartbeats of the server.
const silence = 40 * time.Second

// Events calls f with each event. It returns when ctx is done, with the error of f, when
// the balancer refuses the stream, or if the first attempt to connect fails. If the
// connection is lost later, it connects again until ctx is done, and goes on with the first
// event that f doesn't have.
func (c *Client) Events(ctx context.Context, w Watch, f func(api.Event) error) error {
	q := url.Values{}
	switch {
	case w.Now:
		q.Set("after", "now")
	case w.After > 0:
		q.Set("after", strconv.FormatUint(w.After, 10))
	}
	if w.Once {
		q.Set("follow", "false")
	}
	s := &stream{client: c, query: q, f: f}
	for pause := time.Duration(0); ; {
		opened, err := s.read(ctx, w)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && w.Once:
			return nil
		case s.failed != nil:
			return s.failed
		case !s.begun, refused(err):
			return err
		case opened:
			pause = 0
		}
		if w.Lost != nil {
			w.Lost(err)
		}
		pause = min(max(2*pause, 100*time.Millisecond), 5*time.Second)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		}
	}
}

// refused reports whether another attempt would be refused, too. Too many streams or an
// error of the server may pass.
func refused(err error) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && p.Status < 500 && p.Status != http.StatusTooManyRequests
}

// stream is what survives connections.
type stream struct {
	client *Client
	query  url.Values
	f      func(api.Event) error
	begun  bool   // a connection was accepted
	last   string // id of the last event, "" before
	failed error  // of f
}

// read reads one connection's events until it ends. opened means that the balancer has
// accepted it.
func (s *stream) read(ctx context.Context, w Watch) (opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(silence, cancel)
	defer silent.Stop()
	header := http.Header{"Accept": {"text/event-stream"}}
	if s.last != "" {
		header.Set("Last-Event-ID", s.last)
	}
	res, err := s.client.send(ctx, "GET", "/v1/events", s.query, nil, header)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") != "text/event-stream" {
		return false, s.client.stranger()
	}
	if s.begun && w.Found != nil {
		w.Found()
	}
	s.begun = true
	err = s.parse(res.Body, func() { silent.Reset(silence) })
	if err == nil && !w.Once {
		err = fmt.Errorf("%s ended the stream of events", s.client.address)
	}
	return true, err
}

// parse reads a stream as the HTML standard says (section 9.2.6), except that only the
// last line of data counts: the balancer sends one.
func (s *stream) parse(body io.Reader, alive func()) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	data := ""
	for lines.Scan() {
		alive()
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "" && data != "":
			var e api.Event
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				return fmt.Errorf("%s sent an event that is no JSON: %w", s.client.address, err)
			}
			data = ""
			if s.failed = s.f(e); s.failed != nil {
				return s.failed
			}
		case name == "id":
			s.last = value
		case name == "data":
			data = value
		}
	}
	if err := lines.Err(); err != nil {
		return s.client.unreachable(err)
	}
	return nil
}
