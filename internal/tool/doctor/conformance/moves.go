package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// moves reads the balancer's log: which sessions were moved, and which were not.
type moves struct {
	mu      sync.Mutex
	partial []byte                    // of a line
	moved   map[string]int            // number of moves by reason
	failed  map[string]map[string]int // number of others by reason and result
	gaps    []time.Duration           // of moves without a loss
}

func newMoves() *moves { return &moves{moved: map[string]int{}, failed: map[string]map[string]int{}} }

func (m *moves) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.partial = append(m.partial, b...)
	for {
		line, rest, ok := bytes.Cut(m.partial, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		m.line(line)
		m.partial = slices.Clone(rest)
	}
}

func (m *moves) line(line []byte) {
	var l struct {
		Msg, Reattach, Result string
		Gap                   float64
	}
	if json.Unmarshal(line, &l) != nil {
		return
	}
	switch l.Msg {
	case "session moved":
		m.moved[l.Reattach]++
		if l.Reattach != "loss" {
			m.gaps = append(m.gaps, time.Duration(l.Gap*float64(time.Second)))
		}
	case "session not moved":
		if l.Result == "not_needed" || l.Result == "client_gone" { // the session's end is known
			return
		}
		if m.failed[l.Reattach] == nil {
			m.failed[l.Reattach] = map[string]int{}
		}
		m.failed[l.Reattach][l.Result]++
	}
}

// counts returns the number of moves for a reason, the number of those that failed, and
// their results in words, "" for none.
func (m *moves) counts(reason string) (moved, failed int, results string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var words []string
	for _, result := range slices.Sorted(maps.Keys(m.failed[reason])) {
		n := m.failed[reason][result]
		failed += n
		words = append(words, fmt.Sprintf("%d %s", n, result))
	}
	return m.moved[reason], failed, strings.Join(words, ", ")
}

// allGaps returns the sorted gaps.
func (m *moves) allGaps() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(slices.Values(m.gaps))
}
