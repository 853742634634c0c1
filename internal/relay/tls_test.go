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

func tlsFor(t *testing.T) *tlsConfigs {
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
	if !r.tls[side] {
		return c, nil
	}
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
	if !r.tls[side] {
		return p
	}
	var below net.Conn = p.TCPConn
	if r.byteWise {
		below = byteWise{below}
	}
	if side == session.Client {
		p.tls = tls.Client(below, tlsFor(r.t).peerClient)
	} else {
		p.tls = tls.Server(below, tlsFor(r.t).peerServer)
	}
	if err := p.tls.Handshake(); err != nil {
		r.t.Fatalf("the %s's TLS handshake: %v", side, err)
	}
	return p
}

func (p *peer) Read(b []byte) (int, error) {
	if p.tls != nil {
		return p.tls.Read(b)
	}
	return p.TCPConn.Read(b)
}

func (p *peer) Write(b []byte) (int, error) {
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
type byteWise struct{ net.Conn }

func (b byteWise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
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
				source.TCPConn.Write([]byte("\x17\x03\x03\x00\x20 these are not the bytes of any record"))
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

// together keeps what is written until flush.
type together struct {
	net.Conn
	kept []byte
	hold bool
}

func (g *together) Write(p []byte) (int, error) {
	if !g.hold {
		return g.Conn.Write(p)
	}
	g.kept = append(g.kept, p...)
	return len(p), nil
}

// TestTLSEarlyEnd: a new backend says that it closes in the same segment as the end of
// its handshake. The session looks for another one, and no other session is touched.
func TestTLSEarlyEnd(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			e.tls = speaksTLS{false, true}
			r, to := newMoveFixture(t, e, quick, relay.Limits{})
			r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
				f, err := r.reattacher.dial(near, m)
				if err == nil {
					_, err = f.Conn.Read(make([]byte, 1)) // the handshake
				}
				return f, err
			})
			c, b := r.open()
			other, ob := r.open()
			b.reset()
			raw, err := to.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			below := &together{Conn: raw}
			leaver := tls.Server(below, tlsFor(t).peerServer)
			if err := leaver.Handshake(); err != nil {
				t.Fatal(err)
			}
			below.hold = true
			leaver.Write([]byte("h"))
			leaver.CloseWrite()
			raw.SetWriteDeadline(time.Time{}) // CloseWrite has set it
			if _, err := raw.Write(below.kept); err != nil {
				t.Fatal(err)
			}
			raw.(*net.TCPConn).CloseWrite()
			b2 := to.accept()
			b2.send([]byte("h"))
			through(c, b2, "after")
			through(other, ob, "untouched")
			r.finish(other, ob)
			r.finish(c, b2)
		})
	}
}
