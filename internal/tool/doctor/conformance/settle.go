package conformance

import "time"

// point is what must have arrived at the end of a phase.
type point struct {
	asked int            // up to this message
	told  map[string]int // up to these messages to the room, by sender
	event int            // confirmations up to this event
}

// point returns what has been sent until now.
func (l *ledger) point(told map[string]int) point {
	l.mu.Lock()
	defer l.mu.Unlock()
	return point{l.asked, told, l.events.last}
}

// settled reports whether all up to p has arrived.
func (l *ledger) settled(p point) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.open {
		if n <= p.asked {
			return false
		}
	}
	for n := range l.unconfirmed {
		if n <= p.event {
			return false
		}
	}
	for sender, n := range p.told {
		if l.missingTold(sender, n) > 0 {
			return false
		}
	}
	return true
}

// missingTold is how many messages of a sender to the room, up to number n, haven't
// arrived.
func (l *ledger) missingTold(sender string, n int) (missing int) {
	s := l.told[sender]
	if s == nil {
		return n
	}
	for i := range s.missing {
		if i <= n {
			missing++
		}
	}
	return missing + max(n-max(s.last, s.floor), 0)
}

// giveUp records what hasn't arrived up to p, and stops waiting for it.
func (l *ledger) giveUp(p point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.open {
		if n <= p.asked {
			l.tally.add(unanswered, 1, "message %d of %s was not answered", n, l.name)
			delete(l.open, n)
			l.forgivenTo.answered = max(l.forgivenTo.answered, n) // it may still come
		}
	}
	for n := range l.unconfirmed {
		if n <= p.event {
			l.tally.add(unconfirmed, 1, "the server didn't get the answer of %s to its event %d", l.name, n)
			delete(l.unconfirmed, n)
			l.forgivenTo.event = max(l.forgivenTo.event, n)
		}
	}
	for sender, n := range p.told {
		if missing := l.missingTold(sender, n); missing > 0 {
			l.tally.add(lost, missing, "%d messages of %s to the room, up to %d, didn't come to %s", missing, sender, n, l.name)
			l.restartTold(sender, n)
		}
	}
}

func (l *ledger) restartTold(sender string, n int) {
	if l.told[sender] == nil {
		l.told[sender] = &sequence{}
	}
	l.told[sender].restart(n)
}

// forgive forgets what was on its way when the server was lost. told has the number of
// messages to the room until now, by sender.
func (l *ledger) forgive(told map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.open {
		if n < l.resumed {
			l.tally.add(unanswered, 1, "")
			delete(l.open, n)
		}
	}
	if n := len(l.unconfirmed); n > 0 {
		l.tally.add(unconfirmed, n, "")
		clear(l.unconfirmed)
	}
	for sender, n := range told {
		if missing := l.missingTold(sender, n); missing > 0 {
			l.tally.add(lost, missing, "")
		}
		l.restartTold(sender, n)
	}
	l.forgivenTo = mark{answered: l.resumed, event: l.events.last}
	l.events.restart(l.events.last)
	l.safe = mark{}
}

// takeSilence returns the longest time without a message since the last call.
func (l *ledger) takeSilence(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := l.silence
	if !l.heard.IsZero() {
		longest = max(longest, now.Sub(l.heard))
	}
	l.silence = 0
	return longest
}

// works reports whether the server answers like the test application: with an answer, an
// event, a confirmation of it, and what the client has told the room.
func (l *ledger) works(room bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lacks(room)) == 0
}

// lacks lists what hasn't arrived yet of that.
func (l *ledger) lacks(room bool) (words []string) {
	if len(l.open) >= l.asked {
		words = append(words, "answers to its messages")
	}
	if l.events.last == 0 {
		words = append(words, "events")
	} else if len(l.unconfirmed) >= l.events.last {
		words = append(words, "confirmations of its acks")
	}
	if room && l.told[l.name] == nil {
		words = append(words, "its own messages to the room")
	}
	return words
}
