//go:build unix

package layer4

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// file is a configuration with these listeners and pools, in YAML.
func file(engine, listeners, pools string) string {
	return fmt.Sprintf("engine: %s\nadmin: {address: \"127.0.0.1:0\"}\nlisteners: [%s]\npools: {%s}\n", engine, listeners, pools)
}

// TestRedis: commands, subscriptions and large values pass, a backend that is drained
// is left by its clients, and one that is gone isn't used.
func TestRedis(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		one, two := redistest.Start(t), redistest.Start(t)
		b := kit.StartBalancer(t, file(engine, `{name: redis, address: "127.0.0.1:0", mode: tcp}`,
			fmt.Sprintf("redis: {health: {tcp: true, interval: 100ms, timeout: 90ms, fall: 1, rise: 1}, backends: [{name: a, address: %q}, {name: b, address: %q}]}", one.Address, two.Address))+
			"timeouts: {close: 1s}\n") // the client's library notices the end of its connection only when it uses it
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		client := redis.NewClient(&redis.Options{Addr: b.Address, PoolSize: 1, MaxRetries: -1, DisableIdentity: true})
		defer client.Close()
		value := strings.Repeat("0123456789abcdef", 1<<16)
		if err := client.Set(ctx, "key", value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got, err := client.Get(ctx, "key").Result(); err != nil || got != value {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
		home := "a"
		direct := two.Client()
		defer direct.Close()
		if direct.Get(ctx, "key").Err() == nil {
			home = "b"
		}
		open := b.FindLog(t, "session open", 0, "backend="+home, "route=redis")
		b.Command(t, 0, "drain", "redis/"+home, "--timeout", "1s")
		closed := b.FindLog(t, "session closed", 0, fmt.Sprint("id=", open["id"]))
		if closed["cause"] != "backend_drained" || closed["messages_from_client"] != 0.0 || closed["bytes_from_backend"].(float64) < float64(len(value)) || closed["close_code"] != nil {
			t.Errorf("it ended as %v", closed)
		}
		// The next connection goes to the other server, which has no such key.
		testkit.Eventually(t, "the client has noticed the end", func() bool { return errors.Is(client.Get(ctx, "key").Err(), redis.Nil) })

		// Both are gone: connections end.
		one.Kill(t)
		two.Kill(t)
		conn, err := net.Dial("tcp", b.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(testkit.Patience))
		if n, err := io.Copy(io.Discard, conn); n > 0 || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d bytes came, %v", n, err)
		}
		b.FindLog(t, "handshake refused", 0, "listener=redis", "pool=redis")
		b.Stop(t)
	})
}

// TestNode: WebSockets of Node's ws pass through as any other bytes, with TLS that the
// balancer terminates, too.
func TestNode(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		server := kit.StartNodeServer(t)
		b := kit.StartBalancer(t, file(engine, `{address: "127.0.0.1:0", mode: tcp}`, fmt.Sprintf("ws: {backends: [{address: %q}]}", server.Address)))
		for _, scenario := range []string{"large", "early", "servercloses4001"} {
			direct, through := kit.Scenario(t, server.Address, scenario), kit.Scenario(t, b.Address, scenario)
			kit.SameJSON(t, scenario, through, direct)
		}
		for _, e := range b.LogEntries("session closed") {
			if e["messages_from_client"] != 0.0 || e["cause"] != "client_closed" && e["cause"] != "backend_closed" {
				t.Errorf("a session ended as %v", e)
			}
		}
		b.Stop(t)
	})
}

