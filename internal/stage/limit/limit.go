// Package limit is the stage that bounds what one client may take: its sessions, by
// address and by a claim of its token, its requests and connections, and how fast it may
// begin new ones. It also bounds the sessions of a listener. The bounds of the whole process are in
// stage/overload.
//
// A handshake has a Hold, under which it is counted, and its session keeps that to its
// end. A request of plain HTTP has one, too. Whatever becomes of them, the spine gives it back: with Hold.Release, or with
// Limiter.Ended for a session. A session that is moved to another backend stays the
// same session, so it is counted once.
//
// The Limiter survives reloads. Changed bounds hold for handshakes from then on.
// Sessions that began without any bound aren't counted.
package limit

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/tally"
	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
)

// Scope says whose sessions are counted together: those of all routes that have the
// same Scope for a bound.
type Scope uint64

// Max bounds how many there are at once; the zero value is no bound.
type Max struct {
	Scope Scope
	Max   int
}

// Rate bounds how fast they come; the zero value is no bound.
type Rate struct {
	Scope Scope
	tally.Rate
}

// Rules are the bounds of a route. A client is an address, or the first 64 bits of an
// IPv6 address.
type Rules struct {
	Sessions    Max  // of one client
	New         Rate // handshakes of one client, whatever becomes of them
	Requests    Max  // requests of plain HTTP that one client has under way, handshakes and sessions
	NewRequests Rate // requests of plain HTTP and handshakes of one client, whatever becomes of them
	Claim       Max  // sessions of one value of the claim
}

// Errors for sessions above a bound. One for handshakes that come too fast is made by
// each of them, and says when to try again.
var (
	ErrAddressSessions    = failure.New(failure.AddressSessions, "max_sessions_per_address is reached")
	ErrAddressRequests    = failure.New(failure.AddressRequests, "max_requests_per_address is reached")
	ErrAddressConnections = failure.New(failure.AddressConnections, "http.max_connections_per_address is reached")
	ErrClaimSessions      = failure.New(failure.ClaimSessions, "max_sessions_per_claim is reached")
	ErrListenerSessions   = failure.New(failure.ListenerSessions, "max_sessions of the listener is reached")
)

// remembered bounds the addresses whose new sessions and requests are counted, see
// tally.Buckets.
const remembered = 1 << 17

// Limiter counts. Its methods are safe for concurrent use and never block.
type Limiter struct {
	seed    maphash.Seed
	counts  tally.Counts
	buckets *tally.Buckets

	// sessions has the keys of those that are counted.
	sessions [32]struct {
		mu   sync.Mutex // guards the following
		keys map[session.ID]keys
		peak int // the most that keys has had
	}
	counted atomic.Int64 // in sessions
}

// New makes a Limiter.
func New() *Limiter {
	return &Limiter{seed: maphash.MakeSeed(), buckets: tally.NewBuckets(remembered)}
}

// Scope returns that of a name, always the same.
func (l *Limiter) Scope(name string) Scope { return Scope(maphash.String(l.seed, name)) }

// What is counted under a key.
const (
	ofListener = iota
	ofConnection
	ofAddress
	ofRequests
	ofClaim
	kinds
	// In buckets:
	newOfAddress = kinds + iota
	requestsOfAddress
	tlsOfAddress
)

// keys are those of counts under which a session is counted, by what they are of; 0 is
// none.
type keys [kinds]uint64

// what a key is the hash of. Hashing it doesn't allocate, since it has no pointers but
// that of a string.
type what struct {
	kind  uint8
	scope Scope
	of    uint64
	text  string
}

// key is never 0.
func (l *Limiter) key(w what) uint64 { return max(1, maphash.Comparable(l.seed, w)) }

// Hold is what one handshake is counted under. The zero value is nothing. It belongs to
// one goroutine or coroutine, and must not be copied once used: the copy would be
// given back again.
//
// Its methods may be called again when a reload has changed the bounds: what is counted
// already isn't counted twice, and what is counted under something else is moved.
type Hold struct {
	limiter *Limiter
	keys    keys
	taken   [2]uint64 // the keys of the buckets of which it has a token: of New and of NewRequests
}

