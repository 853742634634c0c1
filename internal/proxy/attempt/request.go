// Package attempt has the two halves of a handshake: the Request, which is what
// the client asked, and the Try, which is one try to have a backend accept it.
// The spine (internal/proxy) makes them for a client's handshake, and
// proxy/reattach for that of a session which is moved. Which backend is tried,
// and whether another one follows, they decide.
package attempt

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// usualHead is the size of a buffer that nearly all heads fit into.
const usualHead = 4 << 10

// Request is what a client asked, and on which connection. It doesn't change
// after Read and Check, except for what the caller adds to Upgrade. It is a
// requestkey.Request and a route.Request. The zero value is ready for Reset.
type Request struct {
	Meta    transport.Meta
	Began   time.Time // the end of Read; zero before
	Head    httphead.Request
	Upgrade handshake.Upgrade // see Check
	// Client is who sent it, through proxies that are trusted. Until Read it is
	// the other end of the connection.
	Client netip.AddrPort
	// Grant is what the auth stage has found out; nil on a route without one. See
	// SetGrant.
	Grant *auth.Grant
	// Claims are those of the client's token, if its route has verified one. The spine
	// sets them before a backend is chosen, also for a session that is moved.
	Claims claims.Claims
	// ID is that of its session, and what ids are made from that it doesn't have.
	// NeedID sets it.
	ID  session.ID
	IDs requestid.IDs // see Identify

	forward *generation.Forward
	facts   Facts  // for the edits of forward
	path    []byte // instead of that in Head; nil is that
	prefix  string // was cut off
	paths   []byte // space for path

	buf        []byte
	size, have int // of buf: the head, and everything that was read
	body       int // of buf, behind the head
}

// Reset prepares r for the next connection.
func (r *Request) Reset(m transport.Meta) {
	r.Meta, r.Began, r.Client = m, time.Time{}, m.Peer
	r.Upgrade, r.Grant, r.Claims = handshake.Upgrade{}, nil, ""
	r.ID, r.IDs, r.forward, r.path, r.prefix = session.ID{}, requestid.IDs{}, nil, nil, ""
	r.facts = Facts{}
	r.size, r.have, r.body = 0, 0, 0
}

// NoRequest makes it that of a connection that has none.
func (r *Request) NoRequest() {
	r.Head.Host, r.Head.Path, r.Head.Query, r.Head.Fields = nil, nil, nil, nil
}

// IsUsual reports whether its buffer has the usual size, so that it is worth
// keeping for another one.
func (r *Request) IsUsual() bool { return len(r.buf) <= usualHead }

// Read reads the head from c. Errors are *failure.Error.
func (r *Request) Read(c transport.Conn, g *generation.Generation) (err error) {
	if r.buf == nil {
		r.buf = make([]byte, usualHead)
	}
	r.size, r.have, err = handshake.ReadRequest(c, r.buf, &r.Head)
	if again, grown := grow(c, &r.buf, r.have, g.RequestHead(), err); grown {
		r.size, r.have, err = handshake.ReadRequest(again, r.buf, &r.Head)
	}
	r.Began = time.Now()
	if err != nil {
		return unread(err)
	}
	r.Client = g.Forwarded.ClientAddr(r.Head.Fields, r.Meta.Peer)
	return nil
}

// BeginsTLS reports whether what was read is not HTTP but a record of TLS with a
// handshake (RFC 8446 §5.1).
func (r *Request) BeginsTLS() bool { return r.have > 0 && r.buf[0] == 22 }

// Parse is Read for a head that was read from another connection, and is kept.
// It reports whether it is a head.
func (r *Request) Parse(head []byte, g *generation.Generation) (bool, error) {
	n, err := r.Head.Parse(head)
	if n == 0 || err != nil {
		return false, err
	}
	r.Client = g.Forwarded.ClientAddr(r.Head.Fields, r.Meta.Peer)
	return true, nil
}

// IsWebSocket reports whether it asks for a WebSocket, correctly or not.
func (r *Request) IsWebSocket() bool { return handshake.IsWebSocket(&r.Head) }

// Check checks it as a WebSocket handshake, and fills in Upgrade.
func (r *Request) Check() error { return handshake.Check(&r.Head, &r.Upgrade) }

// SetGrant makes it the request that a backend gets for g, which may not be nil. It must
// have passed Check. What Bytes and HeadBytes return stays as it came.
func (r *Request) SetGrant(g *auth.Grant) {
	r.Grant, r.Claims = g, g.Claims
	if g.Edits() {
		r.Head.Fields, r.Head.Query = g.EditFields(r.Head.Fields), g.EditQuery(r.Head.Query)
		r.Upgrade.SetOffers(r.Head.Fields)
		r.Upgrade.FallbackSubprotocol = g.Subprotocol()
	}
}

// DropGrant undoes SetGrant.
func (r *Request) DropGrant() error {
	r.Grant, r.Claims, r.Upgrade.FallbackSubprotocol = nil, "", ""
	_, err := r.Head.Parse(r.HeadBytes()) // it could be parsed before
	r.Upgrade.SetOffers(r.Head.Fields)
	return err
}

// ReadBody reads a body of n bytes from c. Errors are *failure.Error.
func (r *Request) ReadBody(c transport.Conn, n int) error {
	if more := r.size + n - len(r.buf); more > 0 {
		r.buf = append(r.buf, make([]byte, more)...) // Head stays in the old one
	}
	for r.have < r.size+n {
		got, err := c.Read(r.buf[r.have : r.size+n])
		if r.have += got; got == 0 && err != nil {
			return failure.Wrap(failure.ClientGone, fmt.Errorf("in the request's body: %w", err))
		}
	}
	r.body = n
	return nil
}

