//go:build unix

package kit

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// NamedBackend is a backend in the test's own process. It can be taken down and
// brought back at its address, counts its connections, and sends its name as
// X-Backend in each answer. It echoes messages.
type NamedBackend struct {
	Name, Address string
	status        int    // of answers to plain HTTP; 0 is 200
	Reply         string // to each message, instead of the message itself

	running sync.WaitGroup
	mu      sync.Mutex   // guards the following
	ln      net.Listener // nil while it is down
	Conns   map[net.Conn]bool
	peak    int // the most connections that were open at once
}

// StartNamed starts a backend that ends with the test.
func StartNamed(t testing.TB, name string) *NamedBackend {
	t.Helper()
	s := &NamedBackend{Name: name, Address: "127.0.0.1:0", Conns: map[net.Conn]bool{}}
	s.Up(t)
	t.Cleanup(s.Down)
	return s
}

// StartAllNamed starts a backend for each name.
func StartAllNamed(t testing.TB, names ...string) (all []*NamedBackend) {
	t.Helper()
	for _, name := range names {
		all = append(all, StartNamed(t, name))
	}
	return all
}

// Up makes it listen, at its old address if it had one.
func (s *NamedBackend) Up(t testing.TB) {
	t.Helper()
	var ln net.Listener
	testkit.Eventually(t, "listening at "+s.Address, func() (ok bool) {
		var err error
		ln, err = net.Listen("tcp", s.Address)
		return err == nil
	})
	s.Address = ln.Addr().String()
	s.mu.Lock()
	s.ln = ln
	s.mu.Unlock()
	s.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.ln != ln {
				s.mu.Unlock()
				conn.Close()
				return
			}
			s.Conns[conn] = true
			s.peak = max(s.peak, len(s.Conns))
			s.mu.Unlock()
			s.running.Go(func() {
				s.serve(conn)
				conn.Close()
				s.mu.Lock()
				delete(s.Conns, conn)
				s.mu.Unlock()
			})
		}
	})
}

// Down acts like the end of a process: all connections are closed, and further
// ones are refused.
func (s *NamedBackend) Down() {
	s.mu.Lock()
	if s.ln != nil {
		s.ln.Close()
		s.ln = nil
	}
	for conn := range s.Conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Connections returns how many connections are open, and the most that were open
// at once.
func (s *NamedBackend) Connections() (open, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.Conns), s.peak
}

func (s *NamedBackend) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") != "" {
			s.session(conn, in, req)
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 %d plain\r\nX-Backend: %s\r\nContent-Length: 0\r\n\r\n", cmp.Or(s.status, 200), s.Name)
	}
}

// session serves a WebSocket, with the first subprotocol that is offered.
func (s *NamedBackend) session(conn net.Conn, in *bufio.Reader, req *http.Request) {
	header := []string{"X-Backend: " + s.Name}
	if offer, _, _ := strings.Cut(req.Header.Get("Sec-WebSocket-Protocol"), ","); offer != "" {
		header = append(header, "Sec-WebSocket-Protocol: "+offer)
	}
	w, err := wspeer.Accept(conn, in, req, header...)
	for err == nil {
		var text string
		if text, err = w.Message(); err == nil {
			err = w.SendText(cmp.Or(s.Reply, text))
		}
	}
	if c := (*wspeer.CloseError)(nil); errors.As(err, &c) {
		w.SendClose(c.Code, c.Reason)
	}
}

// PoolFile returns a configuration with a pool "main" of servers. keys are
// further lines of the pool, more is further top-level YAML.
func PoolFile(engine string, servers []*NamedBackend, keys, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{name: public, address: \"127.0.0.1:0\"}]\n")
	fmt.Fprintf(&b, "admin: {address: \"127.0.0.1:0\"}\nengine: %s\n", engine)
	fmt.Fprintf(&b, "pools:\n  main:\n    backends:\n")
	for _, s := range servers {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", s.Name, s.Address)
	}
	for line := range strings.Lines(keys) {
		fmt.Fprintf(&b, "    %s", line)
	}
	return b.String() + "\n" + withoutPings(more) + "\n"
}

// ServedBy opens and closes a session, and returns the backend that it was on.
func ServedBy(t testing.TB, address, path string, header ...string) (backend string, res *http.Response) {
	t.Helper()
	w, res, err := wspeer.Dial(address, path, header...)
	if err != nil {
		t.Fatalf("a session for %s %q: %v", path, header, err)
	}
	defer w.Close()
	w.SetDeadline(time.Now().Add(testkit.Patience))
	if err := w.SendClose(1000, ""); err != nil {
		t.Fatal(err)
	}
	if f, err := w.ReadFrame(); err != nil || f.Op != wspeer.Close {
		t.Fatalf("the session on %s ended with %v, %v", res.Header.Get("X-Backend"), f, err)
	}
	return res.Header.Get("X-Backend"), res
}

// AnsweredByHTTP sends a plain GET, on a connection of its own, and returns the
// backend that answered.
func AnsweredByHTTP(t testing.TB, address, path string, header ...string) (backend string, res *http.Response) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	// Not by http.Client, which takes an answer for an error if it comes before the
	// request is written, as it does for an address that a listener refuses.
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(testkit.Patience))
	req.Close = true
	req.Write(c) // if it fails, there is an answer, or the error of reading it
	res, err = http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res.Header.Get("X-Backend"), res
}

// AwaitBackend waits until a backend of the pool "main" is in a state.
func (b *Balancer) AwaitBackend(t testing.TB, backend, state string) {
	t.Helper()
	series := fmt.Sprintf(`holdfast_backend_state{backend=%q,pool="main",state=%q}`, backend, state)
	b.AwaitMetrics(t, backend+" "+state, func(m Metrics) bool { return m[series] == 1 })
}

// SessionsByBackend returns the number of sessions of each backend of the pool
// "main", from /status.
func (b *Balancer) SessionsByBackend(t testing.TB) map[string]int {
	t.Helper()
	loads := map[string]int{}
	for _, backend := range b.Pool(t, "main").Backends {
		loads[backend.Name] = backend.Sessions
	}
	if len(loads) == 0 {
		t.Fatal("the pool \"main\" has no backends")
	}
	return loads
}
