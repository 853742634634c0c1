package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/ops/admin"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
)

func TestMain(m *testing.M) {
	flag.Parse()
	time.Local = time.UTC
	for _, name := range []string{"HOLDFAST_ADMIN", "HOLDFAST_TOKEN", "HOLDFAST_TOKEN_FILE"} {
		os.Unsetenv(name)
	}
	goleak.VerifyTestMain(m)
}

// balancer is a model of one, behind the real API.
type balancer struct {
	sessions []api.Session

	mu    sync.Mutex // guards the following
	asked []any
	drain bool
	level string
	now   map[string]api.Backend
}

func (b *balancer) note(args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, args...)
}

// said returns what was asked for since the last call.
func (b *balancer) said() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.asked
	b.asked = nil
	return all
}

func (b *balancer) Status() api.Status  { return status() }
func (b *balancer) Routes() []api.Route { return routes }

// Sessions answers at most two on a page, the first page being empty.
func (b *balancer) Sessions(_ context.Context, q api.SessionQuery) (api.SessionPage, error) {
	b.note(q)
	at := map[string]int{"": 0, "one": 0, "two": 2, "three": 4}[q.After]
	next := map[string]string{"": "one", "one": "two", "two": "three"}[q.After]
	page := api.SessionPage{Sessions: []api.Session{}, Next: next}
	if q.After != "" {
		page.Sessions = b.sessions[at:min(at+min(2, q.Limit), len(b.sessions))]
	}
	return page, nil
}

func (b *balancer) Session(id string) (api.Session, error) {
	for _, s := range b.sessions {
		if s.ID == id {
			return s, nil
		}
	}
	return api.Session{}, api.NotFound("id", "there is no session %q", id)
}

func (b *balancer) CloseSessions(_ context.Context, r api.CloseRequest) (api.CloseResult, error) {
	b.note(r)
	if r.Rate > 0 {
		return api.CloseResult{Sessions: 5, Over: 90}, nil
	}
	return api.CloseResult{Sessions: 1}, nil
}

func (b *balancer) result(name, field string, value any) (api.BackendResult, error) {
	b.note(name, field, value)
	return api.BackendResult{Backend: api.Backend{Name: name}, Warnings: []string{"mind\x1b[2J this"}}, nil
}

func (b *balancer) AddBackend(pool string, n api.NewBackend) (api.BackendResult, error) {
	b.note(pool, n)
	if n.Weight != nil && *n.Weight > 256 {
		return api.BackendResult{}, api.Invalid("max_sessions", "expected a number from 1 to 256, got %d", *n.Weight)
	}
	return api.BackendResult{Backend: api.Backend{Name: n.Name}}, nil
}

func (b *balancer) RemoveBackend(pool, backend, timeout string) (api.BackendResult, error) {
	return b.result(pool+" "+backend, "remove", timeout)
}

func (b *balancer) PatchBackend(pool, backend string, p api.BackendPatch) (api.BackendResult, error) {
	if p.Weight != nil {
		return b.result(pool+" "+backend, "weight", *p.Weight)
	}
	return b.result(pool+" "+backend, p.Admin, p.Timeout)
}

func (b *balancer) Changes() []api.Change { return changes }

func (b *balancer) Revert(pool, backend string) ([]api.Change, error) {
	b.note("revert", pool, backend)
	return changes[:1], nil
}

func (b *balancer) Reload(context.Context) (api.ReloadResult, error) {
	return api.ReloadResult{Generation: 5, Warnings: []string{"engine changed"}}, nil
}

func (b *balancer) Log() api.Log { return api.Log{Level: "debug", File: "info"} }

func (b *balancer) SetLog(level string) (api.Log, error) {
	b.note("level", level)
	return api.Log{Level: level, File: "info"}, nil
}

func (b *balancer) Events(_ context.Context, after uint64, _ bool, f func(api.Event) error) error {
	for _, e := range events {
		if e.ID > after {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *balancer) LastEvent() uint64 { return events[len(events)-1].ID }

// serve returns the address of b.
func (b *balancer) serve(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := admin.New(admin.Options{Balancer: b, Draining: func() bool { return false }, Metrics: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler)})
	served := make(chan error)
	go func() { served <- s.Serve(l, nil) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		<-served
	})
	return l.Addr().String()
}

