package simulate

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
)

// meter samples the world once a second, and counts in between.
type meter struct {
	result Result
	away   histogram.Histogram
	closes int // in this second
	last   time.Duration
	uneven time.Duration // when sessions were last uneven
}

// Result is the outcome of a scenario with one of its Pools and one of its Clients.
type Result struct {
	Pool    string `json:"pool"`
	Clients string `json:"clients"`

	// Peak is the highest number of handshakes that a backend got in a second.
	// PeakMean is the mean of the backends that were up in the same second.
	Peak     int     `json:"peak_handshakes"`
	PeakMean float64 `json:"peak_handshakes_mean"`
	// Closes is how many sessions ended for their clients, and PeakCloses how
	// many in the worst second.
	Closes     int `json:"closes"`
	PeakCloses int `json:"peak_closes"`
	// Refused and TimedOut are clients' handshakes that failed: by an error, or
	// by a timeout of the client.
	Refused  int `json:"refused"`
	TimedOut int `json:"timed_out"`
	// Wasted is how many handshakes servers did for clients that had left.
	Wasted int `json:"wasted"`
	// Moved is how many times a session was moved. NotMoved is how many moves
	// failed; then the session stayed or was closed.
	Moved    int `json:"moved"`
	NotMoved int `json:"not_moved"`
	// Crashes is how many times a backend was killed because it hung.
	Crashes int `json:"crashes"`
	// AwayP50, AwayP99 and AwayMax are how long clients were without a session,
	// counted when they got one again.
	AwayP50 Seconds `json:"away_p50_seconds"`
	AwayP99 Seconds `json:"away_p99_seconds"`
	AwayMax Seconds `json:"away_max_seconds"`
	// AllBack is the time from the first event until all clients had a session
	// for good; 0 if none was ever without. It has no meaning if Missing
	// clients have none at the end.
	AllBack Seconds `json:"all_back_seconds"`
	Missing int     `json:"missing"`
	// Sessions of the backends that are up at the end.
	SessionsMin  int     `json:"sessions_min"`
	SessionsMax  int     `json:"sessions_max"`
	SessionsMean float64 `json:"sessions_mean"`
	// EvenIn is the time from the first event until no backend that is up had more than a tenth
	// more or less than the mean, for good. It is 0 if that was always so, and has no meaning
	// unless EvenAtEnd.
	EvenIn    Seconds `json:"even_seconds"`
	EvenAtEnd bool    `json:"even_at_end"`

	Series []Second `json:"series"`
}

// Seconds is a duration.
type Seconds float64

// Second is the sample of one second. Backends are those that were up at its end.
type Second struct {
	Fullest      int     `json:"handshakes_max"` // of a single backend
	Handshakes   float64 `json:"handshakes_mean"`
	SessionsMin  int     `json:"sessions_min"`
	SessionsMax  int     `json:"sessions_max"`
	SessionsMean float64 `json:"sessions_mean"`
	Connected    int     `json:"connected"` // clients with a session
	Queued       int     `json:"queued"`    // handshakes in the queue
	Closes       int     `json:"closes"`
}

// start makes the meter sample once a second.
func (m *meter) start(w *world) {
	m.result.Pool, m.result.Clients = w.pool.Name, w.behaviour.Name
	m.result.Series = make([]Second, 0, w.s.Duration/time.Second+1)
	var look func()
	look = func() {
		m.sample(w)
		w.callAt(w.now+time.Second, look)
	}
	w.callAt(time.Second, look)
}

func (m *meter) sample(w *world) {
	s := Second{Connected: w.clientsByState[connected], Closes: m.closes}
	up, handshakes, sessions := 0, 0, 0
	for _, b := range w.servers {
		if b.up {
			n := b.backend.Sessions()
			if up == 0 {
				s.SessionsMin = n
			}
			s.SessionsMin, s.SessionsMax = min(s.SessionsMin, n), max(s.SessionsMax, n)
			sessions += n
			handshakes += b.handshakes - b.sampled
			up++
		}
		s.Fullest = max(s.Fullest, b.handshakes-b.sampled)
		b.sampled = b.handshakes
	}
	if up > 0 {
		s.Handshakes, s.SessionsMean = float64(handshakes)/float64(up), float64(sessions)/float64(up)
	}
	if !s.even() {
		m.uneven = w.now
	}
	if w.limiter != nil {
		s.Queued = w.limiter.Waiting()
	}
	if s.Fullest > m.result.Peak {
		m.result.Peak, m.result.PeakMean = s.Fullest, s.Handshakes
	}
	m.result.PeakCloses = max(m.result.PeakCloses, m.closes)
	m.closes = 0
	m.result.Series = append(m.result.Series, s)
}

// even reports whether no backend has more than a tenth more or less than the mean, or one session.
func (s *Second) even() bool {
	allowed := max(s.SessionsMean/10, 1)
	return float64(s.SessionsMax)-s.SessionsMean <= allowed && s.SessionsMean-float64(s.SessionsMin) <= allowed
}

func (m *meter) countClose() {
	m.result.Closes++
	m.closes++
}

// countReconnect is called when a client has a session again.
func (m *meter) countReconnect(w *world, after time.Duration) {
	m.away.Record(after)
	if w.clientsByState[connected] == len(w.clients) {
		m.last = w.now
	}
}

// finish returns the result.
func (m *meter) finish(w *world) *Result {
	r, first := &m.result, time.Duration(0)
	if len(w.s.Events) > 0 {
		first = w.s.Events[0].At
	}
	away := m.away.Summary()
	r.AwayP50, r.AwayP99, r.AwayMax = seconds(away.P50), seconds(away.P99), seconds(away.Max)
	r.AllBack = seconds(max(m.last-first, 0))
	r.EvenIn = seconds(max(m.uneven-first, 0))
	r.Missing = len(w.clients) - w.clientsByState[connected]
	if n := len(r.Series); n > 0 {
		last := r.Series[n-1]
		r.EvenAtEnd = last.even()
		r.SessionsMin, r.SessionsMax, r.SessionsMean = last.SessionsMin, last.SessionsMax, last.SessionsMean
	}
	return r
}

func seconds(d time.Duration) Seconds { return Seconds(d.Seconds()) }