// Listener counts the handshake for a listener, which may have most.
func (h *Hold) Listener(l *Limiter, name string, most int) error {
	return h.add(l, ofListener, what{kind: ofListener, text: name}, most, ErrListenerSessions)
}

// Address counts the handshake for the address of its client, by the bounds of r for
// sessions. The zero address is nobody's, and has no bounds.
func (h *Hold) Address(l *Limiter, r *Rules, from netip.Addr) error {
	if wait := h.take(l, 0, newOfAddress, &r.New, from); wait > 0 {
		return tooFast(failure.AddressRate, "new_sessions_per_address is reached", wait)
	}
	return h.addAddress(l, ofAddress, r.Sessions, from, ErrAddressSessions)
}

// Request counts a request of plain HTTP, or a handshake, for the address of its client,
// by the bounds of r for requests.
func (h *Hold) Request(l *Limiter, r *Rules, from netip.Addr) error {
	if wait := h.take(l, 1, requestsOfAddress, &r.NewRequests, from); wait > 0 {
		return tooFast(failure.RequestRate, "new_requests_per_address is reached", wait)
	}
	return h.addAddress(l, ofRequests, r.Requests, from, ErrAddressRequests)
}

// Connection counts a connection of plain HTTP for the address of its other end, which may
// have most; 0 is no bound. It is counted also without a bound, since it may live longer
// than that is so. Call Detach, and Limiter.ConnectionEnded at its end.
func (h *Hold) Connection(l *Limiter, most int, from netip.Addr) error {
	if most == 0 {
		most = math.MaxInt
	}
	return h.add(l, ofConnection, ofConnectionFrom(from), most, ErrAddressConnections)
}

func ofConnectionFrom(a netip.Addr) what { return what{kind: ofConnection, of: clientprefix.Number(a)} }

// Claim counts the handshake for the value of a claim.
func (h *Hold) Claim(l *Limiter, m Max, value string) error {
	return h.add(l, ofClaim, what{kind: ofClaim, scope: m.Scope, text: value}, m.Max, ErrClaimSessions)
}

func (h *Hold) addAddress(l *Limiter, kind uint8, m Max, from netip.Addr, full error) error {
	if !from.IsValid() {
		m = Max{}
	}
	return h.add(l, kind, what{kind: kind, scope: m.Scope, of: clientprefix.Number(from)}, m.Max, full)
}

// add counts by w instead of by what is counted of that kind so far; a most of 0 means by
// nothing.
func (h *Hold) add(l *Limiter, kind uint8, w what, most int, full error) error {
	before, key := h.keys[kind], uint64(0)
	if most > 0 {
		key = l.key(w)
	}
	if key == before {
		return nil
	}
	if key != 0 && !l.counts.Add(key, most) {
		return full
	}
	if before != 0 {
		l.counts.Remove(before)
	}
	h.limiter, h.keys[kind] = l, key
	return nil
}

// take takes a token of a client's bucket, unless it has one.
func (h *Hold) take(l *Limiter, i int, kind uint8, r *Rate, from netip.Addr) (wait time.Duration) {
	if r.Every == 0 || !from.IsValid() {
		return 0
	}
	key := l.key(what{kind: kind, scope: r.Scope, of: clientprefix.Number(from)})
	if h.taken[i] == key {
		return 0
	}
	if wait = l.buckets.Take(key, r.Rate); wait == 0 {
		h.taken[i] = key
	}
	return wait
}

// BeforeTLS refuses a client that has made TLS handshakes without a request faster
// than it may begin sessions, see AfterTLS.
func (l *Limiter) BeforeTLS(r *Rules, from netip.Addr) error {
	if r.New.Every == 0 || !from.IsValid() {
		return nil
	}
	if wait := l.buckets.Wait(l.tlsKey(from), r.New.Rate); wait > 0 {
		return tooFast(failure.AddressRate, "new_sessions_per_address is reached", wait)
	}
	return nil
}

