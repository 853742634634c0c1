package attack

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const listener = "listeners: [{name: public, address: \"127.0.0.1:0\"}]\n"

// memoryAtRest is what the heap may grow by that has nothing to do with an attack.
const memoryAtRest = 24 << 20

// wantMemory wants the balancer to have grown by at most what n attackers may take.
func wantMemory(t *testing.T, b *kit.Balancer, before, n, each int) {
	t.Helper()
	grown := b.Peak(t) - before
	t.Logf("the balancer has grown by %d KiB, of %d attackers", grown>>10, n)
	most := memoryAtRest + n*each
	if kit.RaceBuild() {
		most *= 10
	}
	if grown > most {
		t.Errorf("it has grown by %d KiB, at most %d may be", grown>>10, most>>10)
	}
}

// Slow clients, each from an address of its own: those that send nothing, a head byte by
// byte, or the same on TLS. They don't keep good clients out.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	slow := kit.UnlessBenching(400, 5000)
	ca := testca.New(t)
	cert, key := ca.Issue("good.example").Files()
	file := fmt.Sprintf(`
listeners:
  - {name: public, address: "127.0.0.1:0"}
  - {name: secure, address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}]}}
timeouts: {handshake: 60s}
`, cert, key)
	b := start(t, file)
	hello := clientHello(t, "good.example")
	g := startGood(t, b, nil)
	before := b.Resident(t)
	g.attackedBy(b, start(t, file), func(b *kit.Balancer) (end func()) {
		secure := b.FindLog(t, "started", 0)["listeners"].([]any)[1].(string)
		held := new(connections)
		if err := kit.InParallel(slow, func(i int) error {
			to, first := b.Address, []string{"", "GET /echo HT", ""}[i%3]
			if i%3 == 2 {
				to, first = secure, string(hello[:len(hello)/2])
			}
			conn, err := kit.ConnectFrom(fmt.Sprintf("127.2.%d.%d", i/250, 1+i%250), to)
			if err != nil {
				return err
			}
			held.add(conn)
			_, err = io.WriteString(conn, first)
			return err
		}); err != nil {
			t.Error(err)
		}
		until(4, func(i int) { // a quarter of them goes on
			for n := i; n < slow; n += 4 {
				if n%3 == 1 {
					held.all[n].Write([]byte{'X'}) // in no order, so that some get two
				}
			}
			time.Sleep(pause)
		})
		if w, err := dialGood(b, 300, nil); err != nil {
			t.Errorf("a new good client: %v", err)
		} else {
			defer w.Close()
			kit.WantEcho(t, w, "hello")
		}
		return held.close
	})
	// A coroutine, a buffer of 4 KiB, and for some a TLS handshake that has begun.
	wantMemory(t, b, before, slow, 48<<10)
}

// A flood of sessions from one address is refused, and doesn't fill the log.
func TestFloodFromOneAddress(t *testing.T) {
	t.Parallel()
	const file = listener + "limits: {max_sessions_per_address: 50, new_sessions_per_address: {rate: 100, burst: 20}}\n"
	b := start(t, file)
	g := startGood(t, b, nil)
	before := b.Resident(t)
	var refused, opened atomic.Int64 // in the last attack
	g.attackedBy(b, start(t, file), func(b *kit.Balancer) (end func()) {
		refused.Store(0)
		opened.Store(0)
		held := new(connections)
		until(kit.UnlessBenching(8, 32), func(int) {
			conn, err := kit.ConnectFrom(attacker, b.Address)
			if err != nil {
				return
			}
			held.add(conn)
			switch res, err := wspeer.NewClient(conn).Handshake("x", "/echo", nil); {
			case err == nil:
				opened.Add(1)
				return // and stays
			case res != nil && res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") != "":
				refused.Add(1)
			default:
				t.Errorf("neither a session nor a 429: %v", err)
			}
			conn.Close()
		})
		for i := range 5 {
			w, err := dialGood(b, 300+i, nil)
			if err != nil {
				t.Errorf("a new good client: %v", err)
				continue
			}
			w.Close()
		}
		return held.close
	})
	t.Logf("%d sessions were opened, and %d refused", opened.Load(), refused.Load())
	if n := opened.Load(); n > 50 {
		t.Errorf("%d sessions of one address, at most 50 may be", n)
	}
	m := b.Metrics(t)
	counted := m[`holdfast_handshakes_total{result="address_rate"}`] + m[`holdfast_handshakes_total{result="address_sessions"}`]
	if counted < float64(refused.Load()) {
		t.Errorf("%v refusals are counted of %d", counted, refused.Load())
	}
	wantLog(t, b, refused.Load(), "address_rate")
	wantMemory(t, b, before, 50, 64<<10)
}

