package proxy_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/identity/subrequest"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// changed are policies that may hold after a reload, and what the backend is sent then of a
// client that has come with a token. The policy before strips it, and sets X-User.
func changed(t *testing.T, before *auth.Policy) map[string]struct {
	policy *auth.Policy
	status int
	check  func(head string) bool
} {
	type after = struct {
		policy *auth.Policy
		status int
		check  func(head string) bool
	}
	user := func(head, name string) bool { return field(t, head, name) == "alice" }
	return map[string]after{
		"the same": {before, 101, func(head string) bool { return user(head, "X-User") && !strings.Contains(head, "access_token") }},
		"none": {nil, 101, func(head string) bool {
			return field(t, head, "X-User") == "" && strings.Contains(head, "access_token=ey")
		}},
		"another": {tokens(t, auth.JWTOptions{Headers: []auth.HeaderOf{{Name: "X-Name", Claim: "sub"}}}), 101, func(head string) bool {
			return user(head, "X-Name") && field(t, head, "X-User") == "" && strings.Contains(head, "access_token=ey")
		}},
		"for others": {tokens(t, auth.JWTOptions{Audience: []string{"others"}}), 401, nil},
	}
}

func stripping(t *testing.T) *auth.Policy {
	return tokens(t, auth.JWTOptions{Headers: []auth.HeaderOf{{Name: "X-User", Claim: "sub"}}, Strip: true})
}

// What was found out about a client holds while its handshake waits in a queue, unless a
// reload changes who may come: then the client is asked again, by what it has sent.
func TestGrantsOfQueuedHandshakes(t *testing.T) {
	before := stripping(t)
	for name, after := range changed(t, before) {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				q := slow(ratelimit.Options{QueueTimeout: patience})
				server := echoing(t, "one")
				s := setup{backends: []string{server.addr}, admit: q, auth: before}
				b := start(t, engine, s)
				ask := upgrade("/?access_token=" + token(t) + "&a=b")
				b.dial().send(ask).want(101)
				waits := b.dial().send(ask)
				b.awaitQueue(q, 1)
				if s.auth = after.policy; after.policy != before {
					b.proxy.Swap(b.generation(s))
				}
				q.Configure(ratelimit.Options{Rate: 100, Burst: 10, Queue: 100})
				waits.want(after.status)
				_, heads := server.seen()
				if after.check == nil {
					if len(heads) != 1 {
						t.Errorf("the backend was asked: %q", heads)
					}
					return
				}
				if head := heads[len(heads)-1]; len(heads) != 2 || !after.check(head) {
					t.Errorf("the backend was sent %q", heads)
				}
			})
		})
	}
}

// A reload replaces all backends while a client is asked for: what was found out about it,
// and changed in its request, is undone before it goes by the new routes.
func TestGrantsAreUndone(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		hang, asked := make(chan struct{}), make(chan struct{}, 10)
		endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			asked <- struct{}{}
			<-hang
		}))
		defer endpoint.Close()
		spec := subrequest.Spec{URL: endpoint.URL, Timeout: patience, Most: 10}
		store := subrequest.NewStore(subrequest.Options{})
		clients, err := store.Load([]subrequest.Spec{spec})
		if err != nil {
			t.Fatal(err)
		}
		store.Use(clients)
		defer store.Close()
		before := stripping(t)
		before.Request = auth.NewRequest(auth.RequestOptions{Client: clients[spec]})
		dead := testkit.FreeAddress(t)
		b := start(t, engine, setup{backends: []string{dead}, auth: before})
		var waiting []*client
		for _, ask := range []string{upgrade("/?access_token=" + token(t)), "GET /?access_token=" + token(t) + " HTTP/1.1\r\nHost: a\r\n\r\n"} {
			waiting = append(waiting, b.dial().send(ask))
			<-asked
		}
		server := echoing(t, "one")
		b.proxy.Swap(b.generation(setup{backends: []string{server.addr}, auth: tokens(t, auth.JWTOptions{Headers: []auth.HeaderOf{{Name: "X-Name", Claim: "sub"}}})}))
		close(hang)
		waiting[0].want(101)
		waiting[1].want(200)
		_, heads := server.seen()
		if len(heads) != 2 {
			t.Fatalf("the backend was sent %q", heads)
		}
		for _, head := range heads {
			if field(t, head, "X-Name") != "alice" || field(t, head, "X-User") != "" || !strings.Contains(head, "access_token=ey") {
				t.Errorf("the backend was sent %q", head)
			}
		}
	})
}
