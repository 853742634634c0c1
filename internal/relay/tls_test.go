package relay_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// speaksTLS says which sides of a fixture's sessions speak TLS.
type speaksTLS [2]bool

// tlsConfigs are for both roles of the balancer and of the peers.
type tlsConfigs struct {
	server, client         *tlsconn.Config
	peerServer, peerClient *tls.Config
}

var (
	tlsOnce  sync.Once
	tlsShare tlsConfigs
)

func tlsFor(t testing.TB) *tlsConfigs {
	tlsOnce.Do(func() {
		certs := []tls.Certificate{testca.New(t).Issue("localhost").TLS}
		tickets := &tls.Config{}
		tlsShare.server = tlsconn.NewConfig(&tls.Config{Certificates: certs, WrapSession: tickets.EncryptTicket, UnwrapSession: tickets.DecryptTicket})
		tlsShare.client = tlsconn.NewConfig(&tls.Config{InsecureSkipVerify: true})
		tlsShare.peerServer = &tls.Config{Certificates: certs}
		tlsShare.peerClient = &tls.Config{InsecureSkipVerify: true}
	})
	return &tlsShare
}

// secure makes the balancer's handshake on c, if that side speaks TLS.
func (r *fixture) secure(c transport.Conn, side session.Side) (transport.Conn, error) {
	r.mu.Lock()
	speaks := r.tls[side]
	r.mu.Unlock()
	if !speaks {
		return c, nil
	}
	return r.handshake(c, side)
}

// speak sets which sides of the next sessions speak TLS.
func (r *fixture) speak(tls speaksTLS) {
	r.mu.Lock()
	r.tls = tls
	r.mu.Unlock()
}

func (r *fixture) handshake(c transport.Conn, side session.Side) (transport.Conn, error) {
	c.SetDeadline(time.Now().Add(patience))
	if side == session.Client {
		return tlsconn.Server(c, tlsFor(r.t).server)
	}
	return tlsconn.Client(c, tlsFor(r.t).client, hostport.At(c.RemoteAddr()))
}

// peer makes the peer's handshake on c, if that side speaks TLS.
func (r *fixture) peer(side session.Side, c net.Conn) *peer {
	r.t.Helper()
	p := newPeer(r.t, side, c)
	if r.tls[side] {
		r.peerHandshake(p)
	}
	return p
}

func (r *fixture) peerHandshake(p *peer) {
	r.t.Helper()
	if r.keyed {
		keyedPeer(r, p)
		return
	}
	var below net.Conn = p.TCPConn
	if r.byteWise {
		below = byteWise{below, r.between}
	}
	if p.side == session.Client {
		p.tls = tls.Client(below, tlsFor(r.t).peerClient)
	} else {
		p.tls = tls.Server(below, tlsFor(r.t).peerServer)
	}
	if err := p.tls.Handshake(); err != nil {
		r.t.Fatalf("the %s's TLS handshake: %v", p.side, err)
	}
}

func (p *peer) Read(b []byte) (int, error) {
	if p.keyed != nil {
		return p.keyed.Read(b)
	}
	if p.tls != nil {
		return p.tls.Read(b)
	}
	return p.TCPConn.Read(b)
}

func (p *peer) Write(b []byte) (int, error) {
	if p.keyed != nil {
		return p.keyed.Write(b)
	}
	if p.tls != nil {
		return p.tls.Write(b)
	}
	return p.TCPConn.Write(b)
}

// CloseWrite ends the stream, with TLS by a close_notify too.
func (p *peer) CloseWrite() error {
	if p.tls != nil {
		p.tls.CloseWrite()
	}
	return p.TCPConn.CloseWrite()
}

// byteWise writes one byte at a time.
type byteWise struct {
	net.Conn
	between func() // may be nil
}

func (b byteWise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		if b.between != nil {
			b.between()
		}
	}
	return len(p), nil
}

// TestTLSRecords: records that come in pieces, a record with several frames, and
// frames that span records.
func TestTLSRecords(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			e.tls = speaksTLS{true, true}
			for _, from := range sides {
				r := newFixture(t, e, quick, relay.Limits{})
				r.byteWise = true
				source, sink := r.both(from)
				long := strings.Repeat("x", 300)
				source.send(source.frame(fin|opText, "one"), source.frame(fin|opText, "two"), source.frame(opText, "three "))
				f := source.frame(fin, long)
				source.send(f[:1])
				source.send(f[1:3])
				source.send(f[3:])
				sink.wantText("one")
				sink.wantText("two")
				sink.want(opText, "three ")
				sink.want(fin, long)
				sink.text("back")
				source.wantText("back")
				if from == session.Backend {
					source, sink = sink, source
				}
				r.finish(source, sink)
			}
		})
	}
}

// TestTLSDamage: a damaged record ends the session with an alert for that side, and a
// Close for the other one, which gets nothing of it.
func TestTLSDamage(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			e.tls = speaksTLS{true, true}
			for _, from := range sides {
				r := newFixture(t, e, quick, relay.Limits{})
				source, sink := r.both(from)
				source.text("before")
				sink.wantText("before")
				source.TCPConn.Write([]byte(damaged))
				code := uint16(0)
				if from == session.Backend {
					code = relay.CodeServiceRestart
				}
				sink.wantEndOrClose(code)
				_, err := source.next()
				if op := new(net.OpError); !errors.As(err, &op) || op.Err.Error() != tls.AlertError(20).Error() {
					t.Errorf("the %s got %v, want the alert bad_record_mac", from, err)
				}
				sink.TCPConn.Close()
				r.endAny()
			}
		})
	}
}

// wantEndOrClose reads a Close with the code, or if that is 0, a Close or the end.
func (p *peer) wantEndOrClose(code uint16) {
	p.t.Helper()
	g, err := p.next()
	switch {
	case err == nil && g.first != fin|opClose, err == nil && code != 0 && (len(g.payload) < 2 || binary.BigEndian.Uint16([]byte(g.payload)) != code), err != nil && code != 0:
		p.t.Errorf("the %s got %v (%v), want a Close with %d", p.side, g, err, code)
	case err == nil:
		p.send(p.frame(fin|opClose, g.payload))
	}
}
