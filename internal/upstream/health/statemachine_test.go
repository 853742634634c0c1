package health

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

var (
	http2 = Spec{Checks: []CheckSpec{HTTP{}}, Fall: 3, Rise: 2}
	both  = Spec{Checks: []CheckSpec{HTTP{}, WebSocket{}}, Fall: 3, Rise: 2}
	agent = Spec{Checks: []CheckSpec{HTTP{}, Agent{}}, Fall: 3, Rise: 2}
	alone = Spec{Checks: []CheckSpec{Agent{}}, Fall: 3, Rise: 2}
)

// Findings are written as letters: p passed, f failed, d drains, by HTTP. After "w"
// they are of the WebSocket check, and capitals are an agent's. States are U(p),
// W(arming), D(own) and d(raining).
func TestStateMachine(t *testing.T) {
	for _, test := range []struct {
		name     string
		spec     Spec
		state    pool.Operational
		fresh    bool
		findings string
		want     string // the state after each
	}{
		{"up at the start, passes", http2, pool.Up, true, "p p", "U U"},
		{"up at the start, fails its first", http2, pool.Up, true, "f p p", "D W U"},
		{"up at the start, drains", http2, pool.Up, true, "d p p", "d d U"},
		{"fails its second", http2, pool.Up, true, "p f f p f f f", "U U U U U U D"},
		{"known, fails", http2, pool.Up, false, "f f f", "U U D"},
		{"joins", http2, pool.Warming, true, "p p p", "W U U"},
		{"joins and fails", http2, pool.Warming, true, "f p p", "D W U"},
		{"joins and fails later", http2, pool.Warming, true, "p f p p", "W W W U"},
		{"warming goes down", http2, pool.Warming, true, "p f f f", "W W W D"},
		{"comes back haltingly", http2, pool.Down, false, "p f p f f p p", "W W W W W W U"},
		{"drains, is up again", http2, pool.Up, false, "d p d p p", "d d d d U"},
		{"drains and goes down", http2, pool.Up, false, "d f f f d p p", "d d d D D W U"},
		{"drains with a failure", http2, pool.Up, false, "d f f p p", "d d d d U"},
		{"says 503 while it starts", http2, pool.Warming, true, "d d p p", "d d W U"},
		{"says 503 while it starts, with a hiccup", http2, pool.Warming, true, "d p d p f p p", "d W d W W W U"},
		{"503 while down", http2, pool.Down, false, "d d p p", "D D W U"},
		{"503 forgives failures", http2, pool.Up, false, "f f d f f f", "U U d d d D"},

		{"both pass", both, pool.Warming, true, "p wp p wp", "W W W U"},
		{"one passes sooner", both, pool.Warming, true, "p p p wp wp", "W W W W U"},
		{"one fails its first", both, pool.Up, true, "p wf", "U D"},
		{"one falls", both, pool.Up, false, "p wf p wf p wf p wp p wp", "U U U U U D D W W U"},
		{"both fall", both, pool.Up, false, "f wf f wf f wf p wp wp", "U U U U D D D W W"},
		{"one falls while the other drains", both, pool.Up, false, "wd f f f p wp p wp", "d d d D D W W U"},
		{"one drains while the other is down", both, pool.Down, false, "p wd p wp", "D D D W"},
		{"down by one, the other went on", both, pool.Up, false, "p p wf wf wf wp wp", "U U U U D W U"},

		{"an agent that says nothing", agent, pool.Warming, true, "P p p", "W W U"},
		{"an agent that is slow to answer", agent, pool.Warming, true, "p p", "W U"},
		{"an agent's down", agent, pool.Up, false, "p p F p P", "U U D D U"},
		{"an agent's up is not enough", agent, pool.Up, false, "f f f P p p", "U U D D W U"},
		{"an agent's 0%", agent, pool.Up, false, "p p D P", "U U d U"},
		{"an agent alone", alone, pool.Warming, true, "P F P D P", "U D U d U"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newStateMachine(test.spec, test.state, test.fresh)
			var got []string
			for finding := range strings.FieldsSeq(test.findings) {
				before := m.state
				k, f := parseFinding(finding)
				changed := m.observe(slices.IndexFunc(test.spec.Checks, func(c CheckSpec) bool { return kindOf(c) == k }), f)
				if changed != (m.state != before) {
					t.Errorf("%s: changed %v, from %v to %v", finding, changed, before, m.state)
				}
				got = append(got, map[pool.Operational]string{pool.Up: "U", pool.Warming: "W", pool.Draining: "d", pool.Down: "D"}[m.state])
			}
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("after %s\ngot  %s\nwant %s", test.findings, got, test.want)
			}
		})
	}
}

