//go:build unix

package e2e

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// namedServer is a backend in the test's own process: it can be taken down and
// brought back at its address, counts its connections itself, and has its name
// in each answer's X-Backend. It sends each message back.
type namedServer struct {
	name, address string
	status        int    // of plain answers, 200 where 0
	reply         string // to each message, instead of the message itself

	running sync.WaitGroup
	mu      sync.Mutex   // guards the following
	ln      net.Listener // nil while it is down
	conns   map[net.Conn]bool
	peak    int // the most connections that were open at once
}

// serveNamed starts one, which ends with the test.
func serveNamed(t testing.TB, name string) *namedServer {
	t.Helper()
	s := &namedServer{name: name, address: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	s.up(t)
	t.Cleanup(s.down)
	return s
}

// serveAllNamed starts one for each name.
func serveAllNamed(t testing.TB, names ...string) (all []*namedServer) {
	t.Helper()
	for _, name := range names {
		all = append(all, serveNamed(t, name))
	}
	return all
}

// up has it listen, at the address it had before if it had one.
func (s *namedServer) up(t testing.TB) {
	t.Helper()
	var ln net.Listener
	eventually(t, "listening at "+s.address, func() (ok bool) {
		var err error
		ln, err = net.Listen("tcp", s.address)
		return err == nil
	})
	s.address = ln.Addr().String()
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
			s.conns[conn] = true
			s.peak = max(s.peak, len(s.conns))
			s.mu.Unlock()
			s.running.Go(func() {
				s.serve(conn)
				conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			})
		}
	})
}

// down ends it as the end of its process would: all connections close, and
// further ones are refused.
func (s *namedServer) down() {
	s.mu.Lock()
	if s.ln != nil {
		s.ln.Close()
		s.ln = nil
	}
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *namedServer) connections() (open, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), s.peak
}

func (s *namedServer) serve(conn net.Conn) {
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
		fmt.Fprintf(conn, "HTTP/1.1 %d plain\r\nX-Backend: %s\r\nContent-Length: 0\r\n\r\n", cmp.Or(s.status, 200), s.name)
	}
}

// session takes the first subprotocol that is offered.
func (s *namedServer) session(conn net.Conn, in *bufio.Reader, req *http.Request) {
	more := "X-Backend: " + s.name + "\r\n"
	if offer, _, _ := strings.Cut(req.Header.Get("Sec-WebSocket-Protocol"), ","); offer != "" {
		more += "Sec-WebSocket-Protocol: " + offer + "\r\n"
	}
	_, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"%sSec-WebSocket-Accept: %s\r\n\r\n", more, acceptKey(req.Header.Get("Sec-WebSocket-Key")))
	w := &wire{Conn: conn, in: in}
	for err == nil {
		var text string
		if text, err = w.message(); err == nil {
			err = w.sendText(cmp.Or(s.reply, text))
		}
	}
	if c := (*closed)(nil); errors.As(err, &c) {
		w.sendClose(c.code, c.reason)
	}
}

// poolFile is a configuration with the pool "main" of some servers; keys are
// further lines of the pool, more is further top-level YAML.
func poolFile(engine string, servers []*namedServer, keys, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{name: public, address: \"127.0.0.1:0\"}]\n")
	fmt.Fprintf(&b, "admin: {address: \"127.0.0.1:0\"}\nengine: %s\n", engine)
	fmt.Fprintf(&b, "pools:\n  main:\n    backends:\n")
	for _, s := range servers {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", s.name, s.address)
	}
	for line := range strings.Lines(keys) {
		fmt.Fprintf(&b, "    %s", line)
	}
	return b.String() + "\n" + more + "\n"
}

// whoServes opens a session, ends it, and tells which backend it was on.
func whoServes(t testing.TB, address, path string, header ...string) (backend string, res *http.Response) {
	t.Helper()
	w, res, err := dialWire(address, path, header...)
	if err != nil {
		t.Fatalf("a session for %s %q: %v", path, header, err)
	}
	defer w.Close()
	w.SetDeadline(time.Now().Add(patience))
	if err := w.sendClose(1000, ""); err != nil {
		t.Fatal(err)
	}
	if f, err := w.readFrame(); err != nil || f.op != opClose {
		t.Fatalf("the session on %s ended with %v, %v", res.Header.Get("X-Backend"), f, err)
	}
	return res.Header.Get("X-Backend"), res
}

// whoAnswers asks by plain HTTP, on a connection of its own.
func whoAnswers(t testing.TB, address, path string, header ...string) (backend string, res *http.Response) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	res, err = client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res.Header.Get("X-Backend"), res
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for until := time.Now().Add(patience); !ok(); <-pause.C {
		if time.Now().After(until) {
			t.Fatalf("not %s within %v", what, patience)
		}
	}
}

// awaitBackend waits until a backend of the pool "main" is in a state.
func (b *balancer) awaitBackend(t testing.TB, backend, state string) {
	t.Helper()
	series := fmt.Sprintf(`holdfast_backend_state{backend=%q,pool="main",state=%q}`, backend, state)
	b.await(t, backend+" "+state, func(m metrics) bool { return m[series] == 1 })
}

// loads are the sessions of each backend of the pool "main", by /status.
func (b *balancer) loads(t testing.TB) map[string]int {
	t.Helper()
	_, body := b.get(t, "/status")
	var status struct {
		Pools []struct {
			Name     string
			Backends []struct {
				Name     string
				Sessions int
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	loads := map[string]int{}
	for _, p := range status.Pools {
		if p.Name == "main" {
			for _, backend := range p.Backends {
				loads[backend.Name] = backend.Sessions
			}
		}
	}
	if len(loads) == 0 {
		t.Fatalf("no pool \"main\" in %s", body)
	}
	return loads
}
