package top

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// One of 10,000 sessions is found and closed with three keys and the text that finds it,
// from any view: f, Ctrl+X, Enter.
func TestFindAndCloseInThreeKeys(t *testing.T) {
	for v := range views {
		f := example()
		for i := range 10_000 {
			f.sessions = append(f.sessions, api.Session{ID: fmt.Sprintf("MANY%016d", i), Client: "192.0.2.1:1", Claims: map[string]string{"sub": fmt.Sprintf("guest-%d", i)}})
		}
		f.pageMax = 1000
		d := drive(t, f, 80, 24)
		d.press(fmt.Sprint(int(v) + 1))
		keys := []string{"f", ":guest-7777", "ctrl+x", "enter"}
		d.press(keys...)
		want := []api.CloseRequest{{SessionFilter: api.SessionFilter{ID: "MANY0000000000007777"}}}
		if !slices.Equal(f.closed, want) {
			t.Errorf("from %s, it closed %+v, want %+v\n%s", viewNames[v], f.closed, want, picture(d))
		}
		if !strings.Contains(picture(d), "session MANY0000000000007777 is being closed with 1008") {
			t.Errorf("it doesn't say so:\n%s", picture(d))
		}
	}
}

// Ctrl+X and Enter before the search is done close nothing that it hasn't found.
func TestCloseWaitsForTheSearch(t *testing.T) {
	f := example()
	d := drive(t, f, 80, 24)
	d.press("2") // the first session is selected
	d.run(d.update(keyOf("f")))
	for _, r := range "user-0815" {
		d.run(d.update(tea.KeyPressMsg{Code: r, Text: string(r)}))
	}
	// The search is due later; Ctrl+X begins it, and its result isn't there yet.
	cmd := d.update(keyOf("ctrl+x"))
	if d.prompt != nil {
		t.Fatalf("it asks about a session before the search: %s", d.prompt.question)
	}
	d.run(d.update(keyOf("enter"))) // typed ahead
	if len(f.closed) > 0 {
		t.Fatalf("it closed %+v", f.closed)
	}
	d.run(cmd)
	if d.prompt == nil || !strings.Contains(d.prompt.question, "S0000000000000000815") {
		t.Fatalf("after the search it doesn't ask about the session:\n%s", picture(d))
	}
	d.press(":4001 too loud", "enter")
	want := []api.CloseRequest{{SessionFilter: api.SessionFilter{ID: "S0000000000000000815"}, Code: 4001, Reason: "too loud"}}
	if !slices.Equal(f.closed, want) {
		t.Errorf("it closed %+v, want %+v", f.closed, want)
	}
}

// Each letter ends the search before it; only the last one asks the balancer.
func TestTypingSearchesOnce(t *testing.T) {
	f := example()
	d := drive(t, f, 80, 24)
	d.press("f")
	before := len(f.queries)
	d.press(":user-0815")
	if got := f.queries[before:]; len(got) != 1 || got[0].Search != "user-0815" || got[0].Limit != pageSize {
		t.Errorf("queries %+v, want one for user-0815", got)
	}
}

// Sessions are asked for only while they are shown, and a page at a time; a search that
// takes long is repeated less often.
func TestSessionsAreFetchedForWhatIsShown(t *testing.T) {
	f := example()
	d := drive(t, f, 80, 24)
	d.pass(time.Second)
	if len(f.queries) != 0 {
		t.Fatalf("the backends' view asked for sessions: %+v", f.queries)
	}
	d.press("2")
	d.pass(time.Second)
	if len(f.queries) != 2 || f.queries[1].After != "" {
		t.Fatalf("queries %+v, want one at once and one for the refresh", f.queries)
	}
	d.press("n", "n")
	if q := f.queries[len(f.queries)-1]; q.After != "400" {
		t.Errorf("the third page begins after %q, want 400", q.After)
	}
	d.press("p", "p", "p")
	if q := f.queries[len(f.queries)-1]; q.After != "" {
		t.Errorf("the first page begins after %q", q.After)
	}
	if !strings.Contains(picture(d), "this is the first page") {
		t.Errorf("it doesn't say that it is the first page:\n%s", picture(d))
	}
	d.found.again = d.clock.Add(5 * time.Second) // as after a search of 500 ms
	n := len(f.queries)
	d.pass(time.Second)
	if len(f.queries) != n {
		t.Error("it searches again too soon")
	}
	d.pass(5 * time.Second)
	if len(f.queries) != n+1 {
		t.Error("it doesn't search again")
	}
	d.press("space") // stop
	d.pass(time.Minute)
	if len(f.queries) != n+1 {
		t.Error("it polls while it is stopped")
	}
}

// A page of a search that has few sessions, or none, is not the end.
func TestSearchGoesThroughPages(t *testing.T) {
	f := example()
	f.pageMax = 100
	d := drive(t, f, 80, 24)
	d.press("f", ":user-1199")
	if len(d.found.list) != 1 || d.found.next != "" {
		t.Errorf("found %d sessions, next %q", len(d.found.list), d.found.next)
	}
	if len(f.queries) != 1+12+1 { // the first page of all, and the search
		t.Errorf("%d requests", len(f.queries))
	}
}

