package jwtkeys

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Times of sources.
const (
	// poll is how often files are looked at, as those of certificates are.
	poll = 2 * time.Second
	// pause is the time between two attempts to read a URL because of an unknown key,
	// which anyone can cause.
	pause = 10 * time.Second
	// firstRetry is the time from a failed attempt to the next one; it doubles, up to
	// the time between regular ones.
	firstRetry = 2 * time.Second
	// timeout is that of one attempt.
	timeout = 10 * time.Second
)

// Source has the keys of one Spec.
type Source struct {
	spec    Spec
	o       *Options
	current atomic.Pointer[Keys]
	text    []byte // that the keys were parsed from; used by run alone

	wake   chan struct{} // makes run read the URL
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex // guards the following
	reading bool       // or about to
	closed  bool
	read    time.Time // the end of the last attempt
	waiting []func()  // for its end
}

func newSource(spec Spec, o *Options) (*Source, error) {
	s := &Source{spec: spec, o: o, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if spec.URL != "" {
		_, err := roots(spec.CA)
		return s, err
	}
	text, err := s.readFile()
	if err != nil {
		return nil, spec.error(err)
	}
	if _, err := s.use(text); err != nil {
		return nil, spec.error(err)
	}
	return s, nil
}

func (s *Source) readFile() ([]byte, error) {
	if s.spec.Text != "" {
		return []byte(s.spec.Text), nil
	}
	if s.spec.Set != "" || s.spec.PEM != "" || s.spec.Secret != "" {
		return readFile(s.spec.name())
	}
	return nil, nil
}

// Keys returns the keys that were loaded last; nil if none ever were. It doesn't block.
func (s *Source) Keys() Keys {
	if keys := s.current.Load(); keys != nil {
		return *keys
	}
	return nil
}

// Refresh has a URL read because of a key that isn't known, and calls done, on another
// goroutine, when that has ended. It returns false, and calls nothing, for other sources,
// and if the URL was read a moment ago. It doesn't block.
func (s *Source) Refresh(done func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spec.URL == "" || s.closed || !s.reading && !s.read.IsZero() && time.Since(s.read) < pause {
		return false
	}
	s.waiting = append(s.waiting, done)
	if !s.reading {
		s.reading = true
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// start begins to follow the source. first is called after the first attempt.
func (s *Source) start(first func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.reading = cancel, s.spec.URL != ""
	go func() {
		defer close(s.ended)
		switch {
		case s.spec.URL != "":
			s.followURL(ctx, first)
		case s.spec.Text != "":
			first()
			<-ctx.Done()
		default:
			first()
			s.followFile(ctx)
		}
	}()
}

func (s *Source) close() {
	s.cancel()
	<-s.ended
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.finish()
}

// use replaces the keys by those in text. It reports whether text is new.
func (s *Source) use(text []byte) (changed bool, err error) {
	if s.current.Load() != nil && bytes.Equal(text, s.text) {
		return false, nil
	}
	keys, skipped, err := s.spec.parse(text)
	if err != nil {
		return false, err
	}
	if s.o.Log != nil {
		for _, err := range skipped {
			s.o.Log.Debug("a key for tokens is passed over", "source", s.spec.name(), "error", err)
		}
	}
	s.text = text
	s.current.Store(&keys)
	return true, nil
}

// followURL reads the URL at intervals, and when Refresh asks for it.
func (s *Source) followURL(ctx context.Context, first func()) {
	failures := 0
	for {
		ok := s.readURL(ctx, failures)
		if failures++; ok {
			failures = 0
		}
		s.finish()
		if first != nil {
			first()
			first = nil
		}
		timer := time.NewTimer(s.next(failures))
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		s.mu.Lock()
		s.reading = true
		s.mu.Unlock()
	}
}

// next is the time to the next attempt. It is random, so that many balancers don't ask at
// once.
func (s *Source) next(failures int) time.Duration {
	d := s.spec.Refresh
	if failures > 0 {
		d = min(d, firstRetry<<min(failures-1, 20))
	}
	return d - rand.N(d/10+1)
}

func (s *Source) readURL(ctx context.Context, failures int) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, err := s.o.fetch(ctx, s.spec)
	changed := false
	if err == nil {
		changed, err = s.use(text)
	}
	if context.Cause(ctx) == context.Canceled {
		return false
	}
	s.o.Loaded(err == nil)
	switch {
	case err != nil && s.Keys() == nil:
		s.o.Log.Error("the keys for tokens can't be read; clients with tokens are refused", "source", s.spec.name(), "error", err)
	case err != nil:
		s.o.Log.Warn("the keys for tokens can't be read; those that were read before stay in use", "source", s.spec.name(), "error", err)
	case changed, failures > 0:
		s.o.Log.Info("keys for tokens read", "source", s.spec.name(), "keys", len(s.Keys()))
	}
	return err == nil
}

// finish calls those who wait for the attempt that has ended.
func (s *Source) finish() {
	s.mu.Lock()
	waiting := s.waiting
	s.waiting, s.reading, s.read = nil, false, time.Now()
	s.mu.Unlock()
	for _, done := range waiting {
		done()
	}
}

// followFile looks at the file. Reading it sees what inotify doesn't: changes through
// symbolic links, as in Kubernetes, and over NFS.
func (s *Source) followFile(ctx context.Context) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	failed := ""
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		text, err := s.readFile()
		changed := false
		if err == nil {
			changed, err = s.use(text)
		}
		switch {
		case err != nil && err.Error() != failed:
			failed = err.Error()
			s.o.Log.Error("the file of keys for tokens can't be used; what was read before stays in use", "source", s.spec.name(), "error", err)
		case err == nil && (changed || failed != ""):
			failed = ""
			s.o.Log.Info("keys for tokens read", "source", s.spec.name(), "keys", len(s.Keys()))
		}
	}
}