// AfterTLS counts a TLS handshake that has failed, or was made for nothing. It costs
// the balancer more than anything else that a client can ask for without a request. A
// client whose handshakes lead to requests isn't counted here, however many it makes.
func (l *Limiter) AfterTLS(r *Rules, from netip.Addr) {
	if r.New.Every > 0 && from.IsValid() {
		l.buckets.Take(l.tlsKey(from), r.New.Rate)
	}
}

func (l *Limiter) tlsKey(from netip.Addr) uint64 {
	return l.key(what{kind: tlsOfAddress, of: clientprefix.Number(from)})
}

func tooFast(code failure.Code, reason string, wait time.Duration) error {
	err := failure.Of(failure.New(code, reason))
	err.RetryAfter = wait
	return err
}

// Release gives back what is counted. Further calls do nothing.
func (h *Hold) Release() {
	if h.limiter != nil {
		h.limiter.remove(&h.keys)
	}
	*h = Hold{}
}

// ReleaseClient gives back what is counted for the client, and leaves what is counted for
// the listener. It is for a connection that is still open, and will have no session.
func (h *Hold) ReleaseClient() {
	for kind, key := range h.keys {
		if key != 0 && kind != ofListener {
			h.limiter.counts.Remove(key)
			h.keys[kind] = 0
		}
	}
}

// Move moves what is counted to the Hold that it returns.
func (h *Hold) Move() (to Hold) {
	to, *h = *h, to
	return to
}

// Detach drops what is counted for the connection without giving it back: for its
// listener, and for its address. Call Limiter.EndedOn and Limiter.ConnectionEnded when it
// has ended.
func (h *Hold) Detach() { h.keys[ofListener], h.keys[ofConnection] = 0, 0 }

// worthKeeping bounds how large a map may have been that is used again when it is
// empty: maps don't shrink.
const worthKeeping = 1024

// Opened moves what is counted to a session. Call Limiter.Ended at its end.
func (h *Hold) Opened(id session.ID) {
	l := h.limiter
	if l == nil || h.keys == (keys{}) {
		return
	}
	s := &l.sessions[id[0]%uint8(len(l.sessions))]
	s.mu.Lock()
	if s.keys == nil {
		s.keys = map[session.ID]keys{}
	}
	s.keys[id] = h.keys
	s.peak = max(s.peak, len(s.keys))
	s.mu.Unlock()
	l.counted.Add(1)
	*h = Hold{}
}

// Ended gives back what a session is counted under, if it is.
func (l *Limiter) Ended(id session.ID) {
	if l.counted.Load() == 0 {
		return
	}
	s := &l.sessions[id[0]%uint8(len(l.sessions))]
	s.mu.Lock()
	k, ok := s.keys[id]
	if ok {
		delete(s.keys, id)
	}
	if len(s.keys) == 0 && s.peak > worthKeeping {
		s.keys, s.peak = nil, 0
	}
	s.mu.Unlock()
	if ok {
		l.counted.Add(-1)
		l.remove(&k)
	}
}

// EndedOn gives back what Hold.Detach has left counted for a listener.
func (l *Limiter) EndedOn(listener string) {
	l.counts.Remove(l.key(what{kind: ofListener, text: listener}))
}

// ConnectionEnded gives back what Hold.Detach has left counted for an address.
func (l *Limiter) ConnectionEnded(from netip.Addr) { l.counts.Remove(l.key(ofConnectionFrom(from))) }

func (l *Limiter) remove(k *keys) {
	for _, key := range k {
		if key != 0 {
			l.counts.Remove(key)
		}
	}
}

// Stats are a Limiter's values for the metrics.
type Stats struct {
	Counted int // addresses, values of claims and listeners with sessions, requests or connections
	Buckets int // addresses whose new sessions or requests are counted
}

// Stats reads the values.
func (l *Limiter) Stats() Stats { return Stats{Counted: l.counts.Len(), Buckets: l.buckets.Len()} }
