package app

import (
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/tracing"
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/reattach"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// stageNames are the names of spans, by stage. docs/tracing.md lists them.
var stageNames = [...]string{
	timing.TLS: "tls", timing.Request: "request", timing.Route: "route", timing.Auth: "auth", timing.Queue: "queue",
	timing.Dial: "dial", timing.Handshake: "backend handshake",
}

// The names of the spans that these are parts of.
const (
	handshakeSpan = "handshake"
	moveSpan      = "move"
)

// TraceHandshake chooses at random, so that the others cost nothing, unless a trusted proxy
// may decide about them when their heads are read.
func (w watcher) TraceHandshake() bool {
	u := w.traces.current.Load()
	return u != nil && (u.believes || u.sampled())
}

func (w watcher) TraceMove(id session.ID) bool {
	if w.traces.current.Load() == nil {
		return false
	}
	_, ok := w.traces.spans.get(id)
	return ok
}

// HandshakeTraced sends the trace of a handshake, if it is sampled.
func (w watcher) HandshakeTraced(t *timing.Trace) {
	u := w.traces.current.Load()
	if u == nil {
		return
	}
	known := t.Context.Trace != [16]byte{}
	sent := known && !t.Context.Made // by the client or a proxy
	if sent && t.TrustsPeer {
		if !t.Context.Sampled {
			return
		}
	} else if u.believes && !u.sampled() {
		return
	}
	root := tracing.Span{Trace: tracing.NewTraceID(), ID: tracing.NewSpanID(), Name: handshakeSpan, Kind: tracing.Server, Start: t.Began, End: t.Ended}
	if known {
		root.Trace = t.Context.Trace
	}
	if sent {
		root.Parent = t.Context.Parent
	} else if known {
		root.ID = t.Context.Parent // backends see it
	}
	root.Attributes = append(root.Attributes, tracing.Text("holdfast.result", t.Result), tracing.Text("client.address", t.Client.Addr().String()),
		tracing.Text("holdfast.listener", t.Listener), tracing.Text("holdfast.route", w.names.Word(t.Route)),
		tracing.Text("holdfast.pool", t.Pool), tracing.Text("holdfast.backend", t.Backend))
	if t.ID != (session.ID{}) {
		root.Attributes = append(root.Attributes, tracing.Text("holdfast.session", t.ID.String()))
	}
	if t.Err != nil {
		root.Attributes = append(root.Attributes, tracing.Text("holdfast.error", t.Err.Error()))
		if t.Failed {
			root.Error = t.Err.Error()
		}
	} else if t.Failed {
		root.Error = t.Result
	}
	if t.Result == proxy.ResultOpened {
		w.traces.spans.put(t.ID, tracing.Link{Trace: root.Trace, Span: root.ID})
	}
	u.exporter.Add(withSteps(root, t))
}

// sessionMoved sends the trace of a move, if that of its session's handshake was sent.
func (w watcher) sessionMoved(m *reattach.Move, pool, from, to string) {
	u := w.traces.current.Load()
	if u == nil {
		return
	}
	link, ok := w.traces.spans.get(m.Info.ID)
	if !ok {
		return
	}
	t := m.Trace
	if t == nil { // no backend was searched
		now := time.Now()
		t = &timing.Trace{Began: now.Add(-m.Gap), Ended: now}
	}
	root := tracing.Span{Trace: tracing.NewTraceID(), ID: tracing.NewSpanID(), Name: moveSpan, Kind: tracing.Internal, Start: t.Began, End: t.Ended,
		Links: []tracing.Link{link},
		Attributes: []tracing.Attribute{tracing.Text("holdfast.result", m.Result), tracing.Text("holdfast.reason", m.Why.String()),
			tracing.Text("holdfast.pool", pool), tracing.Text("holdfast.from", from), tracing.Text("holdfast.to", to),
			tracing.Text("holdfast.session", m.Info.ID.String()), tracing.Number("holdfast.gap_seconds", m.Gap.Seconds())}}
	if m.Err != nil {
		root.Error = m.Err.Error()
	}
	u.exporter.Add(withSteps(root, t))
}

// withSteps returns root and a span for each step.
func withSteps(root tracing.Span, t *timing.Trace) []tracing.Span {
	all := append(make([]tracing.Span, 0, 1+len(t.Steps)), root)
	for i := range t.Steps {
		step := &t.Steps[i]
		s := tracing.Span{Trace: root.Trace, ID: tracing.NewSpanID(), Parent: root.ID, Name: stageNames[step.Stage], Kind: tracing.Internal,
			Start: step.Began, End: step.Ended}
		if step.Backend != "" {
			s.Kind = tracing.Client
			s.Attributes = []tracing.Attribute{tracing.Text("holdfast.backend", step.Backend), tracing.Text("server.address", step.Address)}
		}
		if step.Err != nil {
			s.Error = step.Err.Error()
		}
		all = append(all, s)
	}
	return all
}

// spanLinks has the spans of the handshakes of live sessions that are traced, for their
// moves. It is like sessionClaims.
type spanLinks struct {
	shards [64]struct {
		mu sync.Mutex // guards the following
		of map[session.ID]tracing.Link
	}
}

func (t *spanLinks) put(id session.ID, l tracing.Link) {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[session.ID]tracing.Link{}
	}
	s.of[id] = l
}

func (t *spanLinks) get(id session.ID) (l tracing.Link, ok bool) {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok = s.of[id]
	return l, ok
}

func (t *spanLinks) remove(id session.ID) {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.of, id); len(s.of) == 0 {
		s.of = nil // a map never releases memory by itself
	}
}
