package app_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// TestTCPBySNI: on a listener with mode: tcp and tls, routes by sni choose the pool.
func TestTCPBySNI(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		ca := testca.New(t)
		cert, key := ca.Issue("a.example.com", "*.b.example.com", "other.example.com").Files()
		r := start(t, fmt.Sprintf(`
listeners:
  - {name: inside, address: "127.0.0.1:0", mode: tcp, pool: rest, tls: {certificates: [{cert: %q, key: %q}]}}
  - {name: other, address: "127.0.0.1:0", mode: tcp, pool: rest, tls: {certificates: [{cert: %[1]q, key: %[2]q}]}}
admin: {address: "127.0.0.1:0"}
engine: %s
timeouts: {shutdown: 5s}
shutdown: {delay: 0}
routes:
  - {match: {listener: inside, sni: a.example.com}, pool: a}
  - {match: {sni: "*.b.example.com"}, pool: b}
pools:
  a: {backends: [{address: "%s"}]}
  b: {backends: [{address: "%s"}]}
  rest: {backends: [{address: "%s"}]}
`, cert, key, engine, saying(t, "a"), saying(t, "b"), saying(t, "rest")))
		for i, names := range []map[string]string{
			{"A.example.com": "a", "x.b.example.com": "b", "other.example.com": "rest"},
			{"a.example.com": "rest", "x.b.example.com": "b"},
		} {
			for name, want := range names {
				conn, err := tls.Dial("tcp", r.Addresses()[i], &tls.Config{ServerName: strings.ToLower(name), RootCAs: ca.Pool()})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				conn.SetDeadline(time.Now().Add(testkit.Patience))
				if said, err := io.ReadAll(conn); string(said) != want {
					t.Errorf("%s on listener %d reaches %q (%v), want %s", name, i, said, err, want)
				}
				conn.Close()
			}
		}
	})
}

// saying is the address of a server that says a word to each client, and closes.
func saying(t *testing.T, word string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, word)
			conn.Close()
		}
	}()
	return l.Addr().String()
}
