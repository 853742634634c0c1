package proxy_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/tally"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

const plainGet = "GET / HTTP/1.1\r\nHost: ws.example.com\r\n\r\n"

// slowly is a backend that answers a plain request when it is told to, and accepts every
// handshake.
func slowly(t *testing.T) (b *backend, asked chan struct{}, answer chan struct{}) {
	asked, answer = make(chan struct{}, 10), make(chan struct{})
	return newBackend(t, func(p *peer, head string) {
		if strings.Contains(head, "Upgrade: websocket") {
			io.WriteString(p, switching())
			readFrame(p.br)
			return
		}
		asked <- struct{}{}
		<-answer
		io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}), asked, answer
}

// http2Client speaks HTTP/2 with a balancer whose setup has transport.TLS{Protocol: "h2"}.
func http2Client(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// Requests under way and sessions of a client count together, until they have ended.
func TestRequestsAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server, asked, answer := slowly(t)
		b := start(t, engine, setup{backends: []string{server.addr}, policy: generation.Policy{Limits: limit.Rules{Requests: limit.Max{Max: 2}}}})
		session := b.dial().send(upgrade("/"))
		session.want(101)
		busy := b.dial().send(plainGet)
		<-asked
		kept := b.dial()
		resp, body := kept.send(plainGet).want(429)
		if n := retryAfter(t, resp); n < 5 || n > 30 || !strings.Contains(body, "under way") {
			t.Errorf("told to come back in %d s: %q", n, body)
		}
		b.dial().send(upgrade("/")).want(429)
		b.wait("the results", func() bool { return slices.Contains(b.results, "address_requests") })
		close(answer)
		busy.want(200)
		testkit.Eventually(t, "the end of a request makes room", func() bool {
			resp, _ := kept.send(plainGet).answer()
			return resp.StatusCode == 200
		})
		session.Close()
		b.wait("the session's end", func() bool { return len(b.ended) == 1 })
		for range 3 { // one after another
			kept.send(plainGet).want(200)
		}
	})
}

// Each request of an HTTP/2 connection counts.
func TestRequestsAtOnceOfHTTP2(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server, asked, answer := slowly(t)
		b := start(t, engine, setup{backends: []string{server.addr}, tls: &transport.TLS{Protocol: "h2"},
			policy: generation.Policy{Limits: limit.Rules{Requests: limit.Max{Max: 2}, NewRequests: limit.Rate{Rate: tally.Rate{Every: 24 * time.Hour, Burst: 4}}}}})
		client, done := http2Client(t), make(chan int)
		get := func() int {
			res, err := client.Get("http://" + b.addr + "/")
			if err != nil {
				t.Error(err)
				return 0
			}
			res.Body.Close()
			return res.StatusCode
		}
		for range 2 {
			go func() { done <- get() }()
			<-asked
		}
		if status := get(); status != 429 {
			t.Errorf("a third at once gets %d", status)
		}
		close(answer)
		for range 2 {
			if status := <-done; status != 200 {
				t.Errorf("status %d", status)
			}
		}
		testkit.Eventually(t, "they have ended", func() bool { return b.limiter.Stats().Counted <= 2 }) // its connection, and the listener
		if first, second := get(), get(); first != 200 || second != 429 {
			t.Errorf("the fourth and the fifth get %d and %d", first, second)
		}
	})
}

// How fast a client makes requests counts for handshakes and for plain HTTP, also on one
// connection; a client that is exempt may do what it likes.
func TestRequestRate(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		rate := limit.Rules{NewRequests: limit.Rate{Rate: tally.Rate{Every: 24 * time.Hour, Burst: 3}}}
		s := setup{backends: []string{echoing(t, "one").addr}, policy: generation.Policy{Limits: rate}, trust: networksOf("127.0.0.0/8")}
		b := start(t, engine, s)
		kept := b.dial()
		kept.send(plainGet).want(200)
		b.dial().send(upgrade("/")).want(101)
		kept.send(plainGet).want(200)
		resp, _ := kept.send(plainGet).want(429)
		if n := retryAfter(t, resp); n < 80_000 || n > 86_400 {
			t.Errorf("Retry-After is %d, want about a day", n)
		}
		b.dial().send(upgrade("/")).want(429)
		b.wait("the results", func() bool { return slices.Contains(b.results, "request_rate") })
		kept.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n").want(200) // another client
		g := b.generation(s)
		g.Exempt = networksOf("127.0.0.0/8")
		b.proxy.Swap(g)
		for range 5 {
			kept.send(plainGet).want(200)
		}
	})
}

// A client can't take all connections with plain HTTP. Its own that wait for nothing make
// room, and only those.
func TestConnectionsOfOneAddress(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server, asked, answer := slowly(t)
		s := setup{backends: []string{server.addr}, connections: 2}
		b := start(t, engine, s)
		busy := []*client{b.dial().send(plainGet), b.dial().send(plainGet)}
		<-asked
		<-asked
		resp, _ := b.dial().send(plainGet).want(429)
		if n := retryAfter(t, resp); n < 5 || n > 30 {
			t.Errorf("Retry-After is %d", n)
		}
		b.wantResult("address_connections")
		b.dial().send(upgrade("/")).want(101) // it is none
		close(answer)
		for _, c := range busy {
			c.want(200)
		}
		testkit.Eventually(t, "an idle connection makes room", func() bool {
			resp, _ := b.dial().send(plainGet).answer()
			return resp.StatusCode == 200
		})
		ended := make(chan error, 2)
		for _, c := range busy {
			go func() {
				_, err := c.br.ReadByte()
				ended <- err
			}()
		}
		if err := <-ended; err != io.EOF {
			t.Errorf("the connection that has made room: %v", err)
		}
		for _, c := range busy {
			c.Close()
		}
		<-ended

		// Connections of a proxy carry the requests of many.
		g := b.generation(setup{backends: s.backends, connections: 2, trust: networksOf("127.0.0.0/8")})
		b.proxy.Swap(g)
		for range 4 {
			b.dial().send(plainGet).want(200)
		}
	})
}

