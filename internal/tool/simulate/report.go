package simulate

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// Report is the outcome of a scenario.
type Report struct {
	Name     string  `json:"name"`
	Seed     uint64  `json:"seed"`
	Duration Seconds `json:"duration_seconds"`
	Sessions int     `json:"sessions"`
	Backends int     `json:"backends"`
	Capacity float64 `json:"capacity"`
	// Events is when something happened to the backends.
	Events  []Seconds `json:"events_seconds"`
	Results []*Result `json:"results"`
}

// NewReport makes the Report of the results of s.
func NewReport(s *Scenario, results []*Result) *Report {
	r := &Report{Name: s.Name, Seed: s.Seed, Duration: seconds(s.Duration), Sessions: s.Sessions,
		Backends: s.Servers.Count, Capacity: s.Servers.Capacity, Results: results}
	for _, e := range s.Events {
		r.Events = append(r.Events, seconds(e.At))
	}
	return r
}

// PrintJSON writes r as one JSON object.
func (r *Report) PrintJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// Print writes r as a table for people.
func (r *Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s sessions, %d backends of %v handshakes/s, %v, seed %d\n\n", r.Name, grouped(r.Sessions),
		r.Backends, r.Capacity, time.Duration(float64(r.Duration)*float64(time.Second)), r.Seed)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) {
		for _, c := range cells {
			fmt.Fprint(t, c, "\t")
		}
		fmt.Fprintln(t)
	}
	row("", "", "handshakes/s", "", "closes", "", "", "", "hung", "", "", "", "all", "sessions", "sessions")
	row("pool", "clients", "fullest", "mean", "all", "in 1 s", "failed", "moved", "backends", "away p50", "p99", "max", "back in", "at the end", "even in")
	for _, s := range r.Results {
		row(s.Pool, s.Clients, grouped(s.Peak), strconv.FormatFloat(s.PeakMean, 'f', 0, 64),
			grouped(s.Closes), grouped(s.PeakCloses), grouped(s.Refused+s.TimedOut), grouped(s.Moved), grouped(s.Crashes),
			s.away(s.AwayP50), s.away(s.AwayP99), s.away(s.AwayMax), s.backIn(),
			grouped(s.SessionsMin)+"–"+grouped(s.SessionsMax), s.evenIn())
	}
	return t.Flush()
}

// away is "-" if no client was away.
func (s *Result) away(d Seconds) string {
	if s.AwayMax == 0 {
		return "-"
	}
	return d.String()
}

func (s *Result) backIn() string {
	switch {
	case s.Missing > 0:
		return grouped(s.Missing) + " not"
	case s.AllBack == 0:
		return "-"
	}
	return s.AllBack.String()
}

func (s *Result) evenIn() string {
	switch {
	case !s.EvenAtEnd:
		return "not"
	case s.EvenIn == 0:
		return "-"
	}
	return s.EvenIn.String()
}

func (s Seconds) String() string {
	if s >= 100 {
		return fmt.Sprintf("%.0f s", float64(s))
	}
	return fmt.Sprintf("%.1f s", float64(s))
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
