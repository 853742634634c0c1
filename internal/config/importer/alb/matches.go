package alb

import (
	"fmt"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// both combines matches: a request must match one of a, and one of b.
func both(a, b []config.Match) (all []config.Match, err error) {
	if len(a)*len(b) > maxRoutes {
		return nil, fmt.Errorf("the conditions would become %d routes: split the rule", len(a)*len(b))
	}
	for _, x := range a {
		for _, y := range b {
			m, err := and(x, y)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
	}
	return all, nil
}

// and combines two conditions of a rule, of which there is at most one for hosts, paths,
// methods and addresses.
func and(x, y config.Match) (config.Match, error) {
	m := x
	twice := func(set bool, what string) error {
		if set {
			return fmt.Errorf("two conditions about %s: put their values into one", what)
		}
		return nil
	}
	if y.Host != (pattern.Host{}) || !y.HostRegex.IsZero() {
		if err := twice(x.Host != (pattern.Host{}) || !x.HostRegex.IsZero(), "the host"); err != nil {
			return m, err
		}
		m.Host, m.HostRegex = y.Host, y.HostRegex
	}
	if y.Path != (pattern.Path{}) || y.PathExact != (pattern.ExactPath{}) || y.PathBegins != "" || !y.PathRegex.IsZero() {
		if err := twice(x.Path != (pattern.Path{}) || x.PathExact != (pattern.ExactPath{}) || x.PathBegins != "" || !x.PathRegex.IsZero(), "the path"); err != nil {
			return m, err
		}
		m.Path, m.PathExact, m.PathBegins, m.PathRegex = y.Path, y.PathExact, y.PathBegins, y.PathRegex
	}
	if y.Method != nil {
		if err := twice(x.Method != nil, "the method"); err != nil {
			return m, err
		}
		m.Method = y.Method
	}
	if y.Client != nil {
		if err := twice(x.Client != nil, "the address"); err != nil {
			return m, err
		}
		m.Client = y.Client
	}
	for _, h := range y.Header {
		if slices.ContainsFunc(x.Header, func(o [2]string) bool { return o[0] == h[0] }) {
			return m, fmt.Errorf("two conditions about the header %s: put their values into one", hint.Quote(h[0]))
		}
		m.Header = append(slices.Clone(m.Header), h)
	}
	for _, q := range y.Query {
		if slices.ContainsFunc(x.Query, func(o [2]string) bool { return o[0] == q[0] }) {
			return m, fmt.Errorf("two conditions about the parameter %s: put their values into one", hint.Quote(q[0]))
		}
		m.Query = append(slices.Clone(m.Query), q)
	}
	return m, nil
}
