package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// taking is a connection that takes turns.
type taking struct {
	transport.Conn
	turns  []int // the bytes that were written before each
	wrote  int
	failAt int // the turn that fails; 0 is none
}

var errTurn = errors.New("no turn")

func (c *taking) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wrote += n
	return n, err
}

func (c *taking) AwaitTurn() error {
	if c.turns = append(c.turns, c.wrote); len(c.turns) == c.failAt {
		return errTurn
	}
	return nil
}

// TestTurns: a client awaits its turn before its ClientHello, and before it goes through
// the server's flight; also after a HelloRetryRequest. A server awaits one.
func TestTurns(t *testing.T) {
	p := newPKI(t)
	n := newPortable(t)
	for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP521} { // the latter is asked for
		server, client := p.serverConfig(), p.clientConfig()
		server.CurvePreferences = []tls.CurveID{curve}
		to := crypto(t, server, func(c *tls.Conn) { io.Copy(c, c) })
		for failAt := range 3 {
			asClient(t, n, to, func(c transport.Conn) {
				under := &taking{Conn: c, failAt: failAt}
				s, err := Client(under, NewConfig(client), hostport.At(to))
				switch {
				case failAt == 0 && err != nil:
					t.Error(err)
				case failAt == 0:
					exchange(t, s)
				case !errors.Is(err, errTurn):
					t.Errorf("turn %d fails: %v", failAt, err)
				}
				want := 2
				if failAt > 0 {
					want = failAt
				}
				if len(under.turns) != want || under.turns[0] != 0 || want == 2 && under.turns[1] == 0 {
					t.Errorf("it has awaited turns after %v bytes, want %d, the first with none", under.turns, want)
				}
			})
		}
	}
	turns := make(chan int, 1)
	to := listen(t, n, func(c transport.Conn) {
		under := &taking{Conn: c}
		if s, err := Server(under, NewConfig(p.serverConfig())); err == nil {
			s.Close()
		}
		turns <- len(under.turns)
	})
	if c, err := tls.Dial("tcp", to.String(), p.clientConfig()); err == nil {
		c.Close()
	}
	if n := <-turns; n != 1 {
		t.Errorf("a server has awaited %d turns", n)
	}
}
