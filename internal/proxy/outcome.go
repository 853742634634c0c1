package proxy

import (
	"bytes"
	"cmp"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/secure"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// ResultOpened is the result of a handshake that became a session. The others are
// failure.Results.
const ResultOpened = "opened"

// Results lists every result a handshake can have: the label of
// holdfast_handshakes_total, and the word in the log.
func Results() []string { return append(failure.Results(), ResultOpened) }

var errInternal = failure.New(failure.Internal, "the balancer failed, see the log")

// conclude ends a handshake that is no session: the client is answered, and the
// result counted.
func (h *clientHandshake) conclude(err error) {
	if err == nil || errors.Is(err, errWaiting) {
		return // a session, or handed to net/http or a queue
	}
	defer h.conn.Close()
	defer h.try.Release()
	if h.aside != nil { // after a panic
		defer h.aside.try.Release()
	}
	h.hold.ReleaseClient() // whoever has the answer may try again at once
	h.countTLS()
	h.countAffinity()
	if errors.Is(err, handshake.ErrPlainAnswer) {
		if err = h.passBack(); err == nil {
			return
		}
	}
	var own *ownAnswer
	if errors.As(err, &own) {
		took := time.Since(h.began)
		h.p.HTTPDone(Where{}, own.Status, took)
		if h.p.LogHTTP != nil && h.p.LogHTTP(own.Status, false) {
			h.p.Log.Info("plain HTTP request", slices.Concat([]any{"status", own.Status, "client", h.req.Client.String(), "method", string(h.req.Head.Method),
				"host", string(h.req.Upgrade.Host), "path", loggedPath(string(h.req.Upgrade.Path)), "duration", took.Seconds()}, idsForLog(&h.req.IDs))...)
		}
		h.tell(&own.Refusal)
		return
	}
	f := failure.Of(err)
	if f.Code == failure.NothingAsked {
		if h.req.Meta.Secure() {
			h.p.Watcher.TLSLeft()
		}
		return // a port scan, a health check, a spare connection
	}
	var took time.Duration
	if !h.began.IsZero() {
		took = time.Since(h.began)
	}
	at, result := h.where(), f.Code.Result()
	h.p.Watcher.HandshakeDone(at, result, took)
	h.traced(result, err, f.Refusal != nil && f.Refusal.Status >= http.StatusInternalServerError)
	h.p.Log.Info("handshake refused", slices.Concat(h.aboutForLog(err), []any{"result", result, "client", h.req.Client.String()}, h.target(),
		[]any{"pool", at.Pool, "backend", at.Backend, "error", err})...)
	switch inTLS := secure.Result(f); {
	case f.Refusal != nil && inTLS == secure.OK && h.needsTLS():
		h.write(alertRecord(alertOf(f.Code))) // the client couldn't read HTTP
	case h.req.Meta.Opaque() && inTLS != secure.Refused:
		h.refuseOpaque(f)
	case f.Refusal != nil && httpproxy.IsHTTP2(&h.req.Meta):
		h.write(httpproxy.Goodbye)
	case f.Refusal != nil:
		h.tell(h.withRetryAfter(f))
	case inTLS == secure.Refused:
		h.linger() // so that the alert arrives
	}
}

// tell answers the client with r.
func (h *clientHandshake) tell(r *failure.Refusal) {
	h.answer = handshake.AppendRefusal(h.answer[:0], h.withChanges(r))
	if string(h.req.Head.Method) == http.MethodHead && !h.began.IsZero() {
		h.answer = h.answer[:bytes.Index(h.answer, []byte("\r\n\r\n"))+4] // RFC 9110 §9.3.2
	}
	h.write(h.answer)
}

// write sends the client the last bytes before its connection is closed.
func (h *clientHandshake) write(answer []byte) {
	h.conn.SetDeadline(time.Now().Add(h.gen.Handshake))
	if _, err := h.conn.Write(answer); err != nil {
		return
	}
	// Nothing else limits the number of those without a ticket.
	if h.ticket == (overload.Ticket{}) {
		defer h.p.lingering.Add(-1)
		if h.p.lingering.Add(1) > h.p.maxLingering {
			return
		}
	}
	h.linger()
}

// notStarted ends a session that the engine can't take, which is a bug. It costs
// this session, but neither its lease nor its place.
func (h *clientHandshake) notStarted(info session.Info, err error) {
	h.p.Log.Error("a session can't start; its connections are closed", "id", info.ID.String(), "error", err)
	h.conn.Close()
	h.try.Release()
	h.p.Ended(session.Summary{Info: info, Cause: session.ClientLost})
}

func (h *clientHandshake) where() (at Where) {
	if h.rule != nil {
		at.Pool = h.rule.Pool
	}
	if b := h.try.Choice.Backend; b != nil {
		at = Where{b.Pool, b.Name}
	}
	return at
}

// countAffinity counts the last choice. It is called at the end: a client whose
// own backend didn't answer was moved.
func (h *clientHandshake) countAffinity() {
	if h.affinity != "" {
		h.p.Watcher.AffinityDone(h.rule.Pool, h.affinity)
		h.affinity = ""
	}
}

// aboutForLog is the id that a backend was sent, if one was asked, and what is known
// about the client's TLS. err is why the handshake failed, or nil.
func (h *clientHandshake) aboutForLog(err error) (about []any) {
	if h.id != (session.ID{}) {
		about = append(about, "id", h.id.String())
	}
	about = append(about, idsForLog(&h.req.IDs)...)
	if t := h.req.Meta.TLS; t != nil {
		about = append(about, "tls", t.VersionWord(), "server_name", LoggedName(t.ServerName))
	} else if name := cmp.Or(secure.ServerName(err), string(h.hello.ServerName)); name != "" {
		about = append(about, "server_name", LoggedName(name))
	}
	return about
}

// idsForLog are the ids of a request that others may know it by.
func idsForLog(ids *requestid.IDs) (about []any) {
	if id := ids.Request(); id != nil {
		about = append(about, "request_id", string(id))
	}
	if trace := ids.Trace(); trace != nil {
		about = append(about, "trace_id", string(trace))
	}
	return about
}

// target says for the log what the client asked for.
func (h *clientHandshake) target() []any {
	if h.req.Meta.Opaque() {
		return []any{"listener", h.req.Meta.ListenerName()}
	}
	return []any{"host", string(h.req.Upgrade.Host), "path", string(h.req.Upgrade.Path)}
}

// LoggedName is a name that a client asked for by SNI, which can be very long, for the
// log. The log escapes it.
func LoggedName(name string) string {
	const longest = 255 // of a name in DNS
	if len(name) > longest {
		return name[:longest] + "…"
	}
	return name
}

// Retry-After of a 503, in seconds: 5 to 30, as a client waits after Close 1012
// (https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number).
const (
	minRetryAfter = 5
	maxRetryAfter = 30
)

// retryAfter is the value of Retry-After, in whole seconds: what f says, or for a 429
// and a 503 a random time, or all clients that are refused together would come back
// together (RFC 9110 §10.2.3). 0 is none.
func retryAfter(f *failure.Error) time.Duration {
	switch status := f.Refusal.Status; {
	case f.Code == failure.Responded:
		return 0 // it says what the operator wants it to say
	case f.RetryAfter > 0:
		return (f.RetryAfter + time.Second - 1).Truncate(time.Second)
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		return time.Duration(minRetryAfter+rand.IntN(maxRetryAfter-minRetryAfter+1)) * time.Second
	}
	return 0
}

// withRetryAfter adds Retry-After to the refusal of f.
func (h *clientHandshake) withRetryAfter(f *failure.Error) *failure.Refusal {
	r, after := f.Refusal, retryAfter(f)
	switch f.Code {
	case failure.QueueFull, failure.QueueAddressFull, failure.QueueTimeout:
		if p := h.pool(); p.Admit != nil {
			after = p.Admit.RetryAfter().Round(time.Second)
		}
	}
	if after == 0 {
		return r
	}
	with := *r
	with.Header = append(slices.Clip(r.Header), [2]string{"Retry-After", strconv.Itoa(int(after.Seconds()))})
	return &with
}

// withChanges adds the fields that answers of the balancer's own get, too: the request
// id, and those that the route sets and adds, except fields that r has itself.
func (h *clientHandshake) withChanges(r *failure.Refusal) *failure.Refusal {
	id, edits := h.req.IDs.Request(), h.req.Forward().AnswerEdits()
	if id == nil && edits == nil {
		return r
	}
	with := *r
	with.Header = slices.Clip(r.Header)
	if id != nil {
		with.Header = append(with.Header, [2]string{"X-Request-ID", string(id)})
	}
	edits.Each(h.req.Facts(h.gen, h.where().Backend), func(name, value string) {
		if !handshake.RefusalHas(r, name) {
			with.Header = append(with.Header, [2]string{name, value})
		}
	})
	return &with
}

// passBackIdle is how long a backend's plain answer may stand still. nginx and
// Apache allow the same. An application may decline slowly, or send the body in
// pieces, and the client may leave at any time.
const passBackIdle = time.Minute

// passBack sends the client the backend's plain answer. After an error the client
// can still be sent another one.
func (h *clientHandshake) passBack() error {
	took := time.Since(h.began)
	h.learn()
	changes := h.req.AnswerChanges(h.gen, h.try.Choice.Backend.Name)
	err := handshake.PassBack(h.conn, h.try.Conn, &h.req.Upgrade, h.try.Bytes(), passBackIdle, &changes)
	var broken *handshake.BackendError
	if errors.As(err, &broken) {
		return err
	}
	at, result := h.where(), failure.Declined.Result()
	h.p.Watcher.HandshakeDone(at, result, took)
	h.traced(result, nil, h.try.Resp.Status >= http.StatusInternalServerError)
	about := slices.Concat(h.aboutForLog(nil), []any{"result", result, "client", h.req.Client.String()}, h.target(),
		[]any{"status", h.try.Resp.Status, "pool", at.Pool, "backend", at.Backend})
	if err != nil {
		about = append(about, "error", "its body broke off: "+err.Error())
	}
	h.p.Log.Info("handshake declined by the backend", about...)
	h.linger()
	return nil
}

// linger reads for a moment what the client still sends: closing a connection
// with unread bytes resets it, and the client would never see the answer (RFC
// 9112 §9.6).
func (h *clientHandshake) linger() {
	if h.conn.CloseWrite() != nil {
		return
	}
	h.conn.SetDeadline(time.Now().Add(time.Second))
	for range 16 {
		if _, err := h.conn.Read(h.req.Buffer()); err != nil {
			return
		}
	}
}