// A client with HTTP/2 is told so in HTTP/2.
func TestConnectionsOfOneAddressHTTP2(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		listener, config := onTLS(t, false)
		server, asked, answer := slowly(t)
		b := start(t, engine, setup{backends: []string{server.addr}, connections: 1, listener: listener})
		get := func() (int, error) {
			tr := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
			defer tr.CloseIdleConnections()
			res, err := (&http.Client{Transport: tr, Timeout: patience}).Get("https://" + b.addr + "/")
			if err != nil {
				return 0, err
			}
			defer res.Body.Close()
			if res.ProtoMajor != 2 {
				t.Errorf("the client speaks %s", res.Proto)
			}
			return res.StatusCode, nil
		}
		done := make(chan int)
		go func() {
			status, err := get()
			if err != nil {
				t.Error(err)
			}
			done <- status
		}()
		<-asked
		second := config.Clone()
		second.NextProtos = []string{"h2"}
		b.dialTLS(second).send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00").wantBytes(string(httpproxy.Goodbye))
		b.wantResult("address_connections")
		close(answer)
		if status := <-done; status != 200 {
			t.Errorf("the first gets %d", status)
		}
	})
}

// A handshake that has waited in a queue goes by the limits of its route of now: one that
// the new route has too many of is refused, and one that is counted stays counted, but not
// twice.
func TestLimitsChangeWhileQueued(t *testing.T) {
	scope := func(l *limit.Rules, s limit.Scope) {
		l.Sessions.Scope, l.New.Scope, l.Requests.Scope, l.NewRequests.Scope, l.Claim.Scope = s, s, s, s, s
	}
	all := limit.Rules{
		Sessions: limit.Max{Max: 2}, New: limit.Rate{Rate: tally.Rate{Every: 24 * time.Hour, Burst: 2}},
		Requests: limit.Max{Max: 2}, NewRequests: limit.Rate{Rate: tally.Rate{Every: 24 * time.Hour, Burst: 2}}, Claim: limit.Max{Max: 2},
	}
	for name, c := range map[string]struct {
		change func(*limit.Rules)
		result string
	}{
		"the same limits":  {func(*limit.Rules) {}, "opened"},
		"none any more":    {func(l *limit.Rules) { *l = limit.Rules{} }, "opened"},
		"of another route": {func(l *limit.Rules) { scope(l, 1) }, "opened"},
		"sessions":         {func(l *limit.Rules) { l.Sessions = limit.Max{Scope: 2, Max: 1} }, "address_sessions"},
		"requests":         {func(l *limit.Rules) { l.Requests = limit.Max{Scope: 2, Max: 1} }, "address_requests"},
		"a claim":          {func(l *limit.Rules) { l.Claim = limit.Max{Scope: 2, Max: 1} }, "claim_sessions"},
		"the rate":         {func(l *limit.Rules) { l.New = limit.Rate{Scope: 2, Rate: tally.Rate{Every: 24 * time.Hour, Burst: 1}} }, "address_rate"},
		"the rate of request": {func(l *limit.Rules) {
			l.NewRequests = limit.Rate{Scope: 2, Rate: tally.Rate{Every: 24 * time.Hour, Burst: 1}}
		}, "request_rate"},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				q := slow(ratelimit.Options{QueueTimeout: patience})
				s := setup{backends: []string{echoing(t, "one").addr}, admit: q, auth: tokens(t, auth.JWTOptions{}),
					policy: generation.Policy{Limits: all, LimitedClaim: "sub"}}
				b := start(t, engine, s)
				ask := upgrade("/?access_token=" + token(t))
				b.dial().send(ask).want(101)
				b.wantResult("opened")
				waits := b.dial().send(ask)
				b.awaitQueue(q, 1)
				// What would come under the new limits is there already.
				var other limit.Hold
				defer other.Release()
				client := networksOf("127.0.0.1/32")[0].Addr()
				var only limit.Rules
				c.change(&only)
				for _, err := range []error{other.Address(b.limiter, &only, client), other.Request(b.limiter, &only, client), other.Claim(b.limiter, only.Claim, "alice")} {
					if err != nil {
						t.Error(err)
					}
				}
				changed := all
				c.change(&changed)
				s.policy.Limits = changed
				b.proxy.Swap(b.generation(s))
				q.Configure(ratelimit.Options{Rate: 100, Burst: 10, Queue: 100})
				waits.answer()
				b.wait("the result", func() bool { return len(b.results) == 2 })
				if got := b.allResults()[1]; got != c.result {
					t.Errorf("the result is %s, want %s", got, c.result)
				}
			})
		})
	}
}
