//go:build unix

package reattach

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// wantPing reads a ping with this payload, which must be the next frame, and
// answers it.
func wantPing(t testing.TB, who string, w *wspeer.Conn, payload string) {
	t.Helper()
	f, err := w.ReadFrame()
	if err != nil || f.Op != wspeer.Ping || string(f.Payload) != payload {
		t.Fatalf("%s got %+v (%q), %v, want the ping %q", who, f, f.Payload, err, payload)
	}
	w.Send(wspeer.Frame{Fin: true, Op: wspeer.Pong, Payload: f.Payload})
}

// agreedControl is the answer of a backend that wants notices.
var agreedControl = append(append([]string(nil), kit.Agreed...), "Holdfast-Control: 1")

// All notices of a move, with a server that takes its time: everything that it
// sends before it closes arrives before the first message of the new server.
func TestNotices(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		s := kit.NewFixtureWith(t, engine, 2, agreedControl)
		s.Client.SendText("work on this")
		kit.WantMessages(t, "a", s.First, "work on this")
		s.DrainFirst(t)
		// b doesn't want notices, so that it can't have the session.
		o := s.Others[0].Next(t)
		if from, move, control := o.Header.Get("Holdfast-From"), o.Header.Get("Holdfast-Move"), o.Header.Get("Holdfast-Control"); from != "a" || move != "1" || control != "1" {
			t.Errorf("b got from %q, move %q, control %q", from, move, control)
		}
		o.Accept(t, kit.Agreed...)
		s.FindLog(t, "a backend doesn't take over a session", 0, "backend=b", "reattach=drain")
		found := s.Others[1].Next(t).Accept(t, agreedControl...)
		wantPing(t, "a", s.First, "holdfast leave")
		s.Client.SendText("held")
		found.SendText("unasked") // is kept until a has closed
		time.Sleep(300 * time.Millisecond)
		s.First.SendText("the work is done")
		s.First.SendClose(1012, "")
		kit.WantMessages(t, "the client", s.Client, "the work is done", "unasked")
		wantPing(t, "c", found, "holdfast begin")
		kit.WantMessages(t, "c", found, "held")
		if _, err := s.First.Message(); !kit.IsClosed(err, 1012) {
			t.Errorf("a's Close is answered by %v", err)
		}
		found.SendText("here I am")
		kit.WantMessages(t, "the client", s.Client, "here I am")
		if s.Client.Pings+s.Client.Pongs != 0 {
			t.Errorf("the client saw %d pings and %d pongs", s.Client.Pings, s.Client.Pongs)
		}
		s.FindLog(t, "session moved", 0, "reattach=drain", "from=a", "to=c")
		s.Client.SendClose(1000, "")
		kit.WantClose(t, "c", found, 1000)
		found.Close()
		if _, err := s.Client.Message(); !kit.IsClosed(err, 1000) {
			t.Errorf("the client got %v", err)
		}
	})
}

// A server that closes its session just when it is moved has the last word,
// with and without notices.
func TestBannedWhileMoved(t *testing.T) {
	for name, control := range map[string]bool{"with notices": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			testkit.EachEngine(t, func(t *testing.T, engine string) {
				accepts := kit.Agreed
				if control {
					accepts = agreedControl
				}
				s := kit.NewFixtureWith(t, engine, 1, accepts)
				s.DrainFirst(t)
				found := s.Others[0].Next(t).Accept(t, accepts...)
				if f, err := s.First.ReadFrame(); err != nil || f.Op != wspeer.Ping { // leave, or the one before our Close
					t.Fatal(f, err)
				}
				s.First.SendClose(4001, "banned")
				if _, err := s.Client.Message(); !kit.IsClosed(err, 4001) || !strings.Contains(err.Error(), "banned") {
					t.Errorf("the client got %v", err)
				}
				s.Client.SendClose(4001, "")
				s.First.Close()
				if _, err := found.ReadFrame(); err == nil {
					t.Error("b got the session")
				}
				s.FindLog(t, "session closed", 0, "cause=backend_closed", "close_code=4001")
			})
		})
	}
}

// A new backend that closes the session at once is treated as one that refused,
// and the client stays.
func TestRejected(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		s := kit.NewFixture(t, engine, 2)
		s.DrainFirst(t)
		found := s.Others[0].Next(t).Accept(t, kit.Agreed...)
		kit.WantClose(t, "a", s.First, 1012)
		s.First.Close()
		found.SendClose(1011, "who are you?")
		third := s.Others[1].Next(t)
		if from, move, why := third.Header.Get("Holdfast-From"), third.Header.Get("Holdfast-Move"), third.Header.Get("Holdfast-Reattach"); from != "b" || move != "2" || why != "loss" {
			t.Errorf("c got from %q, move %q, reattach %q", from, move, why)
		}
		kept := third.Accept(t, kit.Agreed...)
		kept.SendText("welcome")
		kit.WantMessages(t, "the client", s.Client, "welcome")
		s.FindLog(t, "session not moved", 0, "reattach=drain", "from=a", "result=rejected")
		s.FindLog(t, "session moved", 0, "reattach=loss", "from=b", "to=c")
		if m := s.Metrics(t); m.Moves("drain", "rejected") != 1 || m.Moves("loss", "moved") != 1 || m.Moves("", "") != 2 {
			t.Errorf("the moves are counted as %v", m)
		}
	})
}
