//go:build unix

package sessions

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// crowd is a balancer with sessions of users, each with a token.
type crowd struct {
	*kit.Balancer
	api   *client.Client
	key   ed25519.PrivateKey
	users map[string]*wspeer.Conn

	mu    sync.Mutex
	codes map[string]int // that the backend got, by user
}

func start(t *testing.T, engine string) *crowd {
	t.Helper()
	c := &crowd{users: map[string]*wspeer.Conn{}, codes: map[string]int{}}
	var public ed25519.PublicKey
	var err error
	if public, c.key, err = ed25519.GenerateKey(nil); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	backend := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(backend.Close)
	c.Balancer = kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{backend.Listener.Addr().String()},
		More: "routes: [{pool: main, auth: {jwt: {public_key_file: " + file + ", issuer: me, audience: chat, session_claims: [sub], claims_to_headers: {X-User: sub}}}}]"}.YAML())
	if c.api, err = client.New(client.Options{Address: c.Admin}); err != nil {
		t.Fatal(err)
	}
	return c
}

// serve is the backend. It notes with which code each session is closed.
func (c *crowd) serve(w http.ResponseWriter, r *http.Request) {
	conn, in, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	ws, err := wspeer.Accept(conn, in.Reader, r)
	if err != nil {
		return
	}
	for {
		text, err := ws.Message()
		if err != nil {
			if closed, ok := errors.AsType[*wspeer.CloseError](err); ok {
				c.mu.Lock()
				c.codes[r.Header.Get("X-User")] = closed.Code
				c.mu.Unlock()
				ws.SendClose(closed.Code, "")
			}
			return
		}
		ws.SendText(text)
	}
}

// userName is the name of a user. The first 200 are red.
func userName(i int) string {
	if i < 200 {
		return fmt.Sprintf("user-%d@red.example", i)
	}
	return fmt.Sprintf("user-%d@blue.example", i)
}

// open opens the sessions of n users.
func (c *crowd) open(t *testing.T, n int) {
	t.Helper()
	type opened struct {
		user string
		ws   *wspeer.Conn
		err  error
	}
	all := make(chan opened)
	const dialers = 20
	for d := range dialers {
		go func() {
			for i := d; i < n; i += dialers {
				user := userName(i)
				token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": "me", "aud": "chat", "sub": user,
					"exp": time.Now().Add(time.Hour).Unix()}).SignedString(c.key)
				var ws *wspeer.Conn
				if err == nil {
					ws, _, err = wspeer.Dial(c.Address, "/", "Authorization: Bearer "+token)
				}
				all <- opened{user, ws, err}
			}
		}()
	}
	for range n {
		o := <-all
		if o.err != nil {
			t.Fatal(o.err)
		}
		c.users[o.user] = o.ws
		t.Cleanup(func() { o.ws.Close() })
	}
	c.AwaitSessions(t, n)
}

// find returns the only session that a filter chooses.
func (c *crowd) find(t *testing.T, f api.SessionFilter) api.Session {
	t.Helper()
	began := time.Now()
	page, err := c.api.Sessions(t.Context(), api.SessionQuery{SessionFilter: f})
	if err != nil || len(page.Sessions) != 1 {
		t.Fatalf("%+v: %+v, %v", f, page, err)
	}
	t.Logf("found by %+v in %v", f, time.Since(began).Round(time.Millisecond/10))
	return page.Sessions[0]
}

// One of a thousand sessions is found by its claim and by a part of the user's name, and
// closed. Both sides see the code. Then 200 are closed, 100 a second.
func TestFindAndClose(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		c := start(t, engine)
		c.open(t, 1000)
		const user = "user-777@blue.example"
		if err := c.users[user].RoundTrip("hello"); err != nil {
			t.Fatal(err)
		}
		s := c.find(t, api.SessionFilter{Claim: "sub=" + user})
		for _, f := range []api.SessionFilter{{Search: "R-777@BL"}, {ID: s.ID}, {Client: s.Client}} {
			if found := c.find(t, f); found.ID != s.ID {
				t.Errorf("%+v finds %+v", f, found)
			}
		}
		if s.FromClient.Messages != 1 || s.FromBackend.Messages != 1 || s.Backend != "a" || s.Idle > s.Age {
			t.Errorf("it is listed as %+v", s)
		}
		res, err := c.api.CloseSessions(t.Context(), api.CloseRequest{SessionFilter: api.SessionFilter{ID: s.ID}, Code: 4001, Reason: "please sign in again"})
		if err != nil || res.Sessions != 1 {
			t.Fatalf("close: %+v, %v", res, err)
		}
		var closed *wspeer.CloseError
		if _, err := c.users[user].Message(); !errors.As(err, &closed) || closed.Code != 4001 || closed.Reason != "please sign in again" {
			t.Errorf("the client sees %v", err)
		}
		c.users[user].SendClose(4001, "")
		testkit.Eventually(t, "the backend has the Close, too", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.codes[user] == 4001
		})
		c.FindLog(t, "session closed", 0, "cause=admin_closed", "close_code=4001", "claim.sub="+user)
		c.AwaitSessions(t, 999)
		if m := c.Metrics(t).String(); !strings.Contains(m, `holdfast_session_closes_total{backend="a",cause="admin_closed",code="4xxx",pool="main"} 1`) {
			t.Errorf("the metrics lack the cause:\n%s", m)
		}
		delete(c.users, user)
		c.closeSlowly(t)
	})
}

