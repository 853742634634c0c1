package tlsconn

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func init() { networks["epoll"] = newLoops }

func newLoops(t testing.TB) transport.Network {
	log := &testkit.Log{}
	g, err := eventloop.NewGroup(1, log.Logger(), func(*eventloop.Loop) eventloop.Owner { return nothing{} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if s := log.String(); s != "" {
			t.Errorf("logged: %s", s)
		}
	})
	return g
}

// nothing is an Owner without slots.
type nothing struct{}

func (nothing) Ready(int32, session.Side, eventloop.Events) {}
func (nothing) Expired(int32)                               {}
func (nothing) Again()                                      {}
func (nothing) BatchDone()                                  {}
func (nothing) Stopped()                                    {}
