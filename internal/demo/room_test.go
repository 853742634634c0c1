package demo

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"pgregory.net/rapid"
)

func testClient() *client {
	return &client{queue: make(chan message, clientQueue), ended: make(chan struct{})}
}

// However far each server lags behind the hub, and however a client moves
// between them, it gets every message once and in order.
func TestMovingClientMissesAndDoublesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const servers = 3
		var posted []message // by the hub; fewer than its history holds
		var rooms [servers]*room
		for i := range rooms {
			rooms[i] = newRoom()
			if err := rooms[i].receive(batch{Epoch: "e"}); err != nil {
				t.Fatal(err)
			}
		}
		feed := func(i, n int) {
			from := int(rooms[i].last())
			if err := rooms[i].receive(batch{Epoch: "e", Messages: posted[from : from+n]}); err != nil {
				t.Fatal(err)
			}
		}

		at, c := 0, testClient()
		var got []uint64
		var last uint64
		rooms[0].join(c, "e", 0)
		take := func(n int) {
			for range n {
				last = (<-c.queue).ID
				got = append(got, last)
			}
		}
		move := func(to int) {
			rooms[at].leave(c)
			at, c = to, testClient()
			if _, lost := rooms[at].join(c, "e", last); lost != 0 {
				t.Fatalf("%d lost", lost)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"post": func(t *rapid.T) {
				if len(posted) < historySize {
					posted = append(posted, message{ID: uint64(len(posted) + 1)})
				}
			},
			"feed": func(t *rapid.T) {
				i := rapid.IntRange(0, servers-1).Draw(t, "room")
				feed(i, rapid.IntRange(0, len(posted)-int(rooms[i].last())).Draw(t, "messages"))
			},
			"take": func(t *rapid.T) { take(rapid.IntRange(0, len(c.queue)).Draw(t, "messages")) },
			"move": func(t *rapid.T) { move(rapid.IntRange(0, servers-1).Draw(t, "to")) },
		})
		for i := range rooms {
			feed(i, len(posted)-int(rooms[i].last()))
		}
		take(len(c.queue))
		if len(got) != len(posted) {
			t.Fatalf("got %d of %d messages: %v", len(got), len(posted), got)
		}
		for i, id := range got {
			if id != uint64(i+1) {
				t.Fatalf("message %d came as number %d: %v", id, i+1, got)
			}
		}
	})
}

func TestSlowClientIsEndedWithoutAGap(t *testing.T) {
	r, c := newRoom(), testClient()
	r.join(c, "", 0)
	for id := uint64(1); id <= clientQueue+1; id++ {
		_ = r.receive(batch{Epoch: "e", Messages: []message{{ID: id}}})
	}
	if c.code != websocket.StatusTryAgainLater {
		t.Fatalf("ended with %d", c.code)
	}
	<-c.queue
	_ = r.receive(batch{Epoch: "e", Messages: []message{{ID: clientQueue + 2}}})
	for id := uint64(2); id <= clientQueue; id++ {
		if m := <-c.queue; m.ID != id {
			t.Fatalf("got %d, want %d", m.ID, id)
		}
	}
	if len(c.queue) != 0 {
		t.Fatalf("message %d was queued after a lost one", (<-c.queue).ID)
	}
}

func TestRoomThatWasAwayTooLongKeepsNoGap(t *testing.T) {
	r := newRoom()
	_ = r.receive(batch{Epoch: "e", Messages: []message{{ID: 1}, {ID: 2}}})
	_ = r.receive(batch{Epoch: "e", Messages: []message{{ID: 7}, {ID: 8}}})
	c := testClient()
	_, lost := r.join(c, "e", 2)
	if lost != 4 || len(c.queue) != 2 || (<-c.queue).ID != 7 {
		t.Fatalf("%d lost, want 4, and then 7 and 8", lost)
	}
}

func TestRoomRefusesAnotherHub(t *testing.T) {
	r := newRoom()
	_ = r.receive(batch{Epoch: "e"})
	if err := r.receive(batch{Epoch: "f"}); !errors.Is(err, errOtherHub) {
		t.Fatalf("error %v", err)
	}
}

func TestPacerSpreadsWhatExceedsTheBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacer{rate: messageRate, burst: messageBurst}
		start := time.Now()
		elapsed := func(n int) time.Duration {
			for range n {
				p.wait(nil)
			}
			return time.Since(start).Round(time.Millisecond)
		}
		if d := elapsed(messageBurst); d != 0 {
			t.Errorf("the burst took %v", d)
		}
		if d := elapsed(10); d != 2*time.Second {
			t.Errorf("10 more were done after %v, want 2s", d)
		}
		time.Sleep(time.Minute)
		start = time.Now()
		if d := elapsed(messageBurst + 1); d != 200*time.Millisecond {
			t.Errorf("after a rest burst and one more took %v, want 200ms", d)
		}
		done := make(chan struct{})
		close(done)
		p.wait(done)
		if d := elapsed(0); d != 200*time.Millisecond {
			t.Errorf("an ended client was still delayed: %v", d)
		}
	})
}
