package relay_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// together keeps what is written while hold is set.
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

// damaged looks like a record, but nobody can open it.
const damaged = "\x17\x03\x03\x00\x20 these are not the bytes of any record"

// atOnce makes a peer's TLS handshake on c, and sends texts, each in a record, in one
// segment with how it ends: a close_notify or a damaged record. The connection stays open.
func atOnce(t *testing.T, c net.Conn, side session.Side, damage bool, texts ...string) *peer {
	t.Helper()
	p := newPeer(t, side, c)
	below := &together{Conn: c}
	if side == session.Client {
		p.tls = tls.Client(below, tlsFor(t).peerClient)
	} else {
		p.tls = tls.Server(below, tlsFor(t).peerServer)
	}
	if err := p.tls.Handshake(); err != nil {
		t.Fatal(err)
	}
	below.hold = true
	for _, text := range texts {
		p.tls.Write([]byte(text))
	}
	if damage {
		below.Write([]byte(damaged))
	} else {
		p.tls.CloseWrite()
		c.SetDeadline(time.Now().Add(patience)) // CloseWrite has set another
	}
	if _, err := c.Write(below.kept); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTLSEndInHead: a side says in the segment with its part of the handshake that it
// closes, or breaks its TLS there. The session has read that before it began.
func TestTLSEndInHead(t *testing.T) {
	for _, e := range engines {
		for _, from := range sides {
			for _, damage := range []bool{false, true} {
				name := map[bool]string{false: "/close_notify", true: "/damage"}[damage]
				t.Run(e.name+"/"+from.String()+name, func(t *testing.T) {
					t.Parallel()
					e := e
					e.tls[from] = true
					r := newFixtureWith(t, e, quick, &fixture{preface: 1, greedy: true})
					var source, sink *peer
					message := string(wire(fin|opText, from == session.Client, []byte("hello")))
					if from == session.Client {
						c, err := net.Dial("tcp", r.ln.Addr().String())
						if err != nil {
							t.Fatal(err)
						}
						source = atOnce(t, c, from, damage, "h", message)
						sink = r.accept()
						sink.send([]byte("h"))
					} else {
						sink = r.dial()
						sink.send([]byte("h"))
						c, err := r.backend.Accept()
						if err != nil {
							t.Fatal(err)
						}
						source = atOnce(t, c, from, damage, "h", message)
					}
					sink.wantText("hello")
					if from == session.Backend {
						sink.wantClose(relay.CodeServiceRestart)
						sink.close(relay.CodeServiceRestart)
					} else {
						sink.wantEnd()
					}
					if damage {
						_, err := source.next()
						if op := new(net.OpError); !errors.As(err, &op) || op.Err.Error() != tls.AlertError(20).Error() {
							t.Errorf("the %s got %v, want the alert bad_record_mac", from, err)
						}
					}
					sink.TCPConn.Close()
					s := r.endAny()
					want := ""
					if damage {
						want = from.String() + ": a record can't be decrypted (bad_record_mac)"
					}
					if s.Cause != lost(from) || s.TLSError != want {
						t.Errorf("it ended with %s, %q, want %s, %q", s.Cause, s.TLSError, lost(from), want)
					}
				})
			}
		}
	}
}

// TestTLSEarlyEnd: a new backend says that it closes, or breaks its TLS, in the same
// segment as the end of its handshake, which may have been read as a whole. The session
// looks for another one, and no other session is touched.
func TestTLSEarlyEnd(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			e.tls = speaksTLS{false, true}
			r, to := newMoveFixture(t, e, quick, relay.Limits{})
			var size atomic.Int64
			r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
				f, err := r.reattacher.dial(near, m)
				if err == nil {
					_, err = f.Conn.Read(make([]byte, size.Load())) // the handshake
				}
				return f, err
			})
			c, b := r.open()
			other, ob := r.open()
			b.reset()
			for i, all := range []int64{1, 4 << 10, 4 << 10} {
				size.Store(all)
				raw, err := to.Accept()
				if err != nil {
					t.Fatal(err)
				}
				atOnce(t, raw, session.Backend, i == 2, "h")
			}
			size.Store(1)
			b2 := to.accept()
			b2.send([]byte("h"))
			through(c, b2, "after")
			through(other, ob, "untouched")
			r.finish(other, ob)
			r.finish(c, b2)
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, s := range r.ended {
				if s.TLSError != "" {
					t.Errorf("a session that was moved ends with %q", s.TLSError)
				}
			}
		})
	}
}

// muted is how many sides with TLS can't send anything more, not even a close_notify; 1 for
// an engine that doesn't know.
var muted = func(*fixture) int { return 1 }

