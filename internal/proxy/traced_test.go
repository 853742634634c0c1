package proxy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// stages checks that a trace is in order, and lists its stages.
func stages(t *testing.T, trace *timing.Trace) (all []string) {
	t.Helper()
	for i, s := range trace.Steps {
		if s.Began.Before(trace.Began) || s.Ended.Before(s.Began) || s.Ended.After(trace.Ended) || i > 0 && s.Began.Before(trace.Steps[i-1].Began) {
			t.Errorf("stage %d is from %v to %v, in a trace from %v to %v", i, s.Began, s.Ended, trace.Began, trace.Ended)
		}
		word := [...]string{"tls", "request", "route", "auth", "queue", "dial", "handshake"}[s.Stage]
		if s.Err != nil {
			word += " failed"
		}
		all = append(all, word)
	}
	return all
}

// A trace has each stage that a handshake went through, also if it waited, was refused, or
// its client went away.
func TestTraces(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		q := slow(ratelimit.Options{})
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, admit: q, traced: true, ids: requestid.Policy{TraceContext: true},
			auth: tokens(t, auth.JWTOptions{})})
		want := func(result string, names ...string) *timing.Trace {
			t.Helper()
			trace := testkit.Receive(t, "a trace", b.traces)
			if got := stages(t, trace); trace.Result != result || !slices.Equal(got, names) {
				t.Errorf("%s: %q, want %s: %q", trace.Result, got, result, names)
			}
			return trace
		}
		authorization := "Authorization: Bearer " + token(t)
		b.dial().send(upgrade("/", authorization, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")).want(101)
		opened := want("opened", "request", "route", "auth", "dial", "handshake")
		b.wait("the session", func() bool { return len(b.opened) == 1 })
		b.mu.Lock()
		id := b.opened[0].ID
		b.mu.Unlock()
		c := opened.Context
		if opened.Pool != "all" || opened.Backend == "" || opened.Failed || opened.ID != id || opened.TrustsPeer ||
			fmt.Sprintf("%x %x", c.Trace, c.Parent) != "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331" || c.Made || !c.Sampled {
			t.Errorf("the trace says %+v", opened)
		}
		b.dial().send(upgrade("/")).want(401)
		if refused := want("token_missing", "request", "route", "auth failed"); refused.Failed || refused.Err == nil || !refused.Context.Made {
			t.Errorf("the trace says %+v", refused)
		}
		waiting := b.dial().send(upgrade("/", authorization))
		b.awaitQueue(q, 1)
		waiting.Close()
		if gone := want("client_gone", "request", "route", "auth", "queue"); gone.Pool != "all" {
			t.Errorf("the trace says %+v", gone)
		}
		waiting = b.dial().send(upgrade("/", authorization))
		b.awaitQueue(q, 1)
		q.Configure(ratelimit.Options{}) // no rate any more
		waiting.want(101)
		want("opened", "request", "route", "auth", "queue", "request", "route", "dial", "handshake")
	})
}