func parseFinding(s string) (reflect.Type, finding) {
	k, f := kindHTTP, finding{}
	if rest, ok := strings.CutPrefix(s, "w"); ok {
		k, s = kindWebSocket, rest
	}
	if upper := strings.ToUpper(s); s == upper {
		k, s, f.decisive = kindAgent, strings.ToLower(s), true
	}
	f.verdict = map[string]verdict{"p": passed, "f": failed, "d": drains}[s]
	return k, f
}

// What holds for every sequence of findings, derived from the sequence alone.
func TestStateMachineProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{
			Checks: []CheckSpec{HTTP{}},
			Fall:   rapid.IntRange(1, 4).Draw(t, "fall"), Rise: rapid.IntRange(1, 4).Draw(t, "rise"),
		}
		if rapid.Bool().Draw(t, "websocket") {
			spec.Checks = append(spec.Checks, WebSocket{})
		}
		if rapid.Bool().Draw(t, "tcp") {
			spec.Checks = append(spec.Checks, TCP{})
		}
		start := rapid.SampledFrom([]pool.Operational{pool.Up, pool.Warming, pool.Draining, pool.Down}).Draw(t, "state")
		fresh := rapid.Bool().Draw(t, "fresh")
		m := newStateMachine(spec, start, fresh)
		history := make([][]verdict, len(spec.Checks))
		wasUp := start == pool.Up || start == pool.Draining // since it was last Warming or Down
		for range rapid.IntRange(1, 60).Draw(t, "length") {
			k := rapid.IntRange(0, len(spec.Checks)-1).Draw(t, "check")
			v := rapid.SampledFrom([]verdict{passed, passed, failed, drains}).Draw(t, "verdict")
			history[k] = append(history[k], v)
			before := m.state
			m.observe(k, finding{verdict: v})

			fails := inARow(history[k], failed)
			first := fresh && len(history[k]) == 1
			fell := v == failed && (first || fails >= spec.Fall)
			allRose, allPass := true, true
			for k := range history {
				passes := inARow(history[k], passed)
				allRose = allRose && passes >= spec.Rise
				allPass = allPass && passes > 0
			}
			told := fmt.Sprintf("%v → %v on %v of check %d, %v", before, m.state, v, k, history)
			switch {
			case fell != (m.state == pool.Down) && before != pool.Down:
				t.Fatal("down means that one kind has fallen: " + told)
			case v == drains && before != pool.Down && m.state != pool.Draining:
				t.Fatal("a 503 drains at once: " + told)
			case before == pool.Down && m.state == pool.Draining:
				t.Fatal("what is down doesn't drain: " + told)
			case before == pool.Down && (m.state != pool.Down) != allPass:
				t.Fatal("it comes back when all pass: " + told)
			case m.state == pool.Up && before != pool.Up && !allRose:
				t.Fatal("up takes rise passes of all: " + told)
			case before == pool.Warming && allRose && m.state != pool.Up:
				t.Fatal("rise passes of all are enough: " + told)
			case before == pool.Draining && wasUp && allRose && m.state != pool.Up:
				t.Fatal("rise passes of all end the draining: " + told)
			case before == pool.Draining && !wasUp && m.state == pool.Up:
				t.Fatal("a backend that was never up misses its slow start: " + told)
			case m.state == pool.Warming && before == pool.Up:
				t.Fatal("up does not go back to warming: " + told)
			case v == passed && (m.state == pool.Down || m.state == pool.Draining) && m.state != before:
				t.Fatal("worse by a pass: " + told)
			}
			switch m.state {
			case pool.Up:
				wasUp = true
			case pool.Warming, pool.Down:
				wasUp = false
			}
		}
	})
}

// inARow counts how often v occurs at the end.
func inARow(history []verdict, v verdict) (n int) {
	for n < len(history) && history[len(history)-1-n] == v {
		n++
	}
	return n
}
