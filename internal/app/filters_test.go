package app_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// list returns all sessions that a filter chooses, by pages of limit.
func (r *running) list(f api.SessionFilter, limit int) (all []api.Session) {
	r.t.Helper()
	for q := (api.SessionQuery{SessionFilter: f, Limit: limit}); ; {
		page, err := r.Operated().Sessions(context.Background(), q)
		if err != nil {
			r.t.Fatalf("%+v: %v", f, err)
		}
		all = append(all, page.Sessions...)
		if q.After = page.Next; q.After == "" {
			return all
		}
	}
}

// wantLog waits for a line of the log with all of these words.
func (r *running) wantLog(words ...string) {
	r.t.Helper()
	r.log.Find(r.t, strings.Join(words, ", "), 0, func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

// wantProblem expects an *api.Problem for a field.
func wantProblem(t *testing.T, err error, field, text string) {
	t.Helper()
	p, ok := errors.AsType[*api.Problem](err)
	if !ok || p.Field != field || !strings.Contains(p.Detail, text) {
		t.Errorf("error %v (%+v), want one of %q with %q", err, p, field, text)
	}
}

// filterFile has two pools, and tokens whose claim sub sessions show. The third session
// of the tests is at layer 4.
func filterFile(t *testing.T, engine string) (text string, token func(sub string) string) {
	auth, token := tokens(t)
	return `listeners: [{address: "127.0.0.1:0"}, {name: four, address: "127.0.0.1:0", mode: tcp, pool: Chat}]
engine: ` + engine + `
forwarded: {trust: [127.0.0.1]}
routes:
- {match: {path: /news}, pool: news, auth: ` + auth + `}
- {match: {path: /}, pool: Chat, auth: ` + auth + `}
pools:
  Chat: {backends: [{name: one, address: ` + backend(t, "one") + `}]}
  news: {backends: [{name: one, address: ` + backend(t, "n1") + `}]}
`, token
}

func TestSessionFilters(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		text, token := filterFile(t, engine)
		r := start(t, text)
		dial := func(path, sub, from string) *ws {
			return openWith(t, "ws://"+r.Addresses()[0]+path, http.Header{"Authorization": {"Bearer " + token(sub)}, "X-Forwarded-For": {from}})
		}
		dial("/", "Alice", "192.0.2.7").echo("x", "one: x")
		dial("/news", "bob", "192.0.2.8").echo("x", "n1: x")
		open(t, "ws://"+r.Addresses()[1]+"/raw").echo("x", "one: x")
		all := r.list(api.SessionFilter{}, 2)
		if len(all) != 3 {
			t.Fatalf("%d sessions: %+v", len(all), all)
		}
		// In the order in which they were opened: alice, bob, raw.
		slices.SortFunc(all, func(a, b api.Session) int { return a.Opened.Compare(b.Opened) })
		alice, raw := all[0], all[2]
		if alice.Pool != "Chat" || alice.Backend != "one" || alice.Claims["sub"] != "Alice" || !strings.HasPrefix(alice.Client, "192.0.2.7:") ||
			alice.FromClient.Messages != 1 || alice.FromBackend.Bytes == 0 || alice.Age <= 0 || alice.Age > time.Since(alice.Opened).Seconds() {
			t.Errorf("a session: %+v", alice)
		}
		if one, err := r.Operated().Session(alice.ID); err != nil || one.ID != alice.ID || one.Client != alice.Client || one.Claims["sub"] != "Alice" {
			t.Errorf("by its id: %+v, %v", one, err)
		}
		for _, test := range []struct {
			of   api.SessionFilter
			want string // of "arb" for alice, bob and raw
		}{
			{api.SessionFilter{}, "abr"},
			{api.SessionFilter{ID: alice.ID}, "a"},
			{api.SessionFilter{ID: alice.ID, Claim: "sub=Alice"}, "a"},
			{api.SessionFilter{ID: raw.ID, Claim: "sub=Alice"}, ""},
			{api.SessionFilter{Pool: "Chat"}, "ar"},
			{api.SessionFilter{Pool: "news", Backend: "one"}, "b"},
			{api.SessionFilter{Route: all[1].Route}, "b"},
			{api.SessionFilter{Client: "192.0.2.7"}, "a"},
			{api.SessionFilter{Client: "192.0.2.0/24"}, "ab"},
			{api.SessionFilter{Client: "192.0.2.9/24"}, "ab"},
			{api.SessionFilter{Client: "::ffff:192.0.2.0/120"}, "ab"},
			{api.SessionFilter{Client: "::ffff:192.0.2.7"}, "a"},
			{api.SessionFilter{Client: "127.0.0.0/8"}, "r"},
			{api.SessionFilter{Client: raw.Client}, "r"},
			{api.SessionFilter{Client: "2001:db8::/32"}, ""},
			{api.SessionFilter{Claim: "sub=Alice"}, "a"},
			{api.SessionFilter{Claim: "sub=alice"}, ""},
			{api.SessionFilter{MinAge: "1h"}, ""},
			{api.SessionFilter{MaxAge: "1h"}, "abr"},
			{api.SessionFilter{MinAge: "0s"}, "abr"},
			{api.SessionFilter{MinIdle: "1h"}, ""},
			{api.SessionFilter{MinIdle: "0s"}, "abr"},
			{api.SessionFilter{Search: "alic"}, "a"},
			{api.SessionFilter{Search: "BOB"}, "b"},
			{api.SessionFilter{Search: "192.0.2."}, "ab"},
			{api.SessionFilter{Search: "chat"}, "ar"},
			{api.SessionFilter{Search: "news"}, "b"},
			{api.SessionFilter{Search: strings.ToLower(raw.ID[3:])}, "r"},
			{api.SessionFilter{Search: "nothing like it"}, ""},
			{api.SessionFilter{Search: "chat", Client: "192.0.2.0/24"}, "a"},
			{api.SessionFilter{Pool: "Chat", MaxAge: "1h", Search: "127.0.0.1"}, "r"},
		} {
			got := ""
			for i, s := range all {
				for _, found := range r.list(test.of, 1) {
					if found.ID == s.ID {
						got += "abr"[i : i+1]
					}
				}
			}
			if got != test.want {
				t.Errorf("%+v: %q, want %q", test.of, got, test.want)
			}
		}
		testkit.Eventually(t, "they have been idle for a while", func() bool { return len(r.list(api.SessionFilter{MinIdle: "200ms"}, 10)) == 3 })
	})
}

