//go:build unix

package proxied

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// dialUnix opens a session by a unix socket.
func dialUnix(t testing.TB, path string, header ...string) *wspeer.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	w := wspeer.NewClient(conn)
	if _, err := w.Handshake("chat.example", "/ws", header); err != nil {
		t.Fatal(err)
	}
	return w
}

// onSocket is a file with a listener by a unix socket, and backends that are checked.
func onSocket(engine, path, keys string, backends ...*backend) string {
	var addresses []string
	for _, b := range backends {
		addresses = append(addresses, b.address)
	}
	file := kit.Settings{Engine: engine, Backends: addresses}.YAML()
	file = strings.Replace(file, "  main:\n", "  main:\n    balance: round_robin\n    health: {http: {path: /health}, websocket: {path: /check}, interval: 1h, timeout: 3m}\n", 1)
	_, rest, _ := strings.Cut(file, "\n")
	return fmt.Sprintf("listeners: [{address: \"unix:%s\"%s}]\n%s", path, keys, rest)
}

// TestUnixSockets: clients and backends by unix sockets, with one backend by TCP. The
// socket stays over a reload, a crash and a restart.
func TestUnixSockets(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		path := testkit.SocketPath(t)
		local, far := serve(t, "a", listenUnix(t), false), serve(t, "b", listenTCP(t), false)
		b := kit.StartBalancer(t, onSocket(engine, path, "", local, far))
		if b.Address != "unix:"+path {
			t.Errorf("it listens on %s", b.Address)
		}
		wantMode(t, path, 0o660)
		for range 2 { // one for each backend
			wantLongEcho(t, dialUnix(t, path))
		}
		if one, two := local.of("/ws"), far.of("/ws"); len(one) != 1 || len(two) != 1 || one[0].forwardedFor != "127.0.0.1" || two[0].forwardedFor != "127.0.0.1" {
			t.Errorf("the backends saw %+v and %+v", one, two)
		}
		b.FindLog(t, "session open", 0, "client=127.0.0.1:0")
		testkit.Eventually(t, "checks of both kinds", func() bool { return len(local.of("/health")) > 0 && len(local.of("/check")) > 0 })
		if got := b.Pool(t, "main").Backends[0]; got.Address != local.address || got.State != "up" {
			t.Errorf("status: %+v", got)
		}

		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		w := dialUnix(t, path)
		b.WriteConfig(t, onSocket(engine, path, ", socket_mode: 0600", local, far)+"forwarded: {trust: [unix]}\n")
		b.Reload(t, kit.Reloaded)
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("after a reload: %v", err)
		}
		wantMode(t, path, 0o600)
		kit.WantEcho(t, w, "hello")
		dialUnix(t, path, "X-Forwarded-For: 203.0.113.9")
		b.FindLog(t, "session open", 0, "client=203.0.113.9:0")

		second := kit.Run(t, "run", "-c", b.File)
		if second.Status == 0 || !strings.Contains(second.Stderr, "another process listens there") {
			t.Errorf("a second balancer: %+v", second)
		}
		b.Kill(t)
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("after a crash: %v", err)
		}
		b.Process = kit.StartHoldfast(t, "run", "-c", b.File)
		b.AwaitReady(t)
		last := dialUnix(t, path)
		kit.WantEcho(t, last, "hello")
		last.Close() // otherwise its Close frame would be waited for
		b.Signal(t, syscall.SIGTERM)
		if status := b.Wait(t, testkit.Patience); status != 0 {
			t.Errorf("exit status %d", status)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after it has stopped: %v", err)
		}
	})
}

// wantLongEcho sends more than the sockets on the way take at once.
func wantLongEcho(t testing.TB, w *wspeer.Conn) {
	t.Helper()
	text := strings.Repeat("hello ", 1_000_000)
	if err := w.SendText(text); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Message(); err != nil || got != text {
		t.Errorf("%d bytes of %d came back, %v", len(got), len(text), err)
	}
}

func wantMode(t testing.TB, path string, want fs.FileMode) {
	t.Helper()
	at, err := os.Stat(path)
	if err != nil || at.Mode() != want|fs.ModeSocket {
		t.Errorf("the socket: %v, %v, want %v", at, err, want)
	}
}

// TestUnixCommandLine: without a file. The header comes by the unix socket, too.
func TestUnixCommandLine(t *testing.T) {
	t.Parallel()
	path := testkit.SocketPath(t)
	server := serve(t, "a", listenUnix(t), false)
	p := kit.StartHoldfast(t, "run", "--listen", "unix:"+path, "--backend", server.address)
	testkit.Eventually(t, "it listens", func() bool { _, err := os.Lstat(path); return err == nil })
	kit.WantEcho(t, dialUnix(t, path), "hello")
	p.Kill(t)
}
