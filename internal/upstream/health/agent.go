package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Agent is a check that asks a program on the backend's IP address, by HAProxy's
// agent-check protocol.
type Agent struct {
	Port int
	Send string // sent after the connect; "" means nothing
}

func (a Agent) label() string { return fmt.Sprintf("agent check on port %d", a.Port) }

func (a Agent) newCheck(c *connector) check { return &agentCheck{connector: c, spec: a} }

// agent returns the agent check of a Spec.
func (s Spec) agent() (a Agent, ok bool) {
	for _, c := range s.Checks {
		if a, ok = c.(Agent); ok {
			return a, true
		}
	}
	return Agent{}, false
}

// maxLine bounds an agent's reply, in bytes with its line end.
const maxLine = 256

// agentReply is one line from an agent, in the form of HAProxy's agent-check: words
// in any order. If several are of one kind, the last counts. What isn't mentioned
// stays unchanged.
type agentReply struct {
	hasPercent bool // percent is set
	percent    int  // of the weight, 0 to 100
	health     healthWord
	reason     string // of down, fail or stopped
	admin      *pool.Admin
	unknown    string // the first unknown word
}

type healthWord uint8

const (
	notSaid healthWord = iota
	up
	down
)

// parseAgentReply parses a line without its end.
func parseAgentReply(line string) agentReply {
	var w agentReply
	line, why, _ := strings.Cut(line, "#")
	w.reason = strings.TrimSpace(why)
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
				w.hasPercent, w.percent = true, percent
			case strings.HasPrefix(lower, "maxconn:"):
				// Our limit is configured, and counts sessions.
			case w.unknown == "":
				w.unknown = word
			}
		}
	}
	return w
}

// parsePercent parses "75%". More than 100 counts as 100: the configured weight is
// the most that a backend can carry.
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

// agentState is what an agent's replies add up to.
type agentState struct {
	down       bool
	reason     string
	zeroWeight bool // 0% of the weight, which HAProxy treats as drain
	capacity   float64
	setAdmin   bool // it has sent one of ready, drain and maint
}

func newAgentState() agentState { return agentState{capacity: 1} }

func (s *agentState) apply(w agentReply) {
	if w.hasPercent {
		s.zeroWeight = w.percent == 0
		s.capacity = max(float64(w.percent)/100, minCapacity)
	}
	if w.health != notSaid {
		s.down, s.reason = w.health == down, w.reason
	}
	s.setAdmin = s.setAdmin || w.admin != nil
}

// finding is the state as the finding of a check. After "down" only "up" helps.
func (s *agentState) finding() finding {
	f := finding{verdict: passed, decisive: true, reason: "it reports no problem"}
	switch {
	case s.down:
		f.verdict, f.reason = failed, "it says down"
		if s.reason != "" {
			f.reason += fmt.Sprintf(": %q", s.reason)
		}
	case s.zeroWeight:
		f.verdict, f.reason = drains, "it says 0%"
	}
	return f
}

// agentCheck asks an agent. If the agent can't be reached, or sends nothing that
// can be understood, nothing changes: whether the backend accepts connections is up
// to the other checks.
type agentCheck struct {
	*connector
	spec Agent
}

func (p *agentCheck) run(ctx context.Context, addr hostport.Endpoint) result {
	a := result{reportsLoad: true}
	line, err := p.readReply(ctx, addr)
	if err != nil {
		a.problem, a.silent = err.Error()+"; its last reply stays in force", true
		return a
	}
	a.reply = parseAgentReply(line)
	if a.reply.unknown != "" {
		a.problem = fmt.Sprintf("it says %.64q, which is ignored: want a percentage, up, down, fail, stopped, ready, drain or maint", a.reply.unknown)
	}
	return a
}

// readReply reads one line. It tries another of the backend's addresses if there is
// one: the other checks don't know on which of them the agent listens.
func (p *agentCheck) readReply(ctx context.Context, addr hostport.Endpoint) (string, error) {
	first := at(addr, p.spec.Port)
	conn, err := p.open(ctx, first)
	if err != nil {
		if other, _ := p.backend.Addr(); at(other, p.spec.Port) != first && ctx.Err() == nil {
			conn, err = p.open(ctx, at(other, p.spec.Port))
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

// readLine reads up to the first CR or LF. As with HAProxy, a line without an end is
// invalid: some of its words may be missing.
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
