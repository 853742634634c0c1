package demo

import (
	"bufio"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"time"
)

// The hub and the servers speak lines of JSON over TCP on the loopback
// interface: the server says hello, the hub answers with a batch of what the
// server missed, and from then on the server sends posts and the hub batches.

const (
	helloTimeout = 5 * time.Second
	writeTimeout = 5 * time.Second
	maxHubLine   = 4 * maxFrame
	// hubQueue is how many messages a server may lag behind before it is
	// disconnected, to catch up from the history.
	hubQueue = historySize
	// seenKeys is how many keys are remembered to tell a message sent twice.
	seenKeys = 1024
)

// hello is the first line from a server. The token keeps out other local
// users, who can connect to a loopback port but not read our environment.
type hello struct {
	Token  string `json:"token"`
	Server string `json:"server"`
	After  uint64 `json:"after"` // the newest message it has
}

// batch is what the hub sends.
type batch struct {
	// Epoch names the run of the hub; message IDs start anew with another.
	Epoch    string    `json:"epoch"`
	Messages []message `json:"messages"`
}

// hub numbers the messages and hands them to all servers.
type hub struct {
	token    string
	epoch    string
	listener net.Listener
	running  sync.WaitGroup // accepting, and two goroutines a connection

	mu       sync.Mutex
	history  history
	lastID   uint64
	seen     map[string]bool
	seenKeys []string // the keys of seen, oldest first
	conns    map[net.Conn]bool
	servers  map[*hubServer]bool
	closed   bool
}

// hubServer is a server that said hello.
type hubServer struct {
	name  string
	conn  net.Conn
	queue chan message // closed when it left
}

// startHub listens on a free loopback port.
func startHub(token string) (*hub, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &hub{
		token:    token,
		epoch:    rand.Text(),
		listener: l,
		seen:     make(map[string]bool),
		conns:    make(map[net.Conn]bool),
		servers:  make(map[*hubServer]bool),
	}
	h.running.Go(h.accept)
	return h, nil
}

func (h *hub) addr() string { return h.listener.Addr().String() }

// close disconnects everybody and waits until that is done.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	_ = h.listener.Close()
	for conn := range h.conns {
		_ = conn.Close()
	}
	h.mu.Unlock()
	h.running.Wait()
}

func (h *hub) accept() {
	for {
		conn, err := h.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors or the like: it may pass.
			time.Sleep(50 * time.Millisecond)
			continue
		}
		h.mu.Lock()
		if h.closed {
			_ = conn.Close()
		} else {
			h.conns[conn] = true
			h.running.Go(func() { h.serve(conn) })
		}
		h.mu.Unlock()
	}
}

func (h *hub) serve(conn net.Conn) {
	defer func() {
		h.mu.Lock()
		delete(h.conns, conn)
		h.mu.Unlock()
		_ = conn.Close()
	}()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxHubLine)

	var hi hello
	_ = conn.SetReadDeadline(time.Now().Add(helloTimeout))
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &hi) != nil ||
		subtle.ConstantTimeCompare([]byte(hi.Token), []byte(h.token)) != 1 {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})

	s := &hubServer{name: hi.Server, conn: conn, queue: make(chan message, hubQueue)}
	missed := h.join(s, hi.After)
	defer h.leave(s)
	h.running.Go(func() { h.send(s, missed) })
	for lines.Scan() {
		var p post
		if json.Unmarshal(lines.Bytes(), &p) != nil {
			return
		}
		h.take(s.name, p)
	}
}

// join adds s to those who get messages and returns what it missed until now.
func (h *hub) join(s *hubServer, after uint64) []message {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers[s] = true
	return h.history.after(after)
}

func (h *hub) leave(s *hubServer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.servers, s)
	close(s.queue)
}

// send writes what s gets until it left. A failed write closes the connection,
// which makes it leave.
func (h *hub) send(s *hubServer, missed []message) {
	out := json.NewEncoder(s.conn)
	write := func(messages []message) {
		_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if out.Encode(batch{Epoch: h.epoch, Messages: messages}) != nil {
			_ = s.conn.Close()
		}
	}
	write(missed)
	for m := range s.queue {
		write([]message{m})
	}
}

// take numbers p and hands it to all servers, unless it came before.
func (h *hub) take(server string, p post) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen[p.Key] {
		return
	}
	if len(h.seenKeys) == seenKeys {
		delete(h.seen, h.seenKeys[0])
		h.seenKeys = append(h.seenKeys[:0], h.seenKeys[1:]...)
	}
	h.seen[p.Key] = true
	h.seenKeys = append(h.seenKeys, p.Key)

	h.lastID++
	m := message{
		ID: h.lastID, Key: p.Key, Name: p.Name, Text: p.Text,
		Server: server, Time: time.Now().UTC().Truncate(time.Millisecond),
	}
	h.history.add(m)
	for s := range h.servers {
		select {
		case s.queue <- m:
		default:
			_ = s.conn.Close()
		}
	}
}
