package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

const (
	// heartbeat is how often a stream without events has a comment, so that the client
	// and proxies see that it lives.
	heartbeat = 15 * time.Second
	// sendTimeout is how long a client may take to receive an event.
	sendTimeout = 10 * time.Second
)

// events streams events (text/event-stream) until the client leaves or the balancer stops.
// With follow=false the stream ends after those that have happened already.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	after, follow, err := s.eventsFrom(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		s.fail(w, problem(http.StatusServiceUnavailable, "", fmt.Sprintf("there are %d streams of events already", maxStreams)))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopped, cancel)()
	out := &eventWriter{w: w, control: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	// An id without data is none, but a client that connects again goes on from there.
	if out.write(fmt.Sprintf("id: %d\n\n", after)) != nil {
		return
	}
	// Whoever follows for days must not do so with a token that was withdrawn.
	stop := out.beat(cancel, func() bool { return s.refused(r) == "" })
	defer stop()
	err = s.o.Balancer.Events(ctx, after, follow, func(e api.Event) error {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return out.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, data))
	})
	if err != nil && ctx.Err() == nil {
		s.o.Log.Debug("a stream of events ended", "error", err.Error())
	}
}

// eventsFrom reads the parameters, and Last-Event-ID, which browsers send when they connect
// again.
func (s *Server) eventsFrom(r *http.Request) (after uint64, follow bool, err error) {
	q, err := query(r, "after", "follow")
	if err != nil {
		return 0, false, err
	}
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = q.Get("after")
	}
	switch text {
	case "":
	case "now":
		after = s.o.Balancer.LastEvent()
	default:
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return 0, false, api.Invalid("after", "after %q is not the id of an event, nor now", text)
		}
	}
	switch q.Get("follow") {
	case "", "true":
		follow = true
	case "false":
	default:
		return 0, false, api.Invalid("follow", "follow is %q, want true or false", q.Get("follow"))
	}
	return after, follow, nil
}

// eventWriter writes to a stream from several goroutines.
type eventWriter struct {
	control *http.ResponseController
	mu      sync.Mutex // guards the following
	w       io.Writer
}

// write sends a text at once, and fails if the client doesn't take it in time.
func (o *eventWriter) write(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.control.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := io.WriteString(o.w, text); err != nil {
		return err
	}
	return o.control.Flush()
}

// beat sends comments until stop is called, which waits for the last one. It calls failed
// if the client is gone or has no access any more.
func (o *eventWriter) beat(failed func(), allowed func() bool) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if !allowed() || o.write(": alive\n\n") != nil {
					failed()
					return
				}
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}
