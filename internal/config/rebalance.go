package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Rebalance says how the sessions of a pool are evened out after a backend has
// joined, come back or grown.
type Rebalance struct {
	// Above is how far a backend must be from its fair share for anything to
	// be done, in percent of it, 1 to 100.
	Above int
	// Rate is how many sessions each backend gives away, a second, 1/3600 to
	// 1,000,000.
	Rate   float64
	MinAge time.Duration // of a session that is given away, 0 to 24h
	// StickyMove: sessions whose backend is chosen by a hash or by affinity
	// are moved, too. Such a pool has Reattach.
	StickyMove bool
}

const (
	maxAbove  = 100
	maxMinAge = 24 * time.Hour
)

type rebalanceDraft struct {
	Rebalance
	at     place
	sticky located[string]
}

func readRebalance(d *decoder, n *yaml.Node, p *poolDraft) {
	p.rebalance = &rebalanceDraft{
		Rebalance: Rebalance{Above: 10, Rate: 2, MinAge: time.Minute},
		at:        d.at(n),
		sticky:    located[string]{value: "keep"},
	}
	readMapping(d, n, "a mapping with above and rate", p.rebalance.at, rebalanceKeys, p.rebalance)
}

var rebalanceKeys = []key[rebalanceDraft]{
	{name: "above", read: func(d *decoder, n *yaml.Node, r *rebalanceDraft) {
		if text, ok := d.scalar(n, "a percentage such as 10%"); ok {
			above, err := parsePercentage(text.value, maxAbove)
			if err != nil {
				d.fail(text.at, "%v", err)
				return
			}
			r.Above = above
		}
	}},
	{name: "rate", read: func(d *decoder, n *yaml.Node, r *rebalanceDraft) {
		d.rate(n, &r.Rate)
	}},
	{name: "min_age", read: func(d *decoder, n *yaml.Node, r *rebalanceDraft) {
		d.durationWithin(n, &r.MinAge, true, minDuration, maxMinAge)
	}},
	{name: "sticky", read: func(d *decoder, n *yaml.Node, r *rebalanceDraft) {
		r.sticky.at, r.sticky.ok = d.at(n), d.choice(n, &r.sticky.value, "keep", "move")
	}},
}

// parsePercentage reads a whole percentage from 1 to most.
func parsePercentage(s string, most int) (int, error) {
	digits, found := strings.CutSuffix(s, "%")
	v, err := strconv.Atoi(digits)
	switch {
	case err != nil || strings.Trim(digits, "0123456789") != "":
		return 0, fmt.Errorf("expected a whole percentage from 1%% to %d%%, got %s", most, quote(s))
	case !found:
		return 0, fmt.Errorf("bad percentage %s: write it with its sign, such as %s%%", quote(s), cut(digits))
	case v < 1 || v > most:
		return 0, fmt.Errorf("expected a percentage from 1%% to %d%%, got %s", most, cut(s))
	}
	return v, nil
}

// checkRebalance looks at how the keys of rebalance go together with the
// pool's.
func (r *report) checkRebalance(p poolDraft) *Rebalance {
	b := p.rebalance
	if b == nil {
		if p.reattach != nil && p.onRebalance != (place{}) {
			r.warn(p.onRebalance, "rebalance does nothing here without the pool's own key of that name: add rebalance:, or leave it out")
		}
		return nil
	}
	by := ""
	switch {
	case p.balance.value == "hash":
		by = "balance: hash"
	case p.affinity.Cookie != nil:
		by = "its cookie"
	case p.affinity.Token != nil:
		by = "its token"
	}
	b.StickyMove = b.sticky.value == "move"
	switch {
	case by == "" && b.sticky.ok && p.balance.ok:
		r.warn(b.sticky.at, "sticky does nothing without balance: hash or affinity: leave it out")
	case by == "":
	case !b.StickyMove:
		r.fail(b.at, "rebalance leaves sessions alone whose backend is chosen by %s, and here that is all of them: add sticky: move to have them moved, or leave rebalance out", by)
	case p.reattach == nil || !p.reattach.Rebalance:
		r.fail(b.at, "a client whose backend is chosen by %s comes back to the same one when its session is closed: add reattach: {on: [drain, loss, rebalance]} to have sessions moved, or leave rebalance out", by)
	}
	return &b.Rebalance
}
