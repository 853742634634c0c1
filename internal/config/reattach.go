package config

import (
	"time"

	"go.yaml.in/yaml/v4"
)

// Reattach says when a live session is given another backend of its pool. The
// servers must be able to take over a session. At least one of Drain and Loss is
// true.
type Reattach struct {
	Drain   bool          // its backend is drained
	Loss    bool          // its backend is gone without a Close
	Timeout time.Duration // of finding one, more than 0 and at most an hour
}

const maxReattach = time.Hour

func readReattach(d *decoder, n *yaml.Node, p *poolDraft) {
	p.reattach = &Reattach{Drain: true, Loss: true, Timeout: 10 * time.Second}
	readMapping(d, n, "a mapping with on and timeout", d.at(n), reattachKeys, p.reattach)
}

var reattachKeys = []key[Reattach]{
	{name: "on", read: readOn},
	{name: "timeout", read: func(d *decoder, n *yaml.Node, a *Reattach) {
		d.durationWithin(n, &a.Timeout, false, minDuration, maxReattach)
	}},
}

// readOn reads one or a list of what to reattach on.
func readOn(d *decoder, n *yaml.Node, a *Reattach) {
	words := []string{"drain", "loss"}
	items, _ := d.oneOrMore(n, "drain or loss, or a list of them", "nothing to reattach on")
	seen := make(map[string]place)
	for _, item := range items {
		word := located[string]{at: d.at(item)}
		word.ok = d.choice(item, &word.value, words...)
		d.checkUnique(seen, "word", word)
	}
	has := func(word string) bool { _, ok := seen[word]; return ok }
	a.Drain, a.Loss = has("drain"), has("loss")
}
