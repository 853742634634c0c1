//go:build unix

package hostile

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// recorder is a backend that keeps every byte that it gets, by connection. It
// answers a handshake with 101 and anything else with 200, unless answers has
// something for the path.
type recorder struct {
	address string
	answers map[string]string // by path; "KEY" stands for the Sec-WebSocket-Accept
	serving sync.WaitGroup

	mu    sync.Mutex // guards the following
	conns []*recording
}

// recording is what came on one connection.
type recording struct {
	over  chan struct{} // closed when the balancer has closed it
	bytes bytes.Buffer  // complete when it is over
}

func startRecorder(t testing.TB, answers map[string]string) *recorder {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{address: ln.Addr().String(), answers: answers}
	t.Cleanup(func() {
		ln.Close()
		r.serving.Wait()
	})
	r.serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			one := &recording{over: make(chan struct{})}
			r.mu.Lock()
			r.conns = append(r.conns, one)
			r.mu.Unlock()
			r.serving.Go(func() { r.serve(conn, one) })
		}
	})
	return r
}

func (r *recorder) serve(conn net.Conn, one *recording) {
	defer close(one.over)
	defer conn.Close()
	in := bufio.NewReader(io.TeeReader(conn, &one.bytes))
	req, err := http.ReadRequest(in)
	if err == nil {
		io.Copy(io.Discard, req.Body)
		answer, special := r.answers[req.URL.Path]
		switch {
		case special:
			answer = strings.ReplaceAll(answer, "KEY", wspeer.AcceptKey(req.Header.Get("Sec-WebSocket-Key")))
		case req.Header.Get("Upgrade") != "":
			answer = wspeer.SwitchingProtocols(req.Header.Get("Sec-WebSocket-Key"))
		default:
			answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		}
		io.WriteString(conn, answer)
		if !strings.HasPrefix(answer, "HTTP/1.1 101") || !strings.Contains(answer, "\r\n\r\n") {
			conn.(*net.TCPConn).CloseWrite()
		}
	}
	io.Copy(io.Discard, in)
}

// since returns what came on the connections after the first n, once they are
// over, and how many connections there are now.
func (r *recorder) since(n int) (seen []string, now int) {
	r.mu.Lock()
	conns := r.conns
	r.mu.Unlock()
	for _, one := range conns[n:] {
		<-one.over
		seen = append(seen, one.bytes.String())
	}
	return seen, len(conns)
}
