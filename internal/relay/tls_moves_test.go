package relay_test

import (
	"sync/atomic"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// TestTLSAlternates: a session is moved from a plain backend to one with TLS and back,
// again and again, as after reloads that add and remove the pool's tls. Each way in which
// a backend is left comes before each kind of backend.
func TestTLSAlternates(t *testing.T) {
	for _, e := range engines {
		for _, client := range []bool{false, true} {
			name := map[bool]string{false: "/plain client", true: "/client with TLS"}[client]
			t.Run(e.name+name, func(t *testing.T) {
				t.Parallel()
				e := e
				e.tls = speaksTLS{client, false}
				r, to := newMoveFixture(t, e, quick, relay.Limits{})
				c, b := r.open()
				for i := range 8 {
					tls, lost := i%2 == 0, i/2%2 == 0
					r.reattacher.onReattach(func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) {
						f, err := r.reattacher.dial(near, m)
						if err == nil && tls {
							f.Conn, err = r.handshake(f.Conn, session.Backend)
						}
						return f, err
					})
					through(c, b, "before")
					if lost {
						b.reset()
					} else {
						r.request(moveOnly(), 1)
					}
					next := to.accept()
					if tls {
						r.peerHandshake(next)
					}
					c.text("meanwhile")
					if !lost {
						b.answerClose()
					}
					next.wantText("meanwhile")
					through(c, next, "after")
					b = next
				}
				r.finish(c, b)
			})
		}
	}
}

// TestTLSTrim: an engine whose memory is trimmed in the middle of records, frames and
// messages goes on.
func TestTLSTrim(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			e := e
			e.tls = speaksTLS{true, true}
			r := newFixtureWith(t, e, quick, &fixture{byteWise: true})
			var open atomic.Bool
			r.between = func() {
				if open.Load() {
					r.engine.Trim()
				}
			}
			for _, from := range sides {
				open.Store(false) // a handshake has many bytes
				source, sink := r.both(from)
				open.Store(true)
				source.send(source.frame(opText, "one "), source.frame(fin, "two")[:3])
				sink.want(opText, "one ")
				source.send(source.frame(fin, "two")[3:])
				sink.want(fin, "two")
				through(source, sink, "after")
				if from == session.Backend {
					source, sink = sink, source
				}
				r.finish(source, sink)
			}
		})
	}
}
