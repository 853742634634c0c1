package admin

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stream asks for events and returns the lines of the response.
func stream(t *testing.T, base, query string, header ...string) (lines *bufio.Scanner, status int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return bufio.NewScanner(res.Body), res.StatusCode
}

func wantLines(t *testing.T, lines *bufio.Scanner, want ...string) {
	t.Helper()
	for _, w := range want {
		if !lines.Scan() {
			t.Fatalf("the stream ended (%v), want %q", lines.Err(), w)
		}
		if got := lines.Text(); !strings.HasPrefix(got, w) || w == "" && got != "" {
			t.Fatalf("got %q, want %q", got, w)
		}
	}
}

// A stream has the events that happened and those that happen, and ends with the server.
func TestEvents(t *testing.T) {
	b := new(balancer)
	s := b.server()
	base := "http://" + serve(t, s, "tcp", "127.0.0.1:0")
	b.happen()
	b.happen()
	first := []string{"id: 0", "", "id: 1", "event: backend", `data: {"id":1,`, "", "id: 2", "event: backend", "data: ", ""}
	all, _ := stream(t, base, "")
	wantLines(t, all, first...)
	later, _ := stream(t, base, "?after=1")
	wantLines(t, later, "id: 1", "", "id: 2", "event: backend", "data: ", "")
	again, _ := stream(t, base, "?after=0", "Last-Event-ID", "1")
	wantLines(t, again, "id: 1", "", "id: 2", "event: backend", "data: ", "")
	now, _ := stream(t, base, "?after=now")
	wantLines(t, now, "id: 2", "")
	past, _ := stream(t, base, "?follow=false")
	wantLines(t, past, first...)
	if past.Scan() {
		t.Errorf("after the past comes %q", past.Text())
	}
	b.happen()
	for _, lines := range []*bufio.Scanner{all, later, again, now} {
		wantLines(t, lines, "id: 3", "event: backend", "data: ", "")
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	for _, lines := range []*bufio.Scanner{all, later, again, now} {
		if lines.Scan() || lines.Err() != nil {
			t.Errorf("after the end of the server: %q, %v", lines.Text(), lines.Err())
		}
	}
}

// There are no more streams than maxStreams, and one that ends makes room.
func TestTooManyStreams(t *testing.T) {
	s := new(balancer).server()
	for range maxStreams {
		s.streams <- struct{}{}
	}
	base := "http://" + serve(t, s, "tcp", "127.0.0.1:0")
	if _, status := stream(t, base, ""); status != 503 {
		t.Errorf("status %d", status)
	}
	<-s.streams
	for range 3 { // each leaves its place to the next
		lines, status := stream(t, base, "?follow=false")
		if status != 200 {
			t.Fatalf("status %d", status)
		}
		for lines.Scan() { // until the server has ended it
		}
	}
}

// A stream without events has a comment now and then, and isn't cut by the timeouts of
// other requests.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		s := new(balancer).server()
		served := make(chan error)
		l := &oneConn{conn: server, end: make(chan struct{})}
		go func() { served <- s.http.Serve(l) }()
		begun := time.Now()
		go io.WriteString(client, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(res.Body)
		wantLines(t, lines, "id: 0", "")
		for i := range 20 {
			wantLines(t, lines, ": alive", "")
			if took, want := time.Since(begun), time.Duration(i+1)*heartbeat; took != want {
				t.Errorf("comment %d came after %v, want %v", i, took, want)
			}
		}
		// One that doesn't read is given up.
		time.Sleep(heartbeat + sendTimeout + time.Second)
		synctest.Wait()
		if n := len(s.streams); n != 0 {
			t.Errorf("%d streams are left", n)
		}
		client.Close()
		s.Shutdown(context.Background())
		<-served
	})
}

// A stream ends soon after its token was withdrawn.
func TestStreamOfAWithdrawnToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		s := new(balancer).server()
		tokens, err := ParseTokens([]byte(goodToken))
		if err != nil {
			t.Fatal(err)
		}
		s.SetTokens(tokens)
		served := make(chan error)
		l := &oneConn{conn: server, end: make(chan struct{}), network: "tcp"}
		go func() { served <- s.http.Serve(l) }()
		go io.WriteString(client, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+goodToken+"\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(res.Body)
		wantLines(t, lines, "id: 0", "", ": alive", "")
		other, err := ParseTokens([]byte("another-token-1234567890"))
		if err != nil {
			t.Fatal(err)
		}
		s.SetTokens(other)
		if lines.Scan() {
			t.Errorf("it has %q afterwards", lines.Text())
		}
		client.Close()
		s.Shutdown(context.Background())
		<-served
	})
}

// oneConn is a listener with one connection.
type oneConn struct {
	network string // "" for unix
	conn    net.Conn
	end     chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.end
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	close(l.end)
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: cmp.Or(l.network, "unix")} }

// HEAD of a stream doesn't wait for events.
func TestHeadOfEvents(t *testing.T) {
	base := "http://" + serve(t, new(balancer).server(), "tcp", "127.0.0.1:0")
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(httptest.NewRequest("HEAD", base+"/v1/events", nil))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}