func TestSessionFilterProblems(t *testing.T) {
	text, token := filterFile(t, "portable")
	r := start(t, text)
	openWith(t, "ws://"+r.Addresses()[0]+"/", http.Header{"Authorization": {"Bearer " + token("x")}})
	testkit.Eventually(t, "the session is listed", func() bool { return len(r.list(api.SessionFilter{}, 10)) == 1 })
	for _, test := range []struct {
		of          api.SessionFilter
		field, text string
	}{
		{api.SessionFilter{ID: "x"}, "id", "20 characters"},
		{api.SessionFilter{Pool: "chat"}, "pool", `there is no pool "chat" (did you mean "Chat"?)`},
		{api.SessionFilter{Pool: "Chat", Backend: "onw"}, "backend", `the pool Chat has no backend "onw" (did you mean "one"?)`},
		{api.SessionFilter{Backend: "one"}, "backend", "needs pool"},
		{api.SessionFilter{Route: "/nowhere"}, "route", `no session has had the route "/nowhere"`},
		{api.SessionFilter{Client: "chat.example"}, "client", "not an address"},
		{api.SessionFilter{Client: "192.0.2.0/33"}, "client", "not an address"},
		{api.SessionFilter{Client: "192.0.2.1:0"}, "client", "not an address"},
		{api.SessionFilter{Claim: "sub"}, "claim", "NAME=VALUE"},
		{api.SessionFilter{Claim: "tenant=x"}, "claim", "session_claims"},
		{api.SessionFilter{MinAge: "5"}, "min_age", "the unit is missing"},
		{api.SessionFilter{MaxAge: "-5s"}, "max_age", ""},
		{api.SessionFilter{MinIdle: "long"}, "min_idle", "bad duration"},
	} {
		_, err := r.Operated().Sessions(context.Background(), api.SessionQuery{SessionFilter: test.of})
		wantProblem(t, err, test.field, test.text)
		_, err = r.Operated().CloseSessions(context.Background(), api.CloseRequest{SessionFilter: test.of})
		wantProblem(t, err, test.field, test.text)
	}
	for _, q := range []api.SessionQuery{{After: "x"}, {After: "-1"}} {
		_, err := r.Operated().Sessions(context.Background(), q)
		wantProblem(t, err, "after", "not what an answer had")
	}
	_, err := r.Operated().Sessions(context.Background(), api.SessionQuery{Limit: api.MaxSessions + 1})
	wantProblem(t, err, "limit", "is not from 1")
	_, err = r.Operated().Session(strings.Repeat("0", 20))
	wantProblem(t, err, "id", "there is no session")
	_, err = r.Operated().Session("?")
	wantProblem(t, err, "id", "20 characters")
	for _, test := range []struct {
		req         api.CloseRequest
		field, text string
	}{
		{api.CloseRequest{}, "all", "this would close all"},
		{api.CloseRequest{All: true, Code: 1002}, "code", "can't be closed with code 1002"},
		{api.CloseRequest{All: true, Reason: strings.Repeat("x", 124)}, "reason", "room for 123"},
		{api.CloseRequest{All: true, Rate: -1}, "rate", "is not a number"},
		{api.CloseRequest{All: true, Rate: 1e-6}, "rate", "longer than 24h"},
	} {
		_, err := r.Operated().CloseSessions(context.Background(), test.req)
		wantProblem(t, err, test.field, test.text)
	}
	if n := len(r.list(api.SessionFilter{}, 10)); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestCloseSessions(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		text, token := filterFile(t, engine)
		r := start(t, text)
		dial := func(path, sub string) *ws {
			return openWith(t, "ws://"+r.Addresses()[0]+path, http.Header{"Authorization": {"Bearer " + token(sub)}})
		}
		news, alice, raw := dial("/news", "bob"), dial("/", "Alice"), open(t, "ws://"+r.Addresses()[1]+"/raw")
		news.echo("x", "n1: x")
		for _, c := range []*ws{alice, raw} {
			c.echo("x", "one: x")
		}
		closeThem := func(req api.CloseRequest, want int) api.CloseResult {
			t.Helper()
			res, err := r.Operated().CloseSessions(context.Background(), req)
			if err != nil || res.Sessions != want {
				t.Errorf("%+v: %+v, %v; want %d", req, res, err, want)
			}
			return res
		}
		if res := closeThem(api.CloseRequest{All: true, DryRun: true, Rate: 4}, 3); res.Over != 0.5 {
			t.Errorf("closing 3 with 4 a second takes %v", res.Over)
		}
		closeThem(api.CloseRequest{SessionFilter: api.SessionFilter{Search: "nobody"}, Reason: "a"}, 0)
		if len(r.list(api.SessionFilter{}, 10)) != 3 {
			t.Error("a dry run closed something")
		}
		closeThem(api.CloseRequest{SessionFilter: api.SessionFilter{Search: "alice"}, Code: 4001, Reason: "signed out"}, 1)
		if reason := alice.wantClose(4001); reason != "signed out" {
			t.Errorf("the reason is %q", reason)
		}
		r.wantLog("session closed", "admin_closed", "4001", "Alice")
		closeThem(api.CloseRequest{SessionFilter: api.SessionFilter{Pool: "Chat"}}, 1) // at layer 4: no Close frame
		raw.wantClose(-1)
		raw.CloseNow()
		closeThem(api.CloseRequest{All: true}, 1)
		news.wantClose(api.DefaultCloseCode)
		r.wantEvents("sessions info / sessions are being closed by an operator")
		r.wantLog("sessions are being closed by an operator", "signed out", "alice")
		testkit.Eventually(t, "all have ended", func() bool { return len(r.list(api.SessionFilter{}, 10)) == 0 })
	})
}

// The engine keeps the reasons for ever, so they are bounded.
func TestTooManyCloseReasons(t *testing.T) {
	r := start(t, `listeners: [{address: "127.0.0.1:0"}]
engine: portable
pools: {chat: {backends: [{name: one, address: `+backend(t, "one")+`}]}}
`)
	r.FillCloseReasons()
	c := r.open("/")
	c.echo("x", "one: x")
	_, err := r.Operated().CloseSessions(context.Background(), api.CloseRequest{All: true, Reason: "another"})
	wantProblem(t, err, "reason", "100 different reasons since the start")
	if p, ok := errors.AsType[*api.Problem](err); !ok || p.Status != http.StatusConflict {
		t.Errorf("%+v", p)
	}
	if res, err := r.Operated().CloseSessions(context.Background(), api.CloseRequest{All: true, Reason: "reason 7"}); err != nil || res.Sessions != 1 {
		t.Errorf("with one that was used before: %+v, %v", res, err)
	}
	if reason := c.wantClose(websocket.StatusPolicyViolation); reason != "reason 7" {
		t.Errorf("the reason is %q", reason)
	}
}
