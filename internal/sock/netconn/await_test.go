package netconn_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestAwait: a task goes on when what it waits for is done; otherwise it ends with its
// client, at its deadline, or with the network.
func TestAwait(t *testing.T) {
	n, _ := newNetwork(t)
	dones, ended := make(chan func(), 1), make(chan error, 1)
	to, _ := listen(t, n, func(c transport.Conn) {
		b := make([]byte, 1)
		if _, err := c.Read(b); err != nil {
			return
		}
		if b[0] == 'd' {
			c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		}
		err := transport.Await(c, func(done func()) { dones <- done })
		if err == nil {
			_, err = c.Read(b) // what has come meanwhile
		}
		ended <- err
	})
	begin := func(text string) (net.Conn, func()) {
		t.Helper()
		c, err := net.Dial("tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return c, testkit.Receive(t, "it waits", dones)
	}
	end := func(name string, want error) {
		t.Helper()
		if err := testkit.Receive(t, "it ends", ended); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	_, done := begin("xy")
	done()
	end("done", nil)
	c, done := begin("x")
	c.Close()
	end("the client has gone", transport.ErrHungUp)
	done()
	_, done = begin("d")
	end("the deadline", os.ErrDeadlineExceeded)
	done()
	_, done = begin("x")
	go n.Close()
	end("the network is closed", net.ErrClosed)
	done()
}
