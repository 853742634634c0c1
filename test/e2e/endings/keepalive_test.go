//go:build unix

package endings

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// Pings reach both sides of an idle session, and their answers keep it open.
func TestKeepalive(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backend := kit.StartBackends(t, 1)[0]
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{backend.Address}, More: "keepalive: {interval: 100ms, timeout: 2s}"}.YAML())
		w, _, err := wspeer.Dial(b.Address, "/quiet")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		w.SetDeadline(time.Now().Add(testkit.Patience))
		began := time.Now()
		for range 10 {
			f, err := w.ReadFrame()
			if err != nil || f.Op != wspeer.Ping {
				t.Fatalf("frame %+v, %v, want a ping", f, err)
			}
			if err := w.Send(wspeer.Frame{Fin: true, Op: wspeer.Pong, Payload: f.Payload}); err != nil {
				t.Fatal(err)
			}
		}
		// Each ping is due an interval after the last answer, however much
		// longer the timeout is.
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("10 pings took %v, with keepalive.interval 100ms", took)
		}
		w.SendClose(1000, "")
		if _, err := w.Message(); !kit.IsClosed(err, 1000) {
			t.Errorf("the session ended with %v", err)
		}
		kit.Reports(t, []*kit.Backend{backend})
		if r := backend.Report(t); r.Pings < 5 {
			t.Errorf("the backend got %d pings, the client 10", r.Pings)
		}
		if m := b.Metrics(t); m[`holdfast_messages_total{direction="from_client"}`] != 0 {
			t.Errorf("pongs are counted as messages: %v", m)
		}
	})
}

// The answers to our own pings are for us alone, however late they come.
func TestLatePongsAreSwallowed(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		node := kit.StartNodeServer(t)
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{node.Address}, More: "keepalive: {interval: 100ms, timeout: 5s}"}.YAML())
		w, _, err := wspeer.Dial(b.Address, "/echo?id=late")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		w.SetDeadline(time.Now().Add(testkit.Patience))
		var pings []wspeer.Frame
		for len(pings) < 3 { // the messages tell that we live
			f, err := w.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if f.Op == wspeer.Ping {
				pings = append(pings, f)
				if err := w.SendText("still here"); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, f := range pings {
			if err := w.Send(wspeer.Frame{Fin: true, Op: wspeer.Pong, Payload: f.Payload}); err != nil {
				t.Fatal(err)
			}
		}
		w.SendClose(1000, "")
		for {
			if _, err := w.Message(); err != nil {
				break
			}
		}
		node.Event(t, "close", "late")
		all := node.Stdout.Lines(0)
		for _, line := range all {
			if e := kit.ParseEvent(line); e["event"] == "pong" {
				t.Errorf("the server, which sent no ping, got %s", line)
			}
		}
	})
}

// If a side no longer answers, its connection is given up, and the other side
// gets a Close frame.
func TestFrozenSides(t *testing.T) {
	const keepalive = "keepalive: {interval: 200ms, timeout: 1s}"
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Run("client", func(t *testing.T) {
			backend := kit.StartBackends(t, 1)[0]
			b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{backend.Address}, More: keepalive}.YAML())
			w, _, err := wspeer.Dial(b.Address, "/numbers?id=frozen")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			b.FindLog(t, "session closed", 0, "cause=client_silent")
			e := kit.Reports(t, []*kit.Backend{backend})["frozen"]
			if e.Code != 1006 {
				t.Errorf("the backend saw %+v, want the loss that it would see without a balancer", e)
			}
		})
		t.Run("backend", func(t *testing.T) {
			backend := kit.StartBackends(t, 1)[0]
			b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{backend.Address}, More: keepalive}.YAML())
			w, _, err := wspeer.Dial(b.Address, "/quiet")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			backend.Signal(t, syscall.SIGSTOP)
			w.SetDeadline(time.Now().Add(testkit.Patience))
			_, err = w.Message()
			if !kit.IsClosed(err, 1012) {
				t.Errorf("the client saw %v, want 1012", err)
			}
			w.SendClose(1012, "")
			if err := w.ReadEnd(); err != nil {
				t.Errorf("after the Close: %v", err)
			}
			b.FindLog(t, "session closed", 0, "cause=backend_silent", "close_code=1012")
		})
	})
}

// A client that ends its stream but still reads gets everything that was on its
// way.
func TestHalfClose(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backend := kit.StartBackends(t, 1)[0]
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{backend.Address}, More: ""}.YAML())
		w, _, err := wspeer.Dial(b.Address, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		const messages = 200
		for i := range messages {
			if err := w.SendText(fmt.Sprintf("%d %01000d", i, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		w.SetDeadline(time.Now().Add(testkit.Patience))
		for i := range messages {
			if text, err := w.Message(); err != nil || text != fmt.Sprintf("%d %01000d", i, i) {
				t.Fatalf("message %d: %.20q, %v", i, text, err)
			}
		}
		b.FindLog(t, "session closed", 0, "cause=client_lost")
	})
}