// wantLog wants the log to say what was refused, with few lines.
func wantLog(t *testing.T, b *kit.Balancer, refused int64, result string) {
	t.Helper()
	b.FindLog(t, "handshake refused", 0, "result="+result)
	lines := int64(len(b.LogEntries("handshake refused")))
	// For two results, 100 lines at once and then ten a second.
	if most := int64(2 * (100 + 10*(attackTime+testkit.Patience/10).Seconds())); lines > most {
		t.Errorf("%d lines about refused handshakes, at most %d may be", lines, most)
	}
	if refused > 2*lines {
		entry := b.FindLog(t, "log lines left out: too many are alike", 0, "line=handshake refused")
		if entry["count"].(float64) < 1 {
			t.Errorf("the log says %v", entry)
		}
	}
}

// Sessions that send and never read cost a bounded amount of memory.
func TestSessionsThatNeverRead(t *testing.T) {
	t.Parallel()
	deaf := kit.UnlessBenching(50, 500)
	b := start(t, listener)
	g := startGood(t, b, nil)
	before := b.Resident(t)
	message := wspeer.AppendFrame(nil, wspeer.Frame{Fin: true, Op: 2, Payload: make([]byte, 64<<10)}, true)
	g.attackedBy(b, start(t, listener), func(b *kit.Balancer) (end func()) {
		sessions := make([]*wspeer.Conn, deaf)
		if err := kit.InParallel(deaf, func(i int) (err error) {
			if sessions[i], err = dialGood(b, 1000+i, nil); err != nil {
				return err
			}
			// Until nothing is taken any more.
			for err == nil {
				sessions[i].SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
				_, err = sessions[i].Conn.Write(message)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		return func() { kit.CutAll(sessions) }
	})
	// What was read of each side and isn't taken by the other: at most one read.
	wantMemory(t, b, before, deaf, 2*64<<10+8<<10)
	b.AwaitMetrics(t, "all sessions open", func(m kit.Metrics) bool {
		return m["holdfast_sessions_active"] == float64(deaf+goodSessions)
	})
}

// Messages of one byte, each in a packet of its own, as fast as possible.
func TestTinyFrames(t *testing.T) {
	t.Parallel()
	b := start(t, listener)
	g := startGood(t, b, nil)
	var sent atomic.Int64
	g.attackedBy(b, start(t, listener), func(b *kit.Balancer) (end func()) {
		sent.Store(0)
		until(kit.UnlessBenching(2, 8), func(i int) {
			w, _, err := kit.DialFrom(t, attacker, b.Address, "/echo")
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			go io.Copy(io.Discard, w.Conn)
			frame := wspeer.AppendFrame(nil, wspeer.Frame{Fin: true, Op: 1, Payload: []byte("x")}, true)
			for range 5000 {
				if _, err := w.Conn.Write(frame); err != nil {
					t.Errorf("the attacker: %v", err)
					return
				}
				sent.Add(1)
			}
		})
		return func() {}
	})
	t.Logf("%d messages of a byte", sent.Load())
}

// A flood of TLS handshakes that are left in the middle, from one address: after a few,
// the address gets an alert instead of a handshake.
func TestClientHelloFlood(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	cert, key := ca.Issue("good.example").Files()
	file := fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}]}}]
limits: {new_sessions_per_address: {rate: 10, burst: 20}}
`, cert, key)
	b := start(t, file)
	config := &tls.Config{ServerName: "good.example", RootCAs: ca.Pool()}
	g := startGood(t, b, config)
	before := b.Resident(t)
	hello := clientHello(t, "good.example")
	var alerts, answered atomic.Int64 // in the last attack
	g.attackedBy(b, start(t, file), func(b *kit.Balancer) (end func()) {
		alerts.Store(0)
		answered.Store(0)
		until(kit.UnlessBenching(8, 32), func(int) {
			conn, err := kit.ConnectFrom(attacker, b.Address)
			if err != nil {
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(testkit.Patience))
			conn.Write(hello)
			record := make([]byte, 1)
			if _, err := conn.Read(record); err != nil {
				return
			}
			if record[0] == 21 { // an alert
				alerts.Add(1)
			} else {
				answered.Add(1)
			}
		})
		for i := range 5 {
			w, err := dialGood(b, 300+i, config)
			if err != nil {
				t.Errorf("a new good client: %v", err)
				continue
			}
			w.Close()
		}
		return func() {}
	})
	t.Logf("%d handshakes were begun, and %d refused", answered.Load(), alerts.Load())
	if alerts.Load() == 0 {
		t.Error("no handshake was refused")
	}
	wantLog(t, b, alerts.Load(), "address_rate")
	wantMemory(t, b, before, 32, 64<<10)
}

// clientHello returns the first message of a TLS client.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, &tls.Config{ServerName: name}).Handshake()
		client.Close()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return bytes.Join([][]byte{head, body}, nil)
}