func TestChangesOfBackends(t *testing.T) {
	for _, c := range []struct {
		keys []string
		want string
	}{
		{[]string{"down", "d", "enter"}, "drain chat/ws1"},
		{[]string{"down", "d", ":90s", "enter"}, "drain chat/ws1 90s"},
		{[]string{"down", "down", "m", "enter"}, "maint chat/ws2"},
		{[]string{"down", "down", "down", "u", "enter"}, "ready chat/ws3"},
		{[]string{"down", "enter", "d", "enter"}, "drain chat/ws1"}, // in the details
		{[]string{"down", "d", "esc"}, ""},
		{[]string{"d", "enter"}, ""},      // a pool
		{[]string{"2", "d", "enter"}, ""}, // another view
		{[]string{"/", ":ws2", "enter", "down", "d", "enter"}, "drain chat/ws2"},
	} {
		f := example()
		d := drive(t, f, 80, 24)
		d.press(c.keys...)
		if got := strings.Join(f.told, ", "); got != c.want {
			t.Errorf("%v: told %q, want %q", c.keys, got, c.want)
		}
	}
}

// A question is about what was selected when it was asked, whatever comes meanwhile.
func TestQuestionKeepsItsSubject(t *testing.T) {
	f := example()
	d := drive(t, f, 80, 24)
	d.press("down", "d")
	f.status.Pools[0].Backends = slices.Delete(slices.Clone(f.status.Pools[0].Backends), 0, 1) // ws1 is gone
	d.pass(time.Second)
	d.press("enter")
	if !slices.Equal(f.told, []string{"drain chat/ws1"}) {
		t.Errorf("told %v", f.told)
	}
}

// What is pasted where no text is expected does nothing.
func TestPasteIsNoKeys(t *testing.T) {
	f := example()
	d := drive(t, f, 80, 24)
	d.press("down")
	d.run(d.update(tea.PasteMsg{Content: "d\nq"}))
	if d.prompt != nil || d.quit || len(f.told) > 0 {
		t.Error("a pasted text worked as keys")
	}
	d.press("f")
	d.run(d.update(tea.PasteMsg{Content: "user-0815\n"}))
	d.pass(time.Second)
	if len(d.found.list) != 1 {
		t.Errorf("pasted into the filter %q, it found %d sessions", d.list().filter.Text(), len(d.found.list))
	}
}

func TestErrorsAreShown(t *testing.T) {
	f := example()
	d := drive(t, f, 80, 24)
	d.press("down", "d")
	f.err = errors.New("timeout \"soon\" is no duration")
	d.press(":soon", "enter")
	if got := picture(d); !strings.Contains(got, `failed: timeout "soon" is no duration`) {
		t.Errorf("the refusal isn't shown:\n%s", got)
	}
	f.err = nil
	d.press("2", "x", "enter")
	f.sessions = f.sessions[1:]
	if got := picture(d); !strings.Contains(got, "is being closed with 1008") {
		t.Errorf("no notice:\n%s", got)
	}
	d.press("f", ":min_age=5 min_age=6")
	if got := picture(d); !strings.Contains(got, "min_age is there twice") {
		t.Errorf("the filter's error isn't shown:\n%s", got)
	}
}

// An answer that doesn't come is told, and the next request is sent only after it.
func TestLateAnswer(t *testing.T) {
	f := example()
	d := drive(t, f, 80, 24)
	cmd := d.poll()
	if d.poll() != nil {
		t.Error("a second request while one runs")
	}
	d.clock = d.clock.Add(5 * time.Second)
	if got := picture(d); !strings.Contains(got, "NO ANSWER yet for 5s, what is shown is from 03:00:00") {
		t.Errorf("it isn't said:\n%s", got)
	}
	d.run(cmd)
	if got := picture(d); strings.Contains(got, "NO ANSWER") {
		t.Errorf("it is still said:\n%s", got)
	}
}

func TestParseFilter(t *testing.T) {
	for _, c := range []struct {
		text string
		want api.SessionFilter
		err  string
	}{
		{"", api.SessionFilter{}, ""},
		{"alice 10.0", api.SessionFilter{Search: "alice 10.0"}, ""},
		{"pool=chat backend=ws1 x", api.SessionFilter{Pool: "chat", Backend: "ws1", Search: "x"}, ""},
		{"backend=chat/ws1", api.SessionFilter{Pool: "chat", Backend: "ws1"}, ""},
		{"backend=ws1", api.SessionFilter{}, "needs its pool"},
		{"sub=alice idle=5m age=1h max_age=2h", api.SessionFilter{Claim: "sub=alice", MinIdle: "5m", MinAge: "1h", MaxAge: "2h"}, ""},
		{"claim=sub=alice client=10.0.0.0/8", api.SessionFilter{Claim: "sub=alice", Client: "10.0.0.0/8"}, ""},
		{"/ws?room=1 =x", api.SessionFilter{Search: "/ws?room=1 =x"}, ""},
		{"id=a id=b", api.SessionFilter{}, "twice"},
	} {
		got, err := parseFilter(c.text)
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || c.err == "" && (err != nil || got != c.want) {
			t.Errorf("%q is %+v, %v", c.text, got, err)
		}
	}
}

// The causes that top explains are those that there are.
func TestMeanings(t *testing.T) {
	causes := session.Causes()
	for _, c := range causes {
		if meanings[c.String()] == "" {
			t.Errorf("%s has no meaning: add it to meanings", c)
		}
	}
	if len(meanings) != len(causes) {
		t.Errorf("%d meanings of %d causes", len(meanings), len(causes))
	}
}

// docs/top.md has the keys, and the screen of the golden file.
func TestDocs(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/top.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), Keys()) {
		t.Errorf("docs/top.md has other keys; this is the table:\n%s", Keys())
	}
	for _, name := range []string{"backends_80x24", "close_question_80x24"} {
		screen, err := os.ReadFile("testdata/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), string(screen)) {
			t.Errorf("docs/top.md doesn't have the screen testdata/%s.txt", name)
		}
	}
}
