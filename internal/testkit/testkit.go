// Package testkit has what the tests of several packages share: a bounded
// wait, a log that tests can search, and the list of engines. Its subpackages
// have a WebSocket peer (wspeer), child processes (process), a Redis server
// (redistest) and a DNS server (nameserver).
//
// Only tests import it: a check in internal/archtest makes sure of that.
package testkit

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Patience bounds every wait for something that is expected to come soon. It
// is long because the machine may be slow or busy. No test that passes waits
// this long.
const Patience = 3 * time.Minute

// Eventually waits until ok returns true. It fails the test after Patience.
// what completes the sentence "it never happened: ". In a synctest bubble, the
// waiting takes the bubble's time.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	EventuallyWithin(t, Patience, what, ok)
}

// EventuallyWithin is Eventually with a limit of its own.
func EventuallyWithin(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if !poll(limit, ok) {
		t.Fatalf("it never happened within %v: %s", limit, what)
	}
}

// poll calls ok until it returns true or limit has passed. The pauses grow
// from a millisecond, for conditions that are about to hold, to 20 ms, for
// conditions that are expensive to check.
func poll(limit time.Duration, ok func() bool) bool {
	const longest = 20 * time.Millisecond
	pause := time.Millisecond
	for end := time.Now().Add(limit); ; {
		if ok() {
			return true
		}
		if !time.Now().Before(end) {
			return false
		}
		time.Sleep(pause)
		pause = min(2*pause, longest)
	}
}

// Receive returns the next value of c. It fails the test after Patience. A
// closed channel gives the zero value.
func Receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case v := <-c:
		return v
	case <-timeout.C:
		t.Fatalf("it never happened within %v: %s", Patience, what)
		panic("unreachable")
	}
}

// FreeAddress returns a local address with a port on which nobody listens: for what must
// know its address before it listens there, and for what nobody shall answer at.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Engines returns the engines of this system, by their names in the
// configuration.
func Engines() []string {
	if runtime.GOOS == "linux" {
		return []string{"epoll", "portable"}
	}
	return []string{"portable"}
}

// EachEngine runs test as a subtest for each engine, one after the other.
func EachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	for _, engine := range Engines() {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}

// EachEngineParallel is EachEngine with parallel subtests.
func EachEngineParallel(t *testing.T, test func(t *testing.T, engine string)) {
	EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		test(t, engine)
	})
}

// SocketPath returns a path for a unix socket in a folder of its own, short enough for
// every system, unlike one in t.TempDir.
func SocketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}
