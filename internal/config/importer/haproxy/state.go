package haproxy

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
)

// route is a route with the lines that it comes from, and the one that has ended its
// requests.
type route struct {
	config.Route
	by    *syntax.Line
	lines []*syntax.Line
}

// state is what rules have changed on the way to a route.
type state struct {
	request, answer edits
	host            string
	path            string
	pathRegex       string // what the groups in path are of
	limits          config.RouteLimits
	timeouts        map[string]time.Duration
	lines           []*syntax.Line
	by              *syntax.Line // what ends the request
}

func (s state) clone() state {
	s.request, s.answer = s.request.clone(), s.answer.clone()
	times := make(map[string]time.Duration, len(s.timeouts))
	for name, d := range s.timeouts {
		times[name] = d
	}
	s.timeouts = times
	s.lines = slices.Clone(s.lines)
	return s
}

// edits change header fields, in their order.
type edits []edit

type edit struct {
	name   string
	drop   bool // what the client has sent
	values []string
	// passed is set on a field that is passed on as the client has sent it.
	passed bool
}

// changed is the edit of a field that a rule has changed, nil if none has.
func (es edits) changed(name string) *edit {
	for i := range es {
		if e := &es[i]; !e.passed && strings.EqualFold(e.name, name) {
			return e
		}
	}
	return nil
}

func (es edits) clone() edits {
	es = slices.Clone(es)
	for i := range es {
		es[i].values = slices.Clone(es[i].values)
	}
	return es
}

func (es *edits) apply(op, name, value string) {
	i := slices.IndexFunc(*es, func(e edit) bool { return strings.EqualFold(e.name, name) })
	if i < 0 {
		*es = append(*es, edit{name: name})
		i = len(*es) - 1
	}
	e := &(*es)[i]
	if e.passed {
		e.passed, e.values = false, nil
		if op == "add" && value == "${client_ip}" && strings.EqualFold(name, "x-forwarded-for") {
			value = "${forwarded_for}"
		}
	}
	if op != "add" {
		e.drop, e.values = true, nil
	}
	if op != "del" && value != "" {
		e.values = append(e.values, value)
	}
}

// headers are the edits for a route.
func (es edits) headers() (h config.HeaderEdits) {
	for _, e := range es {
		value := strings.Join(e.values, ", ")
		switch {
		case value == "" && e.drop:
			h.Remove = append(h.Remove, e.name)
		case value == "":
		case e.drop:
			h.Set = append(h.Set, [2]string{e.name, value})
		default:
			h.Add = append(h.Add, [2]string{e.name, value})
		}
	}
	return h
}
