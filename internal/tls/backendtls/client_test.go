package backendtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// echo says whether what is written comes back.
func echo(conn io.ReadWriter, text string) error {
	if _, err := io.WriteString(conn, text); err != nil {
		// An alert may have come before.
		if _, read := conn.Read(make([]byte, 1)); read != nil && read != io.EOF {
			err = read
		}
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != text {
		return errors.New("another text came back")
	}
	return nil
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	return conn
}

func TestClient(t *testing.T) {
	for _, s := range scenes(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
			if s.is != nil {
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			defer cancel()
			client := s.client(t)
			secured, err := client.Client(ctx, dial(t, s.addr(t)), s.hostOf())
			if s.late && err != nil {
				t.Fatalf("%v, want a failure later", err)
			}
			if err == nil {
				err = echo(secured, "hello")
				secured.Close()
			}
			judge(t, s, client, err)
		})
	}
}

func judge(t *testing.T, s scene, c *Client, err error) {
	t.Helper()
	want := s.result() + "  false"
	if s.result() == OK {
		want = "ok 1.3 false"
		if strings.Contains(s.name, "1.2") {
			want = "ok 1.2 false"
		}
	}
	if all := c.options.Counter.(*counted).all; len(all) != 1 || all[0] != want {
		t.Errorf("%q was counted, want %q", all, want)
	}
	// What a backend has shown is remembered, whether or not it was accepted.
	wantShown := s.result() == OK || s.result() == Untrusted
	for addr, cert := range c.shown.last {
		if !wantShown || c.Shown(addr) != cert || len(c.shown.last) != 1 {
			t.Errorf("%d certificates are remembered, one of %v: %v", len(c.shown.last), addr, cert.DNSNames)
		}
	}
	if wantShown && len(c.shown.last) == 0 {
		t.Error("no certificate is remembered")
	}
	var e *Error
	switch {
	case s.want == "" && err != nil:
		t.Error(err)
	case s.want != "" && (!errors.As(err, &e) || !strings.HasPrefix(err.Error(), s.want)):
		t.Errorf("it says\n%v, want\n%s", err, s.want)
	}
}

// testResumption makes three handshakes with each of two servers, which talk sends a text
// to. Sessions are resumed, by each server's own tickets.
func testResumption(t *testing.T, talk func(c *Client, addr string) error) {
	ca := testca.New(t)
	pair := ca.Issue("chat.internal")
	for i, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS12, tls.VersionTLS13} {
		var sans []string
		if i > 1 {
			sans = []string{"chat.internal"}
		}
		t.Run(fmt.Sprint(tls.VersionName(version), sans), func(t *testing.T) {
			c, err := New(Options{CA: ca.File(), SANs: sans}, nil)
			if err != nil {
				t.Fatal(err)
			}
			servers := []*server{
				serve(t, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MaxVersion: version}),
				serve(t, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MaxVersion: version}),
			}
			for range 3 {
				for _, s := range servers {
					if err := talk(c, s.addr); err != nil {
						t.Fatal(err)
					}
				}
			}
			for i, s := range servers {
				if all, resumed := s.handshakes.Load(), s.resumed.Load(); all != 3 || resumed != 2 {
					t.Errorf("server %d: %d of %d were resumed, want 2 of 3", i, resumed, all)
				}
			}
		})
	}
}

func TestResumption(t *testing.T) {
	testResumption(t, func(c *Client, addr string) error {
		secured, err := c.Client(t.Context(), dial(t, addr), "chat.internal")
		if err != nil {
			return err
		}
		defer secured.Close()
		return echo(secured, "hello")
	})
}

// TestHangUp closes without waiting for the peer.
func TestHangUp(t *testing.T) {
	ca := testca.New(t)
	s := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("chat.internal").TLS}})
	c, err := New(Options{CA: ca.File()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	secured, err := c.Client(t.Context(), dial(t, s.addr), "chat.internal")
	if err != nil {
		t.Fatal(err)
	}
	if err := secured.(interface{ HangUp() error }).HangUp(); err != nil {
		t.Error(err)
	}
	if _, err := secured.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it reads on: %v", err)
	}
}
