package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// maxLine bounds an agent's answer, in bytes with its end.
const maxLine = 256

// words are one line of an agent, in the form of HAProxy's agent-check: words
// in any order, of each sort the last one counts. What is not said stays as it
// is.
type words struct {
	weighs  bool // percent was said
	percent int  // of the weight, 0 to 100
	health  health
	why     string // of down, fail or stopped
	admin   *pool.Admin
	unknown string // the first that means nothing to us
}

type health uint8

const (
	notSaid health = iota
	up
	down
)

// parseWords reads a line without its end.
func parseWords(line string) words {
	var w words
	line, why, _ := strings.Cut(line, "#")
	w.why = strings.TrimSpace(why)
	for word := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		switch lower := strings.ToLower(word); lower {
		case "up":
			w.health = up
		case "down", "fail", "stopped":
			w.health = down
		case "ready", "drain", "maint":
			admin := map[string]pool.Admin{"ready": pool.Ready, "drain": pool.Drain, "maint": pool.Maint}[lower]
			w.admin = &admin
		default:
			percent, ok := parsePercent(lower)
			switch {
			case ok:
				w.weighs, w.percent = true, percent
			case strings.HasPrefix(lower, "maxconn:"):
				// Ours is in the configuration, and of sessions.
			case w.unknown == "":
				w.unknown = word
			}
		}
	}
	return w
}

// parsePercent reads "75%". More than 100 is 100: the weight as configured is
// what a backend can carry at most.
func parsePercent(word string) (percent int, ok bool) {
	digits, ok := strings.CutSuffix(word, "%")
	if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	if err != nil { // too many digits
		n = 100
	}
	return min(n, 100), true
}

// standing is what an agent's words have come to so far.
type standing struct {
	down     bool
	why      string
	empty    bool // 0% of the weight, which HAProxy takes as drain
	capacity float64
	admin    bool // it has said one of ready, drain and maint
}

func newStanding() standing { return standing{capacity: 1} }

func (s *standing) hear(w words) {
	if w.weighs {
		s.empty = w.percent == 0
		s.capacity = max(float64(w.percent)/100, leastCapacity)
	}
	if w.health != notSaid {
		s.down, s.why = w.health == down, w.why
	}
	s.admin = s.admin || w.admin != nil
}

// finding is what it comes to as a check. After "down" only "up" helps.
func (s *standing) finding() finding {
	f := finding{verdict: passed, decisive: true, reason: "it has nothing against it"}
	switch {
	case s.down:
		f.verdict, f.reason = failed, "it says down"
		if s.why != "" {
			f.reason += fmt.Sprintf(": %q", s.why)
		}
	case s.empty:
		f.verdict, f.reason = drains, "it says 0%"
	}
	return f
}

// agentProbe asks an agent. One that can't be reached, or says nothing that
// can be understood, changes nothing: that the backend takes connections is
// for the other checks to find out.
type agentProbe struct {
	*connector
	spec Agent
}

func (p *agentProbe) ask(ctx context.Context, addr netip.AddrPort) answer {
	a := answer{heard: true}
	line, err := p.line(ctx, addr)
	if err != nil {
		a.trouble = err.Error() + "; all stays as it last said"
		return a
	}
	a.words = parseWords(line)
	if a.words.unknown != "" {
		a.trouble = fmt.Sprintf("it says %.64q, which is ignored: want a percentage, up, down, fail, stopped, ready, drain or maint", a.words.unknown)
	}
	return a
}

// line reads one line. It may come from any of the backend's addresses: which
// of them the agent listens on, the other checks don't know.
func (p *agentProbe) line(ctx context.Context, addr netip.AddrPort) (string, error) {
	at := netip.AddrPortFrom(addr.Addr(), uint16(p.spec.Port))
	conn, err := p.open(ctx, at)
	if err != nil {
		if other, _ := p.backend.Addr(); other.Addr() != addr.Addr() && ctx.Err() == nil {
			conn, err = p.open(ctx, netip.AddrPortFrom(other.Addr(), at.Port()))
		}
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if p.spec.Send != "" {
		if _, err := conn.Write([]byte(p.spec.Send)); err != nil {
			return "", errors.New(p.explain(ctx, err))
		}
	}
	return readLine(conn, func(err error) string { return p.explain(ctx, err) })
}

// readLine reads up to the first CR or LF. What has no end may have lost its
// last words, and is no line, as with HAProxy.
func readLine(r io.Reader, explain func(error) string) (string, error) {
	buf := make([]byte, maxLine)
	for n := 0; n < len(buf); {
		more, err := r.Read(buf[n:])
		if end := bytes.IndexAny(buf[n:n+more], "\r\n"); end >= 0 {
			return string(buf[:n+end]), nil
		}
		n += more
		switch {
		case err == io.EOF && n > 0:
			return "", fmt.Errorf("its line %.64q has no end", buf[:n])
		case err == io.EOF:
			return "", errors.New("it said nothing")
		case err != nil:
			return "", errors.New(explain(err))
		}
	}
	return "", fmt.Errorf("its line is longer than %d bytes", maxLine)
}