// command is one that can run.
type command interface{ Run(*env.Env) error }

// run runs a command and returns what it prints. Errors begin with "error: ".
func run(c command) (out, errOut string) {
	var o, e bytes.Buffer
	if err := c.Run(&env.Env{In: strings.NewReader(""), Out: &o, Err: &e, Ctx: context.Background()}); err != nil {
		e.WriteString("error: " + err.Error() + "\n")
	}
	return o.String(), e.String()
}

func TestCommands(t *testing.T) {
	b := &balancer{sessions: liveSessions()}
	at := Flags{Admin: b.serve(t)}
	three, big := 3, 300
	minute := time.Minute
	api90 := api.SessionFilter{Pool: "api", MinAge: "1m0s"}
	for _, test := range []struct {
		command  command
		out, err string // "" for nothing; a golden file if it ends with .txt
		asked    []any
	}{
		{&Status{Flags: at}, "status.txt", "", nil},
		{&Certificates{Flags: at}, "certificates.txt", "", nil},
		{&Routes{Flags: at}, "routes.txt", "", nil},
		{&ListChanges{Flags: at}, "changes.txt", "", nil},
		{&Events{Flags: at}, "events.txt", "", nil},
		{&Events{Flags: at, Output: Output{"json"}, Kind: []string{"drain"}, After: 1}, "events_json.txt", "", nil},
		{&Events{Flags: at, Pool: "api"}, "2026-05-04 03:02:03  warn   missed       2 events are lost\n", "", nil},
		{&Events{Flags: at, Kind: []string{"dance"}}, "", "error: --kind dance: there is no such kind: the kinds are " + strings.Join(api.Kinds, ", ") + "\n", nil},
		{&Sessions{Flags: at, Limit: 100}, "sessions.txt", "", nil},
		{&Sessions{Flags: at, Limit: 3, Output: Output{"json"}}, "sessions_json.txt", "", nil},
		{&Sessions{Flags: at, Limit: 2}, "sessions_two.txt", "There are more: give a larger --limit, or --after two\n", nil},
		{&Sessions{Flags: at, Limit: 1, After: "three", Filter: Filter{Pool: "api", MinAge: &minute}}, "sessions_one.txt", "",
			[]any{api.SessionQuery{SessionFilter: api90, After: "three", Limit: 1}}},
		{&Sessions{Flags: at, Limit: 1, After: "three", Filter: Filter{Backend: "api/[::1]:3001"}}, "sessions_one.txt", "",
			[]any{api.SessionQuery{SessionFilter: api.SessionFilter{Pool: "api", Backend: "[::1]:3001"}, After: "three", Limit: 1}}},
		{&Sessions{Flags: at, Limit: 1, After: "three", Filter: Filter{Backend: "ns/svc:80/a"}}, "sessions_one.txt", "",
			[]any{api.SessionQuery{SessionFilter: api.SessionFilter{Pool: "ns/svc:80", Backend: "a"}, After: "three", Limit: 1}}},
		{&Sessions{Flags: at, Limit: 1, Filter: Filter{Backend: "ws1"}}, "", `error: --backend: "ws1" is not POOL/BACKEND, as holdfast status lists them` + "\n", nil},
		{&Close{Flags: at, Filter: Filter{Backend: "api/"}}, "", `error: --backend: "api/" is not POOL/BACKEND, as holdfast status lists them` + "\n", nil},
		{&Sessions{Flags: at, Limit: 1, Filter: Filter{Claim: "x"}}, "", `error: --claim: claim "x" is not NAME=VALUE, such as sub=alice` + "\n", nil},
		{&Sessions{Flags: at, Limit: 0}, "", "error: --limit must be at least 1\n", nil},
		{&Sessions{Flags: at, Limit: 1, ID: liveSessions()[0].ID}, "session.txt", "", nil},
		{&Sessions{Flags: at, Limit: 1, ID: "nobody"}, "", `error: there is no session "nobody"` + "\n", nil},
		{&Close{Flags: at, Code: 1008}, "", "error: which sessions? Give an ID, a filter such as --claim NAME=VALUE, or --all\n", nil},
		{&Close{Flags: at, Code: 1008, All: true, ID: "x"}, "", "error: use only one of an ID, a filter and --all\n", nil},
		{&Close{Flags: at, Code: 1008, ID: "nobody"}, "", `error: there is no session "nobody"` + "\n", nil},
		{&Close{Flags: at, Code: 4001, Reason: "out", ID: liveSessions()[0].ID}, "1 session closed\n", "",
			[]any{api.CloseRequest{SessionFilter: api.SessionFilter{ID: liveSessions()[0].ID}, Code: 4001, Reason: "out"}}},
		{&Close{Flags: at, Code: 1001, Rate: 2, Filter: Filter{Pool: "api", MinAge: &minute}}, "5 sessions being closed, the last one in 1m30s\n", "",
			[]any{api.CloseRequest{SessionFilter: api90, Code: 1001, Rate: 2}}},
		{&Close{Flags: at, Code: 1008, All: true, DryRun: true, Output: Output{"json"}}, "{\n  \"sessions\": 1,\n  \"over_seconds\": 0\n}\n", "",
			[]any{api.CloseRequest{All: true, Code: 1008, DryRun: true}}},
		{&Drain{Flags: at, Backend: Backend{"chat/ws1"}, Emptying: Emptying{Timeout: &minute}}, "chat/ws1 gets no new sessions\n", "mind\\x1b[2J this (warning)\n", []any{"chat ws1", "drain", "1m0s"}},
		{&Maint{Flags: at, Backend: Backend{"chat/ws1"}}, "chat/ws1 gets no new sessions\n", "mind\\x1b[2J this (warning)\n", []any{"chat ws1", "maint", ""}},
		{&Undrain{Flags: at, Backend: Backend{"chat/ws1"}}, "chat/ws1 gets new sessions again\n", "mind\\x1b[2J this (warning)\n", nil},
		{&Ready{Flags: at, Backend: Backend{"ns/svc:80/a"}}, "ns/svc:80/a is ready\n", "mind\\x1b[2J this (warning)\n", []any{"ns/svc:80 a", "ready", ""}},
		{&Ready{Flags: at, Backend: Backend{"ws1"}}, "", `error: there is no backend "ws1": want POOL/BACKEND, as holdfast status lists them (did you mean "chat/ws1"?)` + "\n", nil},
		{&AddBackend{Flags: at, Name: "chat/ws9", Address: "10.0.0.9:1", Weight: &three}, "chat/ws9 added\n", "", []any{"chat", api.NewBackend{Name: "ws9", Address: "10.0.0.9:1", Weight: &three}}},
		{&AddBackend{Flags: at, Name: "ns/svc:80/b", Address: "10.0.0.9:1", Output: Output{"json"}}, "added_json.txt", "", []any{"ns/svc:80", api.NewBackend{Name: "b", Address: "10.0.0.9:1"}}},
		{&AddBackend{Flags: at, Name: "chats/ws9", Address: "10.0.0.9:1"}, "", `error: "chats/ws9" begins with no pool: the pools are chat, api, ns/svc:80` + "\n", nil},
		{&AddBackend{Flags: at, Name: "chat/ws9", Address: "10.0.0.9:1", Weight: &big}, "", "error: max-sessions: expected a number from 1 to 256, got 300\n", nil},
		{&RemoveBackend{Flags: at, Backend: Backend{"chat/ws1"}}, "chat/ws1 gets no new sessions\n", "mind\\x1b[2J this (warning)\n", []any{"chat ws1", "remove", ""}},
		{&WeighBackend{Flags: at, Backend: Backend{"chat/ws1"}, Weight: 4}, "chat/ws1 has weight 4\n", "mind\\x1b[2J this (warning)\n", []any{"chat ws1", "weight", 4}},
		{&RevertChanges{Flags: at}, "", "error: what to undo? Give either POOL/BACKEND, POOL or --all\n", nil},
		{&RevertChanges{Flags: at, All: true}, "reverted.txt", "", []any{"revert", "", ""}},
		{&RevertChanges{Flags: at, Name: "gone/ws1"}, "reverted.txt", "", []any{"revert", "gone", "ws1"}},
		{&RevertChanges{Flags: at, Name: "ns/svc:80/a"}, "reverted.txt", "", []any{"revert", "ns/svc:80", "a"}},
		{&RevertChanges{Flags: at, Name: "nowhere"}, "", `error: "nowhere" begins with no pool: the pools are chat, api, ns/svc:80` + "\n", nil},
		{&Reload{Flags: at}, "reloaded\n", "engine changed (warning)\n", nil},
		{&Log{Flags: at}, "debug (the file: info)\n", "", nil},
		{&Log{Flags: at, Level: "info"}, "info\n", "", []any{"level", "info"}},
		{&Log{Flags: at, Level: "loud"}, "", `error: there is no level "loud": the levels are debug, info, warn, error` + "\n", nil},
		{&Log{Flags: Flags{Admin: at.Admin, TokenFile: "/nowhere"}}, "", "error: --token-file: open /nowhere: no such file or directory\n", nil},
		{&Log{Flags: Flags{Admin: "9900"}}, "", `error: admin address "9900" is not host:port, such as 127.0.0.1:9900, nor a path such as /run/holdfast/admin.sock` + "\n", nil},
	} {
		name := strings.TrimPrefix(reflect.TypeOf(test.command).String(), "*operate.")
		b.said()
		out, errOut := run(test.command)
		if strings.HasSuffix(test.out, ".txt") {
			golden.Compare(t, filepath.Join("testdata", test.out), out)
		} else if out != test.out {
			t.Errorf("%s prints %q, want %q", name, out, test.out)
		}
		if errOut != test.err {
			t.Errorf("%s says %q, want %q", name, errOut, test.err)
		}
		if asked := b.said(); test.asked != nil && !reflect.DeepEqual(asked, test.asked) {
			t.Errorf("%s asks for\n%+v, want\n%+v", name, asked, test.asked)
		}
	}
}

