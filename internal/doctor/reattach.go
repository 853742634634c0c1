package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// reattach has a session taken over, by the one server there is: on a drain,
// the new server is asked while the old one still has the session.
func (d *doctor) reattach(ctx context.Context) {
	if d.o.NoReattach {
		for check := checkReattach; check <= checkCompression; check++ {
			d.tell(check, skipped("--no-reattach"))
		}
		return
	}
	offer := [2]string{"Sec-WebSocket-Extensions", deflateOffer}
	id := [2]string{"Holdfast-Session", newSessionID()}
	first, err := d.dial(ctx, offer, id)
	if err != nil {
		f := d.noSession(err)
		f.found = "with a session's id and an offer to compress, " + f.found
		d.tell(checkReattach, f)
		d.tell(checkAgain, skipped("there is no session"))
		d.tell(checkCompression, skipped("there is no session"))
		return
	}
	defer first.Close()
	second, err := d.dial(ctx, offer, id, [2]string{"Holdfast-Reattach", "drain"}, [2]string{"Holdfast-Attempt", "1"})
	if err != nil {
		d.tell(checkReattach, d.notTaken(err))
		d.tell(checkAgain, skipped("there is no second handshake"))
	} else {
		defer second.leave()
		d.tell(checkReattach, d.taken(first, second))
		d.tell(checkAgain, same(first, second))
	}
	d.tell(checkCompression, compression(first))
}

func (d *doctor) notTaken(err error) finding {
	var no *refused
	if errors.As(err, &no) && no.status < 500 {
		return mend("a session that it has, coming again with Holdfast-Reattach: drain, is "+no.Error(),
			"take sessions over whose state you find; if the server keeps none that others can read, leave reattach out of its pool, and give --no-reattach")
	}
	f := d.noSession(err)
	f.found = "a handshake with Holdfast-Reattach: drain: " + f.found
	return f
}

// taken looks at the old session once the new one is there: it goes on until
// the balancer closes it.
func (d *doctor) taken(first, second *conn) finding {
	if _, err := first.pings(d.o.Timeout); err != nil {
		return mend("once the new session was there, the old one was gone: "+cut(err),
			"let both be open for a while: the old one still has things to say, and the balancer closes it")
	}
	if _, err := second.pings(d.o.Timeout); err != nil {
		return mend("the new session doesn't answer pings: "+cut(err), adviseLibrary)
	}
	if f := first.closes(1012, d.o.Timeout); f.result != OK {
		return f
	}
	if _, err := second.pings(d.o.Timeout); err != nil {
		return mend("when the old session was closed, the new one ended too: "+cut(err),
			"keep what belongs to a connection apart from what belongs to the session's id")
	}
	return ok("taken over while the old session was open, and went on when that was closed with 1012")
}

// same compares what the two handshakes agreed to.
func same(first, second *conn) finding {
	if a, b := first.subprotocol(), second.subprotocol(); a != b {
		return mend(fmt.Sprintf("the subprotocol was %q, and then %q", a, b), "choose the subprotocol by what the client offers alone, in an order of your own")
	}
	a, b := parameters(first), parameters(second)
	if !slices.Equal(a, b) {
		return mend(fmt.Sprintf("the extensions were %q, and then %q", strings.Join(a, ", "), strings.Join(b, ", ")), "have all servers compress by the same settings")
	}
	if text := agreed(first); text != "" {
		return ok("the same" + strings.Replace(text, ",", ":", 1))
	}
	return ok("no subprotocol and no extension, both times")
}

// parameters are the extensions, whatever the order of their parameters.
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

// compression judges the answer to deflateOffer.
func compression(c *conn) finding {
	all := parameters(c)
	switch {
	case len(all) == 0:
		return ok("it doesn't compress")
	case !slices.Contains(strings.Split(all[0], "; "), "server_no_context_takeover"):
		return mend("asked for server_no_context_takeover, it agreed to "+all[0],
			"answer with server_no_context_takeover where the client asks for it (RFC 7692 §7.1.1.1), or don't compress: another server can't go on with this one's context")
	}
	return ok("it compresses each message by itself")
}
