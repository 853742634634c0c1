//go:build unix

package e2e

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// Pings reach both sides of a session on which nothing happens, and their
// answers keep it open.
func TestKeepalive(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backend := startBackends(t, 1)[0]
		b := balance(t, settings{engine, []string{backend.address}, "keepalive: {interval: 100ms, timeout: 2s}"}.yaml())
		w, _, err := dialWire(b.address, "/quiet")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		w.SetDeadline(time.Now().Add(patience))
		began := time.Now()
		for range 10 {
			f, err := w.readFrame()
			if err != nil || f.op != opPing {
				t.Fatalf("frame %+v, %v, want a ping", f, err)
			}
			if err := w.send(frame{fin: true, op: opPong, payload: f.payload}); err != nil {
				t.Fatal(err)
			}
		}
		// Each ping is due an interval after the last answer, however much
		// longer the timeout is.
		if took := time.Since(began); took < time.Second || took > 4*time.Second {
			t.Errorf("10 pings took %v, with keepalive.interval 100ms", took)
		}
		w.sendClose(1000, "")
		if _, err := w.message(); !isClosed(err, 1000) {
			t.Errorf("the session ended with %v", err)
		}
		reports(t, []*startedBackend{backend})
		if r := backend.report(t); r.Pings < 5 {
			t.Errorf("the backend got %d pings, the client 10", r.Pings)
		}
		if m := b.metrics(t); m[`holdfast_messages_total{direction="from_client"}`] != 0 {
			t.Errorf("pongs are counted as messages: %v", m)
		}
	})
}

func isClosed(err error, code int) bool {
	var c *closed
	return errors.As(err, &c) && c.code == code
}

// The answers to our own pings are for us alone, however late they come.
func TestLatePongsAreSwallowed(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		node := startNodeServer(t)
		b := balance(t, settings{engine, []string{node.address}, "keepalive: {interval: 100ms, timeout: 5s}"}.yaml())
		w, _, err := dialWire(b.address, "/echo?id=late")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		w.SetDeadline(time.Now().Add(patience))
		var pings []frame
		for len(pings) < 3 { // the messages tell that we live
			f, err := w.readFrame()
			if err != nil {
				t.Fatal(err)
			}
			if f.op == opPing {
				pings = append(pings, f)
				if err := w.sendText("still here"); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, f := range pings {
			if err := w.send(frame{fin: true, op: opPong, payload: f.payload}); err != nil {
				t.Fatal(err)
			}
		}
		w.sendClose(1000, "")
		for {
			if _, err := w.message(); err != nil {
				break
			}
		}
		node.event(t, "close", "late")
		all, _, _, _ := node.stdout.after(0)
		for _, line := range all {
			if e := parseEvent(line); e["event"] == "pong" {
				t.Errorf("the server, which sent no ping, got %s", line)
			}
		}
	})
}

// A side that answers nothing any more is given up, and the other one told.
func TestFrozenSides(t *testing.T) {
	const keepalive = "keepalive: {interval: 200ms, timeout: 300ms}"
	eachEngine(t, func(t *testing.T, engine string) {
		t.Run("client", func(t *testing.T) {
			backend := startBackends(t, 1)[0]
			b := balance(t, settings{engine, []string{backend.address}, keepalive}.yaml())
			w, _, err := dialWire(b.address, "/numbers?id=frozen")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			b.log(t, "session closed", 0, "cause=client_silent")
			e := reports(t, []*startedBackend{backend})["frozen"]
			if e.Code != 1006 {
				t.Errorf("the backend saw %+v, want the loss that it would see without a balancer", e)
			}
		})
		t.Run("backend", func(t *testing.T) {
			backend := startBackends(t, 1)[0]
			b := balance(t, settings{engine, []string{backend.address}, keepalive}.yaml())
			w, _, err := dialWire(b.address, "/quiet")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			backend.signal(t, syscall.SIGSTOP)
			w.SetDeadline(time.Now().Add(patience))
			_, err = w.message()
			if !isClosed(err, 1012) {
				t.Errorf("the client saw %v, want 1012", err)
			}
			w.sendClose(1012, "")
			if err := w.toEnd(); err != nil {
				t.Errorf("after the Close: %v", err)
			}
			b.log(t, "session closed", 0, "cause=backend_silent", "close_code=1012")
		})
	})
}

// A client that ends its stream, but still reads, gets what was on its way.
func TestHalfClose(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backend := startBackends(t, 1)[0]
		b := balance(t, settings{engine, []string{backend.address}, ""}.yaml())
		w, _, err := dialWire(b.address, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		const messages = 200
		for i := range messages {
			if err := w.sendText(fmt.Sprintf("%d %01000d", i, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		w.SetDeadline(time.Now().Add(patience))
		for i := range messages {
			if text, err := w.message(); err != nil || text != fmt.Sprintf("%d %01000d", i, i) {
				t.Fatalf("message %d: %.20q, %v", i, text, err)
			}
		}
		b.log(t, "session closed", 0, "cause=client_lost")
	})
}
