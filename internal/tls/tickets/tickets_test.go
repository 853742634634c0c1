package tickets_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/tickets"
)

// clock is a time that a test sets.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// balancer is what a listener of one balancer has.
type balancer struct {
	keys *tickets.Keys
	base *tls.Config
}

// config is the configuration of one generation.
func (b *balancer) config(binding string) *tls.Config {
	c := b.base.Clone()
	b.keys.SetUp(c, []byte(binding))
	return c
}

// connect makes a connection and reports whether it resumed a session.
func connect(t *testing.T, server, client *tls.Config) (resumed bool) {
	t.Helper()
	left, right := net.Pipe()
	defer left.Close()
	done := make(chan error, 1)
	go func() {
		defer right.Close()
		s := tls.Server(right, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // the client reads tickets before it
		}
		done <- err
	}()
	c := tls.Client(left, client)
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Fatalf("the client: %v; the server: %v", err, <-done)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().DidResume
}

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// setup makes a clock, a configuration of servers and one of clients.
func setup(t *testing.T, version uint16) (*clock, *tls.Config, func() *tls.Config) {
	ca := testca.New(t)
	now := &clock{time.Now()}
	pair := ca.IssueLike(func(c *x509.Certificate) { c.NotAfter = now.Add(60 * 24 * time.Hour) }, "a.example", "b.example")
	base := &tls.Config{Certificates: []tls.Certificate{pair.TLS}, Time: now.now, MaxVersion: version}
	return now, base, func() *tls.Config {
		// The CA expires before the tests' clock does.
		return &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", Time: now.now, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	}
}

// TestReload: a session is resumed by another configuration with the same Keys, as
// after a reload, and not by other Keys.
func TestReload(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			now, base, newClient := setup(t, version)
			for _, secret := range []string{"", "a secret"} {
				b := balancer{tickets.New(secret, now.now), base}
				client := newClient()
				if connect(t, b.config(""), client) {
					t.Error("the first handshake resumed a session")
				}
				for range 3 {
					if !connect(t, b.config(""), client) {
						t.Errorf("secret %q: no session was resumed after a reload", secret)
					}
				}
				other := balancer{tickets.New("", now.now), base}
				if connect(t, other.config(""), client) {
					t.Error("a session was resumed by other keys")
				}
			}
		})
	}
}

// TestShared: balancers with the same secret resume each other's sessions, also if
// their clocks differ, until the key is too old.
func TestShared(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			now, base, newClient := setup(t, version)
			behind := &clock{now.Time}
			first := balancer{tickets.New("a secret", now.now), base}
			second := balancer{tickets.New("a secret", behind.now), base}
			stranger := balancer{tickets.New("another secret", now.now), base}
			a, b, s := first.config(""), second.config(""), stranger.config("")
			start := now.Truncate(12 * time.Hour).Add(13 * time.Hour)
			for _, tt := range []struct {
				server       *tls.Config
				made, behind time.Duration // since start
				used         time.Duration
				want         bool
			}{
				{b, 0, 0, 0, true},
				{s, 0, 0, 0, false},
				{b, 0, 0, 24 * time.Hour, true},
				{b, 11*time.Hour + 59*time.Minute, 12 * time.Hour, 12 * time.Hour, true}, // a rotation between
				{b, 12 * time.Hour, 11 * time.Hour, 11 * time.Hour, true},                // the maker's clock is ahead
				{b, 0, 0, 36 * time.Hour, false},
				{a, 0, 0, 36 * time.Hour, false},
			} {
				client := newClient()
				now.Time, behind.Time = start.Add(tt.made), start.Add(tt.behind)
				connect(t, a, client)
				if tt.server == a {
					now.Time = start.Add(tt.used)
				}
				behind.Time = start.Add(tt.used)
				if got := connect(t, tt.server, client); got != tt.want {
					t.Errorf("a ticket of %v at %v: resumed %t", tt.made, tt.used, got)
				}
			}
		})
	}
}

// TestBinding: a ticket is not accepted where it was made under other rules, or for
// another name.
func TestBinding(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			now, base, newClient := setup(t, version)
			b := balancer{tickets.New("a secret", now.now), base}
			client := newClient()
			connect(t, b.config("no client certificates"), client)
			if !connect(t, b.config("no client certificates"), client) {
				t.Error("no session was resumed under the same rules")
			}
			if connect(t, b.config("client certificates of X"), client) {
				t.Error("a session was resumed under other rules")
			}
			// The client's cache is by name, so a client that lies is made by hand.
			liar := newClient()
			liar.ServerName, liar.ClientSessionCache = "b.example", sameForAll{client.ClientSessionCache}
			if connect(t, b.config("client certificates of X"), liar) {
				t.Error("a session was resumed for another name")
			}
			if !connect(t, b.config("client certificates of X"), liar) {
				t.Error("no session was resumed for the same name")
			}
		})
	}
}

// sameForAll has the session of a.example for all names.
type sameForAll struct{ tls.ClientSessionCache }

func (s sameForAll) Get(string) (*tls.ClientSessionState, bool) {
	return s.ClientSessionCache.Get("a.example")
}

func (s sameForAll) Put(_ string, cs *tls.ClientSessionState) {
	s.ClientSessionCache.Put("a.example", cs)
}

// TestDamagedTickets: whatever is sent as a ticket, the handshake goes on.
func TestDamagedTickets(t *testing.T) {
	now, base, _ := setup(t, tls.VersionTLS13)
	b := balancer{tickets.New("a secret", now.now), base}
	c := b.config("")
	for _, ticket := range [][]byte{nil, {}, []byte("x"), make([]byte, 1000)} {
		if ss, err := c.UnwrapSession(ticket, tls.ConnectionState{}); ss != nil || err != nil {
			t.Errorf("%d bytes: %v, %v", len(ticket), ss, err)
		}
	}
}
