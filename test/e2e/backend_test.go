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
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

// backendRole makes this test binary a backend server in a process of its own.
// It prints its address, and ends with its standard input.
//
//	/numbers?id=ID  a speaker, in the manner of the query
//	/echo           sends every message back
//	/quiet          reads, and answers pings, but says nothing
//	/report         plain HTTP: a report
//	/               plain HTTP: its name
const backendRole = "backend"

// report is what a backend knows of its sessions.
type report struct {
	Name    string
	Open    int
	Endings map[string]ending // of /numbers, by id
	Pings   int               // that came on /quiet sessions that are over
}

type backendServer struct {
	store  *storeClient // nil where its sessions end with it
	mu     sync.Mutex
	report report
}

// listenEnv is the address of a backend server that was there before.
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
	fmt.Println(ln.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s := &backendServer{store: store, report: report{Name: os.Getenv("HOLDFAST_E2E_NAME"), Endings: map[string]ending{}}}
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
	w, err := acceptWire(conn, in, req)
	if err != nil {
		return
	}
	s.count(1)
	defer s.count(-1)
	switch req.URL.Path {
	case "/numbers":
		e := s.numbers(w, req)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report.Endings[req.URL.Query().Get("id")] = e
	case "/echo":
		s.echo(w)
	case "/quiet":
		_, err := w.message()
		if c := (*closed)(nil); errors.As(err, &c) {
			w.sendClose(c.code, c.reason)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report.Pings += w.pings
	}
}

func (s *backendServer) numbers(w *wire, req *http.Request) ending {
	query := req.URL.Query()
	reason := req.Header.Get("Holdfast-Reattach")
	m := manner{unbroken: query.Has("unbroken"), lossy: reason == "loss"}
	m.pause, _ = time.ParseDuration(query.Get("pause"))
	m.broken, _ = strconv.Atoi(query.Get("broken"))
	l, err := s.store.open(req.Header.Get("Holdfast-Session"), reason)
	if err != nil {
		return ending{Fault: err.Error()}
	}
	sp := newSpeaker(w, m)
	if sp.ledger = l; l != nil {
		sp.sent = l.state.Sent
		sp.received.Store(int64(l.state.Received))
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

func (s *backendServer) echo(w *wire) {
	for {
		text, err := w.message()
		if c := (*closed)(nil); errors.As(err, &c) {
			w.sendClose(c.code, c.reason)
		}
		if err != nil || w.sendText(text) != nil {
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

// startedBackend is such a process, as a test sees it.
type startedBackend struct {
	*process
	address string
}

// startBackends starts n of them, called a, b, ... as in settings.yaml, with
// this added to their environments.
func startBackends(t testing.TB, n int, env ...string) []*startedBackend {
	t.Helper()
	var all []*startedBackend
	for i := range n {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(append(os.Environ(), roleEnv+"="+backendRole, "HOLDFAST_E2E_NAME="+backendName(i)), env...)
		all = append(all, &startedBackend{process: start(t, "backend "+backendName(i), cmd)})
	}
	for _, b := range all {
		b.listens(t)
	}
	return all
}

func (b *startedBackend) listens(t testing.TB) {
	t.Helper()
	b.address = b.stdout.find(t, "address", 0, func(string) bool { return true })
}

// restart ends the process, if it still runs, and starts another with the same
// name at the same address.
func (b *startedBackend) restart(t testing.TB) {
	t.Helper()
	b.stdin.Close()
	b.wait(t, patience)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(b.cmd.Env, listenEnv+"="+b.address)
	b.process = start(t, b.name, cmd)
	b.listens(t)
}

func addresses(backends []*startedBackend) (all []string) {
	for _, b := range backends {
		all = append(all, b.address)
	}
	return all
}

func (b *startedBackend) report(t testing.TB) (r report) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	res, err := client.Get("http://" + b.address + "/report")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// reports waits until no session is open, and returns how all of them ended.
func reports(t testing.TB, backends []*startedBackend) map[string]ending {
	t.Helper()
	all := map[string]ending{}
	for _, b := range backends {
		b.addReport(t, all)
	}
	return all
}

// addReport waits until no session is open on b, and adds how they ended. Of a
// session that has been with several backends, what counts is the last, or the
// one that found a fault.
func (b *startedBackend) addReport(t testing.TB, all map[string]ending) {
	t.Helper()
	var r report
	eventually(t, "empty: backend "+b.name, func() bool {
		r = b.report(t)
		return r.Open == 0
	})
	for id, e := range r.Endings {
		if before, ok := all[id]; !ok || before.Fault == "" && (e.Fault != "" || !e.Moved) {
			all[id] = e
		}
	}
}
