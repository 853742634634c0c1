package closing_test

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/closing"
)

type observer func(session.Summary)

func (f observer) SessionClosed(s session.Summary) { f(s) }

// TestCloser: every observer is called at the end, and then what the session held
// is released.
func TestCloser(t *testing.T) {
	end := session.Summary{Info: session.Info{ID: session.NewID(), Backend: 3}, Cause: session.ClientClosed, Code: 1000}
	var heard []string
	note := func(who string) observer {
		return func(s session.Summary) {
			if s != end {
				t.Errorf("%s hears of %+v", who, s)
			}
			heard = append(heard, who)
		}
	}
	l := closing.Closer{Release: note("gate"), Observers: []closing.Observer{note("log"), note("metrics")}}
	l.Ended(end)
	if want := []string{"log", "metrics", "gate"}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct{ shutdown, spread, rest time.Duration }{
		{0, 0, 0},
		{10 * time.Second, 8 * time.Second, 2 * time.Second},
		{25 * time.Second, 20 * time.Second, 5 * time.Second},
		{30 * time.Second, 25 * time.Second, 5 * time.Second},
		{time.Hour, time.Hour - 5*time.Second, 5 * time.Second},
	} {
		if spread, rest := closing.Spread(c.shutdown); spread != c.spread || rest != c.rest {
			t.Errorf("Spread(%v) = %v, %v; want %v, %v", c.shutdown, spread, rest, c.spread, c.rest)
		}
	}
}
