package jwtkeys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Spec says where keys come from: exactly one of URL, Set, PEM and Secret is given.
type Spec struct {
	URL     string        // of a JWK Set
	Refresh time.Duration // how often it is read
	CA      string        // a file of certificates that the URL's is verified by; "" is the system's

	Set    string // the file of a JWK Set
	PEM    string // a file of public keys
	Secret string // a file
	// Text, if it isn't "", is the content of the file, which is only a name then: it is
	// neither read nor followed.
	Text string
}

// Options of a Store.
type Options struct {
	Log *slog.Logger
	// Loaded is called after each attempt to read a URL, for metrics. It may be nil.
	Loaded func(ok bool)
	// fetch is for tests; nil means HTTP.
	fetch func(ctx context.Context, s Spec) ([]byte, error)
}

// Store has the sources of keys that a configuration uses. Its methods must not be called
// concurrently, except those of its sources.
type Store struct {
	o    Options
	used map[Spec]*Source
}

// NewStore makes a Store. Close ends it.
func NewStore(o Options) *Store {
	if o.Loaded == nil {
		o.Loaded = func(bool) {}
	}
	if o.fetch == nil {
		o.fetch = fetch
	}
	return &Store{o: o, used: map[Spec]*Source{}}
}

// Load returns the sources of specs. Those in use stay as they are. It reads the files of
// the others, and an error says which can't be used. It changes nothing by itself: Use
// begins with what it has returned.
func (s *Store) Load(specs []Spec) (map[Spec]*Source, error) {
	sources := map[Spec]*Source{}
	for _, spec := range specs {
		if sources[spec] != nil {
			continue
		}
		if used := s.used[spec]; used != nil {
			sources[spec] = used
			continue
		}
		source, err := newSource(spec, &s.o)
		if err != nil {
			return nil, err
		}
		sources[spec] = source
	}
	return sources, nil
}

// Use starts following the sources that Load has returned, and ends all others. It waits
// for the first answers of URLs for as long as wait; what comes later is used, too.
func (s *Store) Use(sources map[Spec]*Source, wait time.Duration) {
	var first sync.WaitGroup
	for spec, source := range sources {
		if s.used[spec] == nil {
			first.Add(1)
			source.start(first.Done)
		}
	}
	for spec, source := range s.used {
		if sources[spec] == nil {
			source.close()
		}
	}
	s.used = sources
	done := make(chan struct{})
	go func() {
		first.Wait()
		close(done)
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// Close ends all sources. Their keys stay.
func (s *Store) Close() { s.Use(nil, 0) }

// Check reads the keys of a spec once, as a check of a configuration does: the files, or
// for a URL only its CA.
func Check(spec Spec) error {
	_, err := newSource(spec, &Options{})
	return err
}

// name is what logs and errors call it. A URL's query may have secrets in it.
func (s Spec) name() string {
	switch {
	case s.URL != "":
		return withoutQuery(s.URL)
	case s.Set != "":
		return s.Set
	case s.PEM != "":
		return s.PEM
	}
	return s.Secret
}

func (s Spec) parse(text []byte) (keys Keys, skipped []error, err error) {
	switch {
	case s.URL != "", s.Set != "":
		return ParseSet(text)
	case s.PEM != "":
		keys, err = ParsePEM(text)
	case s.Secret != "":
		keys, err = ParseSecret(text)
	default:
		err = errors.New("no source of keys")
	}
	return keys, nil, err
}

func (s Spec) error(err error) error { return fmt.Errorf("%s: %w", s.name(), err) }
