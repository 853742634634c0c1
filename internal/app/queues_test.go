package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// handshake writes a handshake and returns a reader of its answer.
func handshake(t *testing.T, address string) (answer func(status int) *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(testkit.Patience))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	return func(status int) *http.Response {
		t.Helper()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != status {
			t.Fatalf("answer %v, %v, want %d", resp, err, status)
		}
		return resp
	}
}

// wantQueue waits until the status and the metrics show n waiting of all.
func (r *running) wantQueue(n, all int) {
	r.t.Helper()
	testkit.Eventually(r.t, fmt.Sprintf("%d wait", n), func() bool { return r.status().Pools[0].Queued == n })
	_, metrics := get("http://" + r.AdminAddr() + "/metrics")
	for _, want := range []string{
		fmt.Sprintf(`holdfast_admission_queue{pool="a"} %d`, n), fmt.Sprintf(`holdfast_admission_queued_total{pool="a"} %d`, all),
	} {
		if !strings.Contains(metrics, "\n"+want+"\n") {
			r.t.Errorf("the metrics lack %q", want)
		}
	}
}

// A pool's queue survives reloads, which change its rate or release all.
func TestQueueSurvivesReloads(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		one, two := backend(t, "one"), backend(t, "two")
		text := func(admit string) string {
			return pools(engine, "pools: {a: {backends: [{name: one, address: "+one+"}]"+admit+"}}")
		}
		const slow = ", admit: {rate: 1/h, burst: 1}"
		r := start(t, text(slow))
		enter := func() func(int) *http.Response { return handshake(t, r.Addresses()[0]) }
		enter()(101)
		first, second := enter(), enter()
		r.wantQueue(2, 2)
		r.mustReload(text(slow))
		r.wantQueue(2, 2)
		enter()
		r.wantQueue(3, 3)
		r.mustReload(text(", admit: {rate: 100/s, burst: 1}"))
		first(101)
		second(101)
		r.wantQueue(0, 3)
		r.mustReload(text(slow))
		enter()
		fourth := enter() // the token that may have been left is gone
		testkit.Eventually(t, "it waits", func() bool { return r.status().Pools[0].Queued > 0 })
		r.mustReload(text(""))
		fourth(101)
		enter()(101)

		// Its backend goes, and another comes with a token.
		r.mustReload(text(slow))
		enter()
		fifth := enter()
		testkit.Eventually(t, "it waits", func() bool { return r.status().Pools[0].Queued > 0 })
		r.mustReload(strings.ReplaceAll(text(slow), one, two))
		fifth(101)
	})
}

// Clients that wait in a queue when the balancer stops get an answer.
func TestShutdownWhileHandshakesWait(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		r := start(t, pools(engine, "pools: {a: {backends: [{name: one, address: "+backend(t, "one")+"}], admit: {rate: 1/h, burst: 1}}}"))
		handshake(t, r.Addresses()[0])(101)
		var waiting []func(int) *http.Response
		for range 10 {
			waiting = append(waiting, handshake(t, r.Addresses()[0]))
		}
		r.wantQueue(10, 10)
		go r.stop()
		for _, answer := range waiting {
			resp := answer(503)
			if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 5 || n > 30 {
				t.Errorf("Retry-After: %q", resp.Header.Get("Retry-After"))
			}
		}
	})
}

// The result of affinity is also counted for handshakes that the queue refuses.
func TestAffinityOfRefusedHandshakesIsCounted(t *testing.T) {
	r := start(t, pools("portable", "pools: {a: {affinity: {token: {from: \"query:s\"}}, admit: {rate: 1/h, burst: 1, queue: 1, queue_timeout: 50ms, ramp: 0}, backends: [{name: one, address: "+
		backend(t, "one")+"}]}}"))
	counted := func(result string) string {
		_, body := get("http://" + r.AdminAddr() + "/metrics")
		for line := range strings.Lines(body) {
			if n, ok := strings.CutPrefix(line, `holdfast_affinity_total{pool="a",result="`+result+`"} `); ok {
				return strings.TrimSpace(n)
			}
		}
		return ""
	}
	r.open("/?s=token").echo("1", "one: 1")
	if got := counted("kept"); got != "1" {
		t.Errorf("kept: %q", got)
	}
	for i := range 2 {
		_, resp, err := websocket.Dial(t.Context(), "ws://"+r.Addresses()[0]+"/?s=token", nil)
		if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("handshake %d over the rate: %v, %v", i, resp, err)
		}
		want := strconv.Itoa(i + 1)
		testkit.Eventually(t, "the refused one is counted", func() bool { return counted("refused") == want })
	}
	if got := counted("kept"); got != "1" {
		t.Errorf("kept: %q, though the queue refused it", got)
	}
}