// TestOpenSSL: connections of openssl s_client come to the openssl s_server of their
// name, whose certificate they see. Others get an alert. A reload changes the routes.
func TestOpenSSL(t *testing.T) {
	ca := testca.New(t)
	addresses := map[string]string{}
	for _, name := range []string{"a.example", "b.example"} {
		cert, key := ca.Issue(name).Files()
		addresses[name] = testkit.FreeAddress(t)
		openssl(t, "s_server", "-accept", addresses[name], "-cert", cert, "-key", key, "-rev", "-quiet")
		testkit.Eventually(t, "openssl s_server listens", func() bool {
			c, err := net.Dial("tcp", addresses[name])
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	pools := fmt.Sprintf("a: {backends: [{address: %q}]}, b: {backends: [{address: %q}]}", addresses["a.example"], addresses["b.example"])
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		text := file(engine, `{name: pass, address: "127.0.0.1:0", mode: tls-passthrough}`, pools)
		b := kit.StartBalancer(t, text+"routes: [{match: {sni: a.example}, pool: a}]\n")
		say := func(name, line, answer string, args ...string) {
			t.Helper()
			c := openssl(t, append([]string{"s_client", "-connect", b.Address, "-servername", name, "-verify_hostname", name, "-CAfile", ca.File(), "-verify_return_error"}, args...)...)
			fmt.Fprintln(c.Stdin, line)
			c.Stdout.Find(t, answer, 0, func(got string) bool { return strings.HasSuffix(got, answer) })
			c.Stdin.Close()
			c.Wait(t, testkit.Patience)
		}
		say("a.example", "hello", "olleh", "-tls1_3")
		say("a.example", "hello", "olleh", "-tls1_2")
		b.FindLog(t, "session closed", 0, "route=a.example", "pool=a", "cause=client_closed")
		b.FindLog(t, "session open", 0, "server_name=a.example")

		refused := openssl(t, "s_client", "-connect", b.Address, "-servername", "b.example")
		refused.Stderr.Find(t, "the alert", 0, func(line string) bool { return strings.Contains(line, "unrecognized name") })
		b.FindLog(t, "handshake refused", 0, "result=no_route", "server_name=b.example", "listener=pass")

		b.WriteConfig(t, text+"routes: [{match: {sni: a.example}, pool: a}, {match: {sni: b.example}, pool: b}]\n")
		b.Reload(t, kit.Reloaded)
		say("b.example", "world", "dlrow")
		b.Stop(t)
	})
}

func openssl(t testing.TB, args ...string) *process.Process {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	return process.Start(t, "openssl "+args[0], exec.Command(program, args...))
}

// TestUpgrade: a request for an upgrade that its route names becomes a session of opaque
// bytes, on the same listener as everything else.
func TestUpgrade(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Upgrade") != "tcp" {
			fmt.Fprintf(w, "plain %s", body)
			return
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n%s", body)
		io.Copy(conn, rw)
	})}
	done := make(chan struct{})
	go func() { server.Serve(ln); close(done) }()
	t.Cleanup(func() { server.Close(); <-done })
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b := kit.StartBalancer(t, file(engine, `{address: "127.0.0.1:0"}`, fmt.Sprintf("docker: {backends: [{address: %q}]}", ln.Addr()))+
			"routes: [{match: {path: /exec}, pool: docker, upgrades: [websocket, tcp]}, {pool: docker}]\n")
		for path, want := range map[string]string{"/exec": "HTTP/1.1 101 Switching Protocols\r\n", "/other": "HTTP/1.1 200 OK\r\n"} {
			conn, err := net.Dial("tcp", b.Address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(testkit.Patience))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 4\r\n\r\nbody", path)
			br := bufio.NewReader(conn)
			if line, err := br.ReadString('\n'); err != nil || line != want {
				t.Fatalf("%s: %q, %v", path, line, err)
			}
			if path != "/exec" {
				continue
			}
			for line := ""; line != "\r\n" && err == nil; line, err = br.ReadString('\n') {
			}
			io.WriteString(conn, "\x00\xff and more")
			conn.(*net.TCPConn).CloseWrite()
			if all, err := io.ReadAll(br); err != nil || string(all) != "body\x00\xff and more" {
				t.Errorf("got %q, %v", all, err)
			}
			b.FindLog(t, "session closed", 0, "route=/exec", "cause=client_closed")
		}
		b.Stop(t)
	})
}