// JSON is what the API answers, for all commands that show something.
func TestOutputIsTheAPI(t *testing.T) {
	b := &balancer{sessions: liveSessions()}
	address := b.serve(t)
	f, o := Flags{Admin: address}, Output{"json"}
	for path, c := range map[string]command{
		"/v1/status":                           &Status{Flags: f, Output: o},
		"/v1/certificates":                     &Certificates{Flags: f, Output: o},
		"/v1/routes":                           &Routes{Flags: f, Output: o},
		"/v1/changes":                          &ListChanges{Flags: f, Output: o},
		"/v1/pools":                            &ListBackends{Flags: f, Output: o},
		"/v1/pools/chat/backends":              &ListBackends{Flags: f, Output: o, Pool: "chat"},
		"/v1/log":                              &Log{Flags: f, Output: o},
		"/v1/sessions/" + liveSessions()[2].ID: &Sessions{Flags: f, Output: o, Limit: 1, ID: liveSessions()[2].ID},
	} {
		res, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		err = json.NewDecoder(res.Body).Decode(&want)
		res.Body.Close()
		out, errOut := run(c)
		if err != nil || errOut != "" || json.Unmarshal([]byte(out), &got) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %s\n%s\nwant\n%v", path, err, errOut, out, want)
		}
		if strings.ContainsAny(out, "\x1b\u009b") {
			t.Errorf("%s: control characters in %q", path, out)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]string{"": "is empty", "a b": "characters that a token can't have", "ä": "characters that a token can't have", "secret\n": "<nil>"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := (&Flags{Admin: "127.0.0.1:1", TokenFile: file}).Client()
		if got := errorText(err); !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if c != nil {
			c.Close()
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}
