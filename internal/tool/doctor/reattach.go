package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// reattach moves sessions from the server to itself, in the same way as the balancer
// moves them to another server.
func (d *doctor) reattach(ctx context.Context) {
	if d.o.NoReattach {
		for check := checkReattach; check <= checkNotice; check++ {
			d.record(check, skipped("--no-reattach"))
		}
		return
	}
	m := &move{doctor: d}
	m.run(ctx)
	d.record(checkReattach, m.verdict())
	again, compresses := d.agreements(ctx, m.accepted)
	d.record(checkAgain, again)
	d.record(checkCompression, compresses)
	d.record(checkNotice, m.notice)
}

// agreements compares the subprotocol and the extensions of two handshakes of a
// session. There is a second one only if the server takes over sessions.
func (d *doctor) agreements(ctx context.Context, accepted bool) (again, compresses finding) {
	offer := [2]string{"Sec-WebSocket-Extensions", deflateOffer}
	id := newSessionID()
	none := skipped("there is no session")
	first, err := d.dial(ctx, offer, [2]string{"Holdfast-Session", id})
	if err != nil {
		f := d.noSession(err)
		f.found = "with compression offered, " + f.found
		return none, f
	}
	defer first.end()
	compresses = compression(first)
	if !accepted {
		return skipped("there is no second handshake"), compresses
	}
	if err := d.sendFirst(first); err != nil {
		return fix("in a session with compression offered, "+describeEnd(err), adviseSay), compresses
	}
	second, err := d.dial(ctx, append(reattachHeader(id, "drain"), offer)...)
	if err != nil {
		f := d.notTaken(err)
		f.found = "with compression offered, " + f.found
		return f, compresses
	}
	defer second.end()
	return compareAgreements(first, second), compresses
}

func (d *doctor) notTaken(err error) finding {
	var no *refused
	if errors.As(err, &no) && no.status < 500 {
		return fix("a known session with Holdfast-Reattach: drain is "+no.Error(),
			"take over sessions whose state you know; give --say if a session is stored only after its client has sent something, and --no-reattach if the server's sessions can't move")
	}
	f := d.noSession(err)
	f.found = "a handshake with Holdfast-Reattach: drain: " + f.found
	return f
}

// compareAgreements compares the subprotocols and the extensions of two handshakes.
func compareAgreements(first, second *conn) finding {
	if a, b := first.subprotocol(), second.subprotocol(); a != b {
		return fix(fmt.Sprintf("the subprotocol was %q, and then %q", a, b), "choose the subprotocol only by the client's offer, in a fixed order")
	}
	a, b := parameters(first), parameters(second)
	if !slices.Equal(a, b) {
		return fix(fmt.Sprintf("the extensions were %q, and then %q", strings.Join(a, ", "), strings.Join(b, ", ")), "configure the same compression on all servers")
	}
	if text := describeAgreement(first); text != "" {
		return ok("the same" + strings.Replace(text, ",", ":", 1))
	}
	return ok("no subprotocol and no extension, both times")
}

// parameters returns the extensions with their parameters sorted.
func parameters(c *conn) (all []string) {
	for _, e := range c.extensions() {
		name, rest, _ := strings.Cut(e, ";")
		var params []string
		for p := range strings.SplitSeq(rest, ";") {
			if p = strings.TrimSpace(p); p != "" {
				params = append(params, p)
			}
		}
		slices.Sort(params)
		all = append(all, strings.Join(append([]string{strings.TrimSpace(name)}, params...), "; "))
	}
	return all
}

// compression checks the answer to deflateOffer.
func compression(c *conn) finding {
	all := parameters(c)
	switch {
	case len(all) == 0:
		return ok("it doesn't compress")
	case !slices.Contains(strings.Split(all[0], "; "), "server_no_context_takeover"):
		return fix("asked for server_no_context_takeover, it agreed to "+all[0],
			"agree to server_no_context_takeover if the client asks for it (RFC 7692 §7.1.1.1), or don't compress: another server can't continue with this one's context")
	}
	return ok("it compresses each message by itself")
}