// closeSlowly closes 200 sessions, 100 a second.
func (c *crowd) closeSlowly(t *testing.T) {
	t.Helper()
	const n, rate = 200, 100
	ends := make(chan time.Time, len(c.users))
	for _, ws := range c.users {
		go func() {
			var closed *wspeer.CloseError
			if _, err := ws.Message(); errors.As(err, &closed) && closed.Code == 1012 {
				ends <- time.Now()
				ws.SendClose(1012, "")
			}
		}()
	}
	began := time.Now()
	req := api.CloseRequest{SessionFilter: api.SessionFilter{Search: "@red.example"}, Code: 1012, Rate: rate, DryRun: true}
	dry, err := c.api.CloseSessions(t.Context(), req)
	if want := (api.CloseResult{Sessions: n, Over: float64(n-1) / rate}); err != nil || dry != want {
		t.Errorf("a dry run: %+v, %v; want %+v", dry, err, want)
	}
	req.DryRun = false
	if res, err := c.api.CloseSessions(t.Context(), req); err != nil || res != dry {
		t.Fatalf("close: %+v, %v; want %+v", res, err, dry)
	}
	for i := range n {
		select {
		case at := <-ends:
			// None may come early: the resolution of the engines' time is 67 ms.
			if earliest := time.Duration(i)*time.Second/rate - 200*time.Millisecond; at.Sub(began) < earliest {
				t.Errorf("close %d comes after %v", i+1, at.Sub(began))
			}
			if i == n-1 {
				t.Logf("%d sessions were closed in %v", n, at.Sub(began).Round(time.Millisecond))
			}
		case <-time.After(testkit.Patience):
			t.Fatalf("%d of %d were closed", i, n)
		}
	}
	c.AwaitSessions(t, 999-n)
	if page, err := c.api.Sessions(t.Context(), api.SessionQuery{SessionFilter: req.SessionFilter}); err != nil || len(page.Sessions) != 0 {
		t.Errorf("in the end: %+v, %v", page, err)
	}
}

// A drain is seen by those who follow the events, also by one who comes later.
func TestEventsShowDrain(t *testing.T) {
	t.Parallel()
	c := start(t, "epoll")
	c.open(t, 3)
	began, empty := make(chan api.Event, 1), make(chan api.Event, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- c.api.Events(ctx, client.Watch{}, func(e api.Event) error {
			switch {
			case e.Kind == api.EventDrain && strings.HasSuffix(e.Message, "is being emptied"):
				began <- e
			case e.Kind == api.EventDrain && strings.HasSuffix(e.Message, "is empty"):
				empty <- e
			}
			return nil
		})
	}()
	await := func(what string, events <-chan api.Event) api.Event {
		t.Helper()
		select {
		case e := <-events:
			return e
		case <-time.After(testkit.Patience):
			t.Fatal("no event that the drain ", what)
			panic("unreachable")
		}
	}
	c.Command(t, 0, "drain", "main/a")
	first := await("has begun", began)
	if first.Pool != "main" || first.Backend != "a" || first.Detail["sessions"] != 3.0 {
		t.Errorf("the drain begins with %+v", first)
	}
	for _, ws := range c.users {
		ws.SendClose(1000, "")
	}
	last := await("has emptied it", empty)
	cancel()
	<-ended
	var seen []uint64
	if err := c.api.Events(t.Context(), client.Watch{After: first.ID - 1, Once: true}, func(e api.Event) error {
		seen = append(seen, e.ID)
		return nil
	}); err != nil || len(seen) == 0 || seen[0] != first.ID || seen[len(seen)-1] < last.ID {
		t.Errorf("a later stream has the events %v, %v; want those from %d to %d", seen, err, first.ID, last.ID)
	}
}
