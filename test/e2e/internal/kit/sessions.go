//go:build unix

package kit

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// OpenMany opens n sessions, some at a time. They are cut at the end of the test.
func OpenMany(t testing.TB, address, path string, n int) []*wspeer.Conn {
	t.Helper()
	all, err := DialMany(address, path, n)
	t.Cleanup(func() { CutAll(all) })
	if err != nil {
		t.Fatalf("opening %d sessions: %v", n, err)
	}
	return all
}

// DialMany opens n sessions, some at a time. After an error, the sessions that
// did open are returned too; the others are nil.
func DialMany(address, path string, n int) (all []*wspeer.Conn, err error) {
	all = make([]*wspeer.Conn, n)
	err = InParallel(n, func(i int) (err error) {
		all[i], _, err = wspeer.Dial(address, path)
		return err
	})
	return all, err
}

// DialFrom opens a session from a local address, such as 127.0.0.2. Without an error it
// is cut at the end of the test.
func DialFrom(t testing.TB, from, address, path string, header ...string) (*wspeer.Conn, *http.Response, error) {
	t.Helper()
	conn, err := ConnectFrom(from, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w := wspeer.NewClient(conn)
	res, err := w.Handshake(address, path, header)
	return w, res, err
}

// ConnectFrom opens a connection from a local address.
func ConnectFrom(from, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: testkit.Patience}
	return d.Dial("tcp", address)
}

// GetFrom makes a plain HTTP request from a local address. A client of net/http would take
// a refusal that comes before its request for a fault.
func GetFrom(t testing.TB, from, address, path string) (*http.Response, error) {
	t.Helper()
	conn, err := ConnectFrom(from, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, address)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		answer.Body.Close()
	}
	return answer, err
}

// CutAll closes connections without a Close frame.
func CutAll(all []*wspeer.Conn) {
	for _, w := range all {
		if w != nil {
			w.Close()
		}
	}
}

// InParallel calls do n times, some at a time, and returns the last error.
func InParallel(n int, do func(i int) error) (failed error) {
	var running sync.WaitGroup
	var mu sync.Mutex
	next := make(chan int)
	for range min(n, 32) {
		running.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	running.Wait()
	return failed
}

// WantEcho sends a message and wants it back.
func WantEcho(t testing.TB, w *wspeer.Conn, text string) {
	t.Helper()
	w.SetDeadline(time.Now().Add(testkit.Patience))
	defer w.SetDeadline(time.Time{})
	if err := w.RoundTrip(text); err != nil {
		t.Fatalf("echo of %q: %v", text, err)
	}
}
