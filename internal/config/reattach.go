package config

import (
	"time"

	"go.yaml.in/yaml/v4"
)

// Reattach says when a live session is given another backend of its pool. The
// servers must be able to take over a session. At least one of Drain, Loss and
// Rebalance is true.
type Reattach struct {
	Drain     bool          // its backend is drained
	Loss      bool          // its backend is gone without a Close
	Rebalance bool          // its backend has more than its fair share, see Pool.Rebalance
	Timeout   time.Duration // of finding one, more than 0 and at most an hour
}

const maxReattach = time.Hour

func readReattach(d *decoder, n *yaml.Node, p *poolDraft) {
	a := reattachDraft{Reattach: Reattach{Drain: true, Loss: true, Rebalance: true, Timeout: 10 * time.Second}}
	readMapping(d, n, "a mapping with on and timeout", d.at(n), reattachKeys, &a)
	p.reattach, p.onRebalance = &a.Reattach, a.onRebalance
}

type reattachDraft struct {
	Reattach
	onRebalance place // where that word stands
}

var reattachKeys = []key[reattachDraft]{
	{name: "on", read: readOn},
	{name: "timeout", read: func(d *decoder, n *yaml.Node, a *reattachDraft) {
		d.durationWithin(n, &a.Timeout, false, minDuration, maxReattach)
	}},
}

// readOn reads one or a list of what to reattach on.
func readOn(d *decoder, n *yaml.Node, a *reattachDraft) {
	words := []string{"drain", "loss", "rebalance"}
	items, _ := d.oneOrMore(n, "drain, loss or rebalance, or a list of them", "nothing to reattach on")
	seen := make(map[string]place)
	for _, item := range items {
		word := located[string]{at: d.at(item)}
		word.ok = d.choice(item, &word.value, words...)
		d.checkUnique(seen, "word", word)
	}
	has := func(word string) bool { _, ok := seen[word]; return ok }
	a.Drain, a.Loss, a.Rebalance = has("drain"), has("loss"), has("rebalance")
	a.onRebalance = seen["rebalance"]
}