// TestTLSCut: what waits for a side that is given up is dropped, perhaps in the middle of
// a record. That side must not take it for the end of the stream.
func TestTLSCut(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			e := e
			e.tls = speaksTLS{true, false}
			r := newFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{KeepaliveInterval: 100 * time.Millisecond, KeepaliveTimeout: 200 * time.Millisecond})
			c, b := r.open()
			go func() {
				f := b.frame(fin|2, string(make([]byte, 60_000)))
				for {
					if _, err := b.Write(f); err != nil {
						return
					}
				}
			}()
			r.until("the client is given up", func() bool {
				var s session.Summary
				r.engine.Each(func(all session.Summary) { s = all })
				return s.Cause == session.ClientSilent || r.engine.Active() == 0
			})
			if muted(r) == 0 {
				t.Error("a close_notify can follow what was dropped")
			}
			// Now it takes all that is on its way. Then the backend goes, and the
			// balancer closes what is left.
			var came atomic.Int64
			end := make(chan error, 1)
			go func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := c.tls.Read(buf)
					if came.Add(int64(n)); err != nil {
						end <- err
						return
					}
				}
			}()
			for last, same := int64(-1), 0; same < 20; time.Sleep(5 * time.Millisecond) {
				if now := came.Load(); now != last {
					last, same = now, 0
				} else {
					same++
				}
			}
			b.TCPConn.Close()
			if err := <-end; !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v, want a truncated stream", err)
			}
			r.end(session.ClientSilent, 0)
		})
	}
}

// TestTLSUnused: a backend that was found for a move which is over is told so.
func TestTLSUnused(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			e.tls = speaksTLS{false, true}
			r, to := newMoveFixture(t, e, quick, relay.Limits{})
			r.keyed = true
			c, b := r.open()
			r.request(moveOnly(), 1)
			b2 := to.accept()
			b.want(fin|opClose, "\x03\xf4session moved")
			r.engine.Abort(session.Shutdown) // before b answers
			b2.wantNotify()
			r.moved(session.Rebalance, 8, relay.ErrMoveOver)
			c.wantEnd()
			r.end(session.Shutdown, 0)
		})
	}
}

// wantNotify reads the end of the connection, which must be a close_notify. crypto/tls
// accepts an end without one.
func (p *peer) wantNotify() {
	p.t.Helper()
	if p.wantEnd(); !p.keyed.told {
		p.t.Errorf("the %s got no close_notify", p.side)
	}
}

// TestTLSCloseNotify: in each kind of end, both sides that are still there get a
// close_notify.
func TestTLSCloseNotify(t *testing.T) {
	for _, e := range engines {
		e.tls = speaksTLS{true, true}
		for _, tt := range []struct {
			name   string
			limits relay.Limits
			end    func(r *fixture, c, b *peer)
		}{
			{"closed by the client", relay.Limits{}, func(r *fixture, c, b *peer) {
				c.close(1000)
				b.wantClose(1000)
				b.close(1000)
				c.wantClose(1000)
				b.TCPConn.Close()
				c.wantNotify()
				r.end(session.ClientClosed, 1000)
			}},
			{"closed by the backend", relay.Limits{}, func(r *fixture, c, b *peer) {
				b.close(1000)
				c.wantClose(1000)
				c.close(1000)
				b.wantClose(1000)
				b.CloseWrite()
				c.wantNotify()
				b.wantNotify()
				r.end(session.BackendClosed, 1000)
			}},
			{"the client is lost", relay.Limits{}, func(r *fixture, c, b *peer) {
				c.reset()
				b.wantNotify()
				b.TCPConn.Close()
				r.end(session.ClientLost, 0)
			}},
			{"the client ends its stream", relay.Limits{}, func(r *fixture, c, b *peer) {
				c.CloseWrite()
				b.wantNotify()
				b.CloseWrite()
				c.wantNotify()
				r.end(session.ClientLost, 0)
			}},
			{"the backend is lost", relay.Limits{}, func(r *fixture, c, b *peer) {
				b.reset()
				c.wantClose(relay.CodeServiceRestart)
				c.close(relay.CodeServiceRestart)
				c.wantNotify()
				r.end(session.BackendLost, relay.CodeServiceRestart)
			}},
			{"idle", relay.Limits{Idle: time.Second}, func(r *fixture, c, b *peer) {
				c.wantClose(relay.CodeGoingAway)
				c.close(relay.CodeGoingAway)
				b.wantClose(relay.CodeGoingAway)
				b.CloseWrite()
				c.wantNotify()
				b.wantNotify()
				r.end(session.IdleTimeout, relay.CodeGoingAway)
			}},
			{"cut by us", relay.Limits{}, func(r *fixture, c, b *peer) {
				r.engine.Abort(session.Shutdown)
				c.wantNotify()
				b.wantNotify()
				r.end(session.Shutdown, 0)
			}},
		} {
			t.Run(e.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				r := newFixture(t, e, quick, tt.limits)
				r.keyed = true
				c, b := r.open()
				through(c, b, "hello")
				tt.end(r, c, b)
			})
		}
	}
}
