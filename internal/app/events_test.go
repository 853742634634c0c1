package app_test

import (
	"context"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// wantEvents waits for these events in this order, maybe with others between them, each as
// "KIND LEVEL POOL/BACKEND MESSAGE" or the beginning of that.
func (r *running) wantEvents(want ...string) {
	r.t.Helper()
	testkit.Eventually(r.t, "events like "+strings.Join(want, ", "), func() bool {
		left := want
		err := r.Operated().Events(context.Background(), 0, false, func(e api.Event) error {
			line := e.Kind + " " + e.Level + " " + e.Pool + "/" + e.Backend + " " + e.Message
			if len(left) > 0 && strings.HasPrefix(line, left[0]) {
				left = left[1:]
			}
			return nil
		})
		return err == nil && len(left) == 0
	})
}

// Changes of state are events, whatever the level of the log.
func TestEvents(t *testing.T) {
	one, two := backend(t, "one"), backend(t, "two")
	text := func(backends string) string {
		return "listeners: [{address: '127.0.0.1:0'}]\nlog: {level: error}\npools: {chat: {max_sessions: 1, drain: {timeout: 0s}, backends: [" + backends + "]}}"
	}
	r := start(t, text("{name: one, address: "+one+"}"))
	c := r.open("/")
	c.echo("a", "one: a")
	if _, _, err := websocket.Dial(context.Background(), "ws://"+r.Addresses()[0], nil); err == nil {
		t.Fatal("a second session opened")
	}
	r.wantEvents("overload warn chat/ clients are refused for want of room")
	r.mustReload(text("{name: two, address: " + two + "}"))
	c.wantClose(websocket.StatusGoingAway)
	if _, err := r.reload("listeners: 5"); err == nil {
		t.Error("a bad file was loaded")
	}
	r.wantEvents("drain info chat/one a backend is being emptied", "drain info chat/one the sessions of a backend are being closed")
	r.wantEvents("reload info / reloaded", "reload error / reload refused; nothing has changed")
	followed := make(chan []string)
	began := make(chan bool, 1000)
	go func() {
		var got []string
		err := r.Operated().Events(context.Background(), 0, true, func(e api.Event) error {
			got = append(got, e.Kind)
			began <- true
			return nil
		})
		if err != nil {
			t.Errorf("in the end, Events returns %v", err)
		}
		followed <- got
	}()
	<-began
	r.stop()
	if got := <-followed; got[len(got)-1] != api.EventShutdown {
		t.Errorf("the last events are %q", got)
	}
}
