package attack

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	openFiles = 200
	mayOpen   = (openFiles - 64) / 2 // sessions, see docs/limits.md
)

// startWithFewFiles starts a balancer that may open few files, with a listener for
// plain clients and one for TLS.
func startWithFewFiles(t *testing.T, engine, more string, pools ...string) (b *kit.Balancer, secure string, config *tls.Config) {
	t.Helper()
	ca := testca.New(t)
	cert, key := ca.Issue("good.example").Files()
	b = &kit.Balancer{File: filepath.Join(t.TempDir(), "holdfast.yaml")}
	b.WriteConfig(t, fmt.Sprintf(`
admin: {address: "127.0.0.1:0"}
engine: %s
pools: {main: {backends: [{name: a, address: %q}]}%s}
listeners:
  - {name: public, address: "127.0.0.1:0"}
  - {name: secure, address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}]}}
%s`, engine, startEcho(t), strings.Join(append([]string{""}, pools...), ", "), cert, key, more))
	cmd := exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, openFiles), kit.Binary, "run", "-c", b.File)
	b.Process = process.Start(t, "holdfast", cmd)
	b.AwaitReady(t)
	secure = b.FindLog(t, "started", 0)["listeners"].([]any)[1].(string)
	return b, secure, &tls.Config{ServerName: "good.example", RootCAs: ca.Pool()}
}

// When as many sessions are open as descriptors allow, new clients are told so, whatever
// they want, and those that are there go on.
func TestNoDescriptorsLeft(t *testing.T) {
	t.Parallel()
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		b, secure, config := startWithFewFiles(t, engine, "limits: {max_sessions: 100000}\n")
		b.Stderr.Find(t, "a warning", 0, func(line string) bool {
			return strings.Contains(line, "limits.max_sessions is 100000, but the limit of open files, 200, is enough for 68 sessions")
		})
		sessions := make([]*wspeer.Conn, mayOpen)
		t.Cleanup(func() { kit.CutAll(sessions) })
		for i := range sessions {
			var err error
			if on := *b; i%2 == 1 {
				on.Address = secure
				sessions[i], err = dialGood(&on, i, config)
			} else {
				sessions[i], err = dialGood(b, i, nil)
			}
			if err != nil {
				t.Fatalf("session %d of %d: %v", i, mayOpen, err)
			}
		}
		wantAll := func(when string) {
			t.Helper()
			for i, w := range sessions {
				w.SetDeadline(time.Now().Add(testkit.Patience))
				if err := w.RoundTrip(when); err != nil {
					t.Fatalf("%s: session %d: %v", when, i, err)
				}
			}
		}
		wantAll("before")

		full := func(answer *http.Response, err error) {
			t.Helper()
			if answer == nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
				t.Errorf("got %v, %v, want 503", answer, err)
			}
		}
		_, answer, err := kit.DialFrom(t, attacker, b.Address, "/echo")
		full(answer, err)
		full(kit.GetFrom(t, attacker, b.Address, "/"))
		if _, err := tls.Dial("tcp", secure, config); err == nil || !strings.Contains(err.Error(), "internal error") {
			t.Errorf("on TLS: %v, want an alert", err)
		}

		// A crowd of all kinds, many more than there are descriptors.
		var told, cut, other atomic.Int64
		hello := clientHello(t, "good.example")
		if err := kit.InParallel(600, func(i int) error {
			to, send := b.Address, wspeer.RequestHead("x", "/echo", wspeer.NewKey(), nil)
			switch i % 4 {
			case 1:
				send = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
			case 2:
				to, send = secure, string(hello)
			case 3:
				send = "" // stays silent
			}
			conn, err := kit.ConnectFrom(fmt.Sprintf("127.3.0.%d", 1+i%250), to)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(testkit.Patience))
			io.WriteString(conn, send)
			first := make([]byte, 12)
			n, err := io.ReadFull(conn, first)
			switch {
			case strings.HasPrefix(string(first[:n]), "HTTP/1.1 503") || n > 0 && first[0] == 21:
				told.Add(1)
			case err != nil:
				cut.Add(1)
			default:
				other.Add(1)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		t.Logf("of the crowd, %d were told, %d cut", told.Load(), cut.Load())
		if other.Load() > 0 || told.Load() < 300 {
			t.Errorf("of the crowd, %d were told, %d cut, and %d got something else", told.Load(), cut.Load(), other.Load())
		}
		wantAll("after")
		if n := b.AwaitSessions(t, mayOpen)[`holdfast_handshakes_total{result="too_many_sessions"}`]; n < 600 {
			t.Errorf("%v refusals are counted, want at least 600", n)
		}
		if lines := b.LogEntries("cannot accept connections; they wait in the kernel"); len(lines) > 0 {
			t.Errorf("descriptors ran out: %v", lines)
		}

		// The end of a session makes room.
		sessions[0].Close()
		testkit.Eventually(t, "room for another session", func() bool {
			sessions[0], err = dialGood(b, 500, nil)
			return err == nil
		})
		wantAll("at last")
	})
}

// Connections to backends that plain HTTP has left idle take no session's descriptors.
func TestIdleConnectionsLeaveDescriptors(t *testing.T) {
	t.Parallel()
	const requests = mayOpen - 8 // so that none is refused for one that is still leaving
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		held, release := make(chan struct{}, requests), make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			held <- struct{}{}
			<-release
		}))
		t.Cleanup(server.Close)
		b, _, _ := startWithFewFiles(t, engine, "http: {backend_idle_timeout: 1h}\nroutes: [{match: {websocket: true}, pool: main}, {pool: plain}]\n",
			fmt.Sprintf("plain: {backends: [{address: %q}]}", server.Listener.Addr()))
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Patience}
		var asking sync.WaitGroup
		for range requests {
			asking.Go(func() {
				if res, err := client.Get("http://" + b.Address + "/"); err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("plain HTTP: %v, %v", res, err)
				} else {
					res.Body.Close()
				}
			})
		}
		for range requests {
			testkit.Receive(t, "a request", held)
		}
		close(release) // so that all of them are left idle together
		asking.Wait()
		all := make([]*wspeer.Conn, mayOpen)
		t.Cleanup(func() { kit.CutAll(all) })
		for i := range all {
			// Those that have asked may still be leaving.
			testkit.Eventually(t, "a session", func() (ok bool) {
				var err error
				all[i], err = dialGood(b, i, nil)
				return err == nil
			})
		}
		for _, w := range all {
			kit.WantEcho(t, w, "hello")
		}
		if lines := b.LogEntries("cannot accept connections; they wait in the kernel"); len(lines) > 0 {
			t.Errorf("descriptors ran out: %v", lines)
		}
	})
}