// Bytes are everything that was read, HeadBytes the head, Body what ReadBody has read,
// and Early what follows: the first frames. All are slices of the buffer.
func (r *Request) Bytes() []byte     { return r.buf[:r.have] }
func (r *Request) HeadBytes() []byte { return r.buf[:r.size] }
func (r *Request) Body() []byte      { return r.buf[r.size : r.size+r.body] }
func (r *Request) Early() []byte     { return r.buf[r.size+r.body : r.have] }

// Buffer is scratch space once the request is answered. It is not empty.
func (r *Request) Buffer() []byte {
	if r.buf == nil {
		r.buf = make([]byte, usualHead)
	}
	return r.buf
}

// Hop is the client's connection as the forwarding headers describe it.
func (r *Request) Hop() forwarded.Hop { return HopOf(r.Meta, r.Head.Host) }

// HopOf is Hop for a request of net/http.
func HopOf(m transport.Meta, host []byte) forwarded.Hop {
	return forwarded.Hop{Peer: m.Peer, Local: m.Local, Host: host, Proto: m.Scheme()}
}

// IsSecure reports whether the client uses TLS, also if it is a trusted proxy
// that says so.
func (r *Request) IsSecure(f *forwarded.Policy) bool {
	return f.IsHTTPS(r.Head.Fields, HopOf(r.Meta, nil))
}

// NeedID gives it an ID, unless it has one.
func (r *Request) NeedID() session.ID {
	if r.ID == (session.ID{}) {
		r.ID = session.NewID()
	}
	return r.ID
}

// Identify sets IDs by the policy of g, after Read or Parse.
func (r *Request) Identify(g *generation.Generation) {
	if g.IDs == (requestid.Policy{}) {
		return
	}
	var text [20]byte
	r.IDs.Set(g.IDs, r.Head.Fields, g.Forwarded.TrustsPeer(r.Meta.Peer), r.NeedID(), r.ID.AppendTo(text[:0]))
}

// Follow makes f, that of a route to pool, apply to it from now on. The error is
// route.ErrBadPath if servers could disagree about the path that f makes of its own.
func (r *Request) Follow(f *generation.Forward, pool string) error {
	r.forward, r.path, r.prefix = f, nil, ""
	if f == nil {
		return nil
	}
	if f.Path != nil {
		path, replaced, ok := f.Path.Apply(r.paths, r.Head.Path)
		if !ok {
			return route.ErrBadPath
		}
		if replaced {
			r.path, r.paths, r.prefix = path, path, f.Path.Prefix()
		}
	}
	if f.PathTemplate != nil {
		path, ok := f.PathTemplate.Apply(r.paths, f.PathRegex, r.Head.Path)
		if !ok {
			return route.ErrBadPath
		}
		r.path, r.paths = path, path
	}
	r.facts.Route, r.facts.Pool = f.Label, pool
	return nil
}

// Forward is what Follow was given last.
func (r *Request) Forward() *generation.Forward { return r.forward }

// Facts are what variables stand for. They are valid until the next call.
func (r *Request) Facts(g *generation.Generation, backend string) *Facts {
	f := &r.facts
	f.Asked, f.Meta, f.Client, f.Host, f.Forwarded = r, &r.Meta, r.Client, r.Head.Host, g.Forwarded
	f.Session, f.RequestID, f.Backend = r.ID, r.IDs.Request(), backend
	return f
}

// AppendRequest appends the request for a backend.
func (r *Request) AppendRequest(dst []byte, g *generation.Generation) []byte {
	about := handshake.About{Forwarded: g.Forwarded, Hop: r.Hop(),
		ClientCert: g.ClientCert, Listener: r.Meta.ListenerName(), Certificate: r.Meta.ClientCertificate(),
		Path: r.path, Changes: handshake.Changes{IDs: &r.IDs}}
	if f := r.forward; f != nil {
		about.Hop.Prefix, about.Hop.Edits = r.prefix, f.Request
		about.Edits, about.Source = f.Request, r.Facts(g, "")
		about.Host = f.HostFor(r.Head.Host)
	}
	if g.Reserved != nil {
		about.Reserved = g.Reserved
	}
	if r.Grant != nil {
		about.Fields = r.Grant.Fields
	}
	return handshake.AppendRequest(dst, &r.Head, &r.Upgrade, &about)
}

// AnswerChanges are those of an answer of a backend to it.
func (r *Request) AnswerChanges(g *generation.Generation, backend string) handshake.Changes {
	c := handshake.Changes{IDs: &r.IDs}
	if edits := r.forward.AnswerEdits(); edits != nil {
		c.Edits, c.Source = edits, r.Facts(g, backend)
	}
	return c
}

// ListenerName implements route.Request, as do the methods below.
func (r *Request) ListenerName() string { return r.Meta.ListenerName() }

func (r *Request) HasMethod(method string) bool { return string(r.Head.Method) == method }

func (r *Request) Certificate() *x509.Certificate { return r.Meta.ClientCertificate() }

// ClientIP implements requestkey.Request, as do the methods below.
func (r *Request) ClientIP() netip.Addr { return r.Client.Addr() }

func (r *Request) Path() []byte { return r.Head.Path }

func (r *Request) Query() []byte {
	if len(r.Head.Query) > 0 {
		return r.Head.Query[1:] // without its "?"
	}
	return nil
}

// URI implements Asked.
func (r *Request) URI() []byte { return slices.Concat(r.Head.Path, r.Head.Query) }

func (r *Request) Header(name string, i int) ([]byte, bool) { return r.Head.Fields.At(name, i) }

func (r *Request) Claim(name string) (string, bool) { return r.Claims.Get(name) }
