package proxy_test

import (
	"errors"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// noEngine is an engine that takes no session.
type noEngine struct{ relay.Engine }

func (noEngine) Start(_, _ transport.Conn, _ relay.Start) error { return errors.New("no room") }

// TestNotStarted: a session that the engine doesn't take ends like any other.
// That neither lease nor place is left, start checks at the end.
func TestNotStarted(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, reattach: always,
			wrap: func(real relay.Engine) relay.Engine { return noEngine{real} }})
		for i := range 3 {
			c := b.dial().send(upgrade("/"))
			c.want(101)
			c.wantEnd()
			var opened session.Info
			var ended session.Summary
			b.wait("the session's end", func() bool {
				if len(b.ended) <= i {
					return false
				}
				opened, ended = b.opened[i], b.ended[i]
				return true
			})
			if ended.ID != opened.ID || ended.Cause != session.ClientLost {
				t.Errorf("opened %+v, ended %+v", opened, ended)
			}
		}
		if n := b.gate.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions have a place in the gate", n)
		}
		b.waitLog("no room")
	})
}
