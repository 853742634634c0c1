package subrequest

import "time"

// Options of a Store.
type Options struct {
	// Done is called after each question, for metrics, with one of Results. It must not
	// block, and may be nil.
	Done func(result string, d time.Duration)
}

// Store has the clients that a configuration uses. Its methods must not be called
// concurrently.
type Store struct {
	o    Options
	used map[Spec]*Client
}

// NewStore makes a Store. Close ends it.
func NewStore(o Options) *Store {
	if o.Done == nil {
		o.Done = func(string, time.Duration) {}
	}
	return &Store{o: o}
}

// Load returns the clients of specs: those in use, and new ones. It changes nothing by
// itself; Use begins with what it has returned.
func (s *Store) Load(specs []Spec) (map[Spec]*Client, error) {
	clients := map[Spec]*Client{}
	for _, spec := range specs {
		if used := s.used[spec]; used != nil {
			clients[spec] = used
		} else if clients[spec] == nil {
			c, err := newClient(spec, &s.o)
			if err != nil {
				return nil, err
			}
			clients[spec] = c
		}
	}
	return clients, nil
}

// Use closes the idle connections of clients that are used no more. What they are asked
// just now goes on.
func (s *Store) Use(clients map[Spec]*Client) {
	for spec, c := range s.used {
		if clients[spec] == nil {
			c.close()
		}
	}
	s.used = clients
}

// Close ends all clients.
func (s *Store) Close() { s.Use(nil) }

// Check makes the client of a spec once, as a check of a configuration does, which reads
// its CA.
func Check(spec Spec) error {
	_, err := newClient(spec, &Options{})
	return err
}
