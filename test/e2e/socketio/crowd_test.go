//go:build unix

package socketio

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// member is what examples/socketio/member.js reports.
type member struct {
	ID, Name, Room, Transport          string
	Connected                          bool
	Disconnects, Errors, Servers       []string
	Sent, Answered, Unanswered         int
	Received, Asked, Slowest           int
	Heard                              map[string]int
	Lost, Doubled, Reordered, Connects int
}

// crowd is a process with members.
type crowd struct {
	*process.Process
}

type report struct {
	Members []member
	Pages   []struct{ Disconnects, Answered, Moves int }
	// Complaints are the errors of pages.
	Complaints []string
}

const roomSize = 8

// startCrowds starts members in Node and in pages of Chromium, half of them each, and waits
// until all are in their rooms.
func startCrowds(t testing.TB, url string, clients int, every time.Duration) (all []crowd) {
	t.Helper()
	rooms := clients / roomSize
	inNode := exec.Command("node", filepath.Join(kit.ModulePath("examples/socketio"), "crowd.js"), "--commands",
		"--url", url, "--clients", fmt.Sprint(clients/2), "--rooms", fmt.Sprint(rooms), "--every", fmt.Sprint(every.Milliseconds()), "--answer-time", fmt.Sprint(testkit.Patience.Milliseconds()))
	task, err := json.Marshal(map[string]any{
		"url": url, "chromium": kit.Chromium(t), "pages": max(2, clients/2/10), "clients": clients / 2, "rooms": rooms,
		"every": every.Milliseconds(), "answerTime": testkit.Patience.Milliseconds(),
	})
	if err != nil {
		t.Fatal(err)
	}
	all = []crowd{{process.Start(t, "clients in Node", inNode)}, {process.Start(t, "clients in Chromium", kit.Node(t, "board.js", string(task)))}}
	for _, c := range all {
		c.event(t, "joined", 0)
	}
	return all
}

func (c crowd) event(t testing.TB, event string, from int) (found string) {
	t.Helper()
	return c.Stdout.Find(t, event, from, func(line string) bool { return kit.ParseEvent(line)["event"] == event })
}

// tell sends a command to all crowds.
func tell(t testing.TB, all []crowd, command string) {
	t.Helper()
	for _, c := range all {
		if _, err := io.WriteString(c.Stdin, command+"\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// ask returns the reports of all crowds as one.
func ask(t testing.TB, all []crowd) (sum report) {
	t.Helper()
	for _, c := range all {
		from := c.Stdout.Position()
		tell(t, []crowd{c}, "report")
		var r report
		if err := json.Unmarshal([]byte(c.event(t, "report", from)), &r); err != nil {
			t.Fatal(err)
		}
		sum.Members = append(sum.Members, r.Members...)
		sum.Pages = append(sum.Pages, r.Pages...)
		sum.Complaints = append(sum.Complaints, r.Complaints...)
	}
	return sum
}

// awaitAnswers waits until each member has had so many more answers than in an earlier
// report.
func awaitAnswers(t testing.TB, all []crowd, before report, more int) {
	t.Helper()
	testkit.Eventually(t, "answers for all clients", func() bool {
		for i, m := range ask(t, all).Members {
			if m.Answered < before.Members[i].Answered+more {
				return false
			}
		}
		return true
	})
}

// quiet stops the members and returns a report once each has had all answers and heard
// everything of its room, or once nothing has come for a while: then check says what is
// missing. Busy machines get time for answers, unless a crash has made some of them
// impossible.
func quiet(t testing.TB, all []crowd, crashed bool) (r report) {
	t.Helper()
	tell(t, all, "stop")
	const long = 5 * time.Second
	came, since := -1, time.Now()
	testkit.Eventually(t, "the end of the traffic", func() bool {
		r = ask(t, all)
		pending, missing := 0, 0
		for _, m := range r.Members {
			pending += m.Sent - m.Answered - m.Unanswered
			for _, other := range r.Members {
				if other.Room == m.Room {
					missing += max(0, other.Sent-m.Heard[other.ID])
				}
			}
		}
		if n := r.total(func(m member) int { return m.Answered + m.Received }); n != came {
			came, since = n, time.Now()
		}
		return pending+missing == 0 || time.Since(since) > long && (pending == 0 || crashed)
	})
	return r
}

// check reports every member that has noticed something. After a crash, messages on their
// way may be lost.
func (r report) check(t testing.TB, crashed bool) {
	t.Helper()
	ids := map[string]bool{}
	for _, m := range r.Members {
		ids[m.ID] = true
		if m.Connects != 1 || len(m.Disconnects) > 0 || len(m.Errors) > 0 || !m.Connected || m.Transport != "websocket" {
			t.Errorf("%s: connected %d times, disconnects %q, errors %q, connected %v by %s",
				m.Name, m.Connects, m.Disconnects, m.Errors, m.Connected, m.Transport)
		}
		if crashed {
			continue
		}
		if m.Answered != m.Sent {
			t.Errorf("%s: of %d events, %d were answered", m.Name, m.Sent, m.Answered)
		}
		if m.Lost > 0 || m.Doubled > 0 || m.Reordered > 0 {
			t.Errorf("%s: of broadcasts, %d lost, %d doubled, %d reordered", m.Name, m.Lost, m.Doubled, m.Reordered)
		}
		for _, other := range r.Members {
			if got := m.Heard[other.ID]; other.Room == m.Room && got != other.Sent {
				t.Errorf("%s has heard up to %d of the %d broadcasts of %s", m.Name, got, other.Sent, other.Name)
			}
		}
	}
	if len(ids) != len(r.Members) {
		t.Errorf("%d ids of %d members", len(ids), len(r.Members))
	}
	for i, p := range r.Pages {
		if p.Disconnects > 0 || p.Answered == 0 {
			t.Errorf("page %d: %+v", i, p)
		}
	}
	if len(r.Complaints) > 0 {
		t.Errorf("errors in pages: %q", r.Complaints)
	}
}

// total sums up a number of all members.
func (r report) total(of func(member) int) (n int) {
	for _, m := range r.Members {
		n += of(m)
	}
	return n
}

// clientsEnv is the number of clients. The scenario with 200 takes a minute.
const clientsEnv = "HOLDFAST_E2E_BOARD"

func clients(t testing.TB) int {
	t.Helper()
	n := 40
	if text := os.Getenv(clientsEnv); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil || n < 20 {
			t.Fatalf("%s=%q: want a number of clients, 20 or more", clientsEnv, text)
		}
	}
	return n
}
