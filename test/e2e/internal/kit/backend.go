//go:build unix

package kit

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// backendRole makes this test binary a backend server in a process of its own.
// It prints its address, and ends when its standard input is closed.
//
//	/numbers?id=ID  a Speaker; further parameters set its Behaviour
//	/echo           sends every message back
//	/quiet          reads and answers pings, but sends no messages
//	/report         plain HTTP: a Report
//	/               plain HTTP: its name
const backendRole = "backend"

// Report is what a Backend knows about its sessions.
type Report struct {
	Name    string
	Open    int               // sessions
	Endings map[string]Ending // of /numbers, by id
	Pings   int               // received on /quiet sessions that have ended
	Resumed int               // sessions whose TLS was resumed
}

type backendServer struct {
	store  *storeClient // nil if no other server can take over its sessions
	mu     sync.Mutex
	report Report
}

// listenEnv is the address to listen on, for a backend that is started again.
const listenEnv = "HOLDFAST_E2E_LISTEN"

func serveBackend() int {
	store, err := dialStore()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ln, err := net.Listen("tcp", cmp.Or(os.Getenv(listenEnv), "127.0.0.1:0"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if ln, err = withTLS(ln); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(ln.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s := &backendServer{store: store, report: Report{Name: os.Getenv("HOLDFAST_E2E_NAME"), Endings: map[string]Ending{}}}
	for {
		conn, err := ln.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		go s.serve(conn)
	}
}

func (s *backendServer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if req.Header.Get("Upgrade") == "" {
		s.plain(conn, req)
		return
	}
	// It is counted before the client can know of it.
	s.count(1)
	defer s.count(-1)
	if secured, ok := conn.(*tls.Conn); ok && secured.ConnectionState().DidResume {
		s.mu.Lock()
		s.report.Resumed++
		s.mu.Unlock()
	}
	w, err := wspeer.Accept(conn, in, req)
	if err != nil {
		return
	}
	switch req.URL.Path {
	case "/numbers":
		e := s.numbers(w, req)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report.Endings[req.URL.Query().Get("id")] = e
	case "/echo":
		s.echo(w)
	case "/quiet":
		_, err := w.Message()
		if c := (*wspeer.CloseError)(nil); errors.As(err, &c) {
			w.SendClose(c.Code, c.Reason)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report.Pings += w.Pings
	}
}

func (s *backendServer) numbers(w *wspeer.Conn, req *http.Request) Ending {
	query := req.URL.Query()
	reason := req.Header.Get("Holdfast-Reattach")
	m := Behaviour{Unbroken: query.Has("unbroken"), Lossy: reason == "loss"}
	m.pause, _ = time.ParseDuration(query.Get("pause"))
	m.broken, _ = strconv.Atoi(query.Get("broken"))
	l, err := s.store.open(req.Header.Get("Holdfast-Session"), reason)
	if err != nil {
		return Ending{Fault: err.Error()}
	}
	sp := newSpeaker(w, m)
	if sp.ledger = l; l != nil {
		sp.sent = l.state.Sent
		sp.Received.Store(int64(l.state.Received))
	}
	e := sp.speak()
	e.Reattach = reason
	return e
}

func (s *backendServer) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Open += n
}

func (s *backendServer) echo(w *wspeer.Conn) {
	for {
		text, err := w.Message()
		if c := (*wspeer.CloseError)(nil); errors.As(err, &c) {
			w.SendClose(c.Code, c.Reason)
		}
		if err != nil || w.SendText(text) != nil {
			return
		}
	}
}

func (s *backendServer) plain(conn net.Conn, req *http.Request) {
	s.mu.Lock()
	body := []byte(s.report.Name)
	if req.URL.Path == "/report" {
		body, _ = json.Marshal(s.report)
	}
	s.mu.Unlock()
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// Backend is a backend server in a process of its own.
type Backend struct {
	*process.Process
	Address string
	TLS     bool
}

// StartBackends starts n backends, called a, b, ... as in Settings.YAML, with
// additions to their environments, such as that of WithTLS.
func StartBackends(t testing.TB, n int, env ...string) []*Backend {
	t.Helper()
	var all []*Backend
	for i := range n {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(append(os.Environ(), RoleEnv+"="+backendRole, "HOLDFAST_E2E_NAME="+BackendName(i)), env...)
		all = append(all, &Backend{Process: process.Start(t, "backend "+BackendName(i), cmd), TLS: hasTLS(cmd.Env)})
	}
	for _, b := range all {
		b.listens(t)
	}
	return all
}

func (b *Backend) listens(t testing.TB) {
	t.Helper()
	b.Address = b.Stdout.Find(t, "address", 0, func(string) bool { return true })
}

// Restart ends the process, if it still runs, and starts another one with the
// same name and address.
func (b *Backend) Restart(t testing.TB) {
	t.Helper()
	b.Stdin.Close()
	b.Wait(t, testkit.Patience)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(b.Cmd.Env, listenEnv+"="+b.Address)
	b.Process = process.Start(t, b.Name, cmd)
	b.listens(t)
}

// Addresses returns the addresses of backends.
func Addresses(backends []*Backend) (all []string) {
	for _, b := range backends {
		all = append(all, b.Address)
	}
	return all
}

// Report asks the backend for its Report.
func (b *Backend) Report(t testing.TB) (r Report) {
	t.Helper()
	client := http.Client{Timeout: testkit.Patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // that is the balancer's business
	}}
	scheme := "http"
	if b.TLS {
		scheme = "https"
	}
	res, err := client.Get(scheme + "://" + b.Address + "/report")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Reports waits until no session is open, and returns how they ended, by id.
func Reports(t testing.TB, backends []*Backend) map[string]Ending {
	t.Helper()
	all := map[string]Ending{}
	for _, b := range backends {
		b.AddReport(t, all)
	}
	return all
}

// AddReport waits until no session is open on b, and adds their endings to all.
// A session that was on several backends has the ending of the last one, or of
// the one that found a fault.
func (b *Backend) AddReport(t testing.TB, all map[string]Ending) {
	t.Helper()
	var r Report
	testkit.Eventually(t, "empty: backend "+b.Name, func() bool {
		r = b.Report(t)
		return r.Open == 0
	})
	for id, e := range r.Endings {
		if before, ok := all[id]; !ok || before.Fault == "" && (e.Fault != "" || !e.Moved) {
			all[id] = e
		}
	}
}
