package conformance

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// link stands between the balancer and a server, so that its connections can be cut.
type link struct {
	listener net.Listener
	server   string // its address
	opaque   bool   // TLS is spoken, so messages can't be seen
	timeout  time.Duration
	running  sync.WaitGroup

	mu      sync.Mutex
	open    map[*joint]bool
	stopped bool
}

// joint is a connection of the balancer and the one to the server.
type joint struct {
	balancer, server net.Conn

	opaque bool
	// sending is held while a chunk goes to the balancer, and guards the following.
	sending sync.Mutex
	walker  frame.Walker
	head    []byte // of the response, until it is complete; then nil
	framed  bool   // the response was a 101
	cut     bool   // nothing more goes to the balancer after the current message
}

func newLink(server string, opaque bool, timeout time.Duration) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, server: server, opaque: opaque, timeout: timeout, open: map[*joint]bool{}}
	k.running.Go(k.accept)
	return k, nil
}

func (k *link) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.running.Go(func() { k.join(c) })
	}
}

func (k *link) join(balancer net.Conn) {
	defer balancer.Close()
	server, err := net.DialTimeout("tcp", k.server, k.timeout)
	if err != nil {
		return
	}
	defer server.Close()
	j := &joint{balancer: balancer, server: server, opaque: k.opaque}
	k.mu.Lock()
	if k.stopped {
		k.mu.Unlock()
		return
	}
	k.open[j] = true
	k.mu.Unlock()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, balancer)
		closeWrite(server)
		// After a cut, the balancer must get what was passed on before, and no reset.
		_, _ = io.Copy(io.Discard, balancer)
	})
	j.down()
	closeWrite(balancer)
	up.Wait()
	k.mu.Lock()
	delete(k.open, j)
	k.mu.Unlock()
}

func closeWrite(c net.Conn) {
	if c, ok := c.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}

// down passes on what the server sends, until it ends or is cut.
func (j *joint) down() {
	chunk := make([]byte, 32<<10)
	for {
		n, err := j.server.Read(chunk)
		if j.pass(chunk[:n]) || err != nil {
			return
		}
	}
}

// pass passes on a chunk. It reports whether the connection is cut, at the end of a
// message: a message that has begun is passed on.
func (j *joint) pass(chunk []byte) (cut bool) {
	j.sending.Lock()
	defer j.sending.Unlock()
	if j.cut && j.walker.AtMessage() {
		return true
	}
	if j.cut {
		n, _ := j.walker.Walk(chunk, frame.StopAtMessage)
		chunk = chunk[:n]
	} else {
		j.follow(chunk)
	}
	_, err := j.balancer.Write(chunk)
	return err != nil || j.cut && j.walker.AtMessage()
}

// follow walks over a chunk, to know where messages end.
func (j *joint) follow(chunk []byte) {
	if j.opaque {
		return
	}
	if j.framed {
		j.walker.Walk(chunk, 0)
		return
	}
	j.head = append(j.head, chunk...)
	end := bytes.Index(j.head, []byte("\r\n\r\n"))
	if end < 0 {
		return
	}
	rest := j.head[end+4:]
	j.framed, j.head = true, nil
	j.walker.Walk(rest, 0)
}

// cutAll cuts all connections, as if the network to the server were gone: what is on its
// way in both directions is lost, except the rest of a message to the balancer.
func (k *link) cutAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for j := range k.open {
		j.sending.Lock()
		j.cut = true
		if j.walker.AtMessage() {
			if c, ok := j.server.(*net.TCPConn); ok {
				_ = c.SetLinger(0) // the server gets a reset
			}
			j.server.Close()
		}
		j.sending.Unlock()
	}
}

// stop closes everything.
func (k *link) stop() {
	k.listener.Close()
	k.mu.Lock()
	k.stopped = true
	for j := range k.open {
		j.server.Close()
		j.balancer.Close()
	}
	k.mu.Unlock()
	k.running.Wait()
}
