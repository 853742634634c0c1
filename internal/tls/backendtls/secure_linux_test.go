package backendtls

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// noSessions is an Owner without slots.
type noSessions struct{}

func (noSessions) Ready(int32, session.Side, eventloop.Events) {}
func (noSessions) Expired(int32)                               {}
func (noSessions) Again()                                      {}
func (noSessions) BatchDone()                                  {}
func (noSessions) Stopped()                                    {}

// eachNetwork runs test with both networks. The function that test gets runs another
// one in a task, with a connection to addr that was dialled in it; it returns the
// error of that, or of the connect.
func eachNetwork(t *testing.T, test func(t *testing.T, in func(addr string, deadline time.Time, f func(transport.Conn) error) error)) {
	log := slog.New(slog.DiscardHandler)
	group, err := eventloop.NewGroup(1, log, func(*eventloop.Loop) eventloop.Owner { return noSessions{} })
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	goroutines := netconn.New(log)
	defer goroutines.Close()
	for name, network := range map[string]transport.Network{"eventloop": group, "netconn": goroutines} {
		t.Run(name, func(t *testing.T) {
			type job struct {
				addr     string
				deadline time.Time
				f        func(transport.Conn) error
				done     chan error
			}
			jobs := make(chan job, 1)
			ln, err := network.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(parent transport.Conn) {
				defer parent.Close()
				j := <-jobs // there already
				c, err := network.Dial(parent, hostport.At(netip.MustParseAddrPort(j.addr)), j.deadline)
				if err == nil {
					c.SetDeadline(j.deadline)
					err = j.f(c)
				}
				j.done <- err
			})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			test(t, func(addr string, deadline time.Time, f func(transport.Conn) error) error {
				j := job{addr, deadline, f, make(chan error, 1)}
				jobs <- j
				client, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				return <-j.done
			})
		})
	}
}

// connEcho is echo on a transport.Conn.
type connEcho struct{ transport.Conn }

func TestSecure(t *testing.T) {
	all := scenes(t)
	eachNetwork(t, func(t *testing.T, in func(string, time.Time, func(transport.Conn) error) error) {
		for _, s := range all {
			t.Run(s.name, func(t *testing.T) {
				client, addr := s.client(t), s.addr(t)
				deadline := time.Now().Add(testkit.Patience)
				if s.is != nil {
					deadline = time.Now().Add(50 * time.Millisecond)
				}
				err := in(addr, deadline, func(c transport.Conn) error {
					secured, err := client.Secure(c, s.hostOf(), hostport.At(netip.MustParseAddrPort(addr)))
					if err != nil {
						if s.late {
							t.Error("the handshake failed, not what came after it")
						}
						c.Close()
						return err
					}
					defer secured.Close()
					err = echo(connEcho{secured}, "hello")
					if told := client.Rejection(err); told != nil {
						err = told
					}
					return err
				})
				judge(t, s, err)
				if s.is != nil && !errors.Is(err, s.is) {
					t.Errorf("%v is not %v", err, s.is)
				}
			})
		}
	})
}

// TestSecureResumption: sessions are resumed by each server's own tickets, also those
// that came with the answer to the first request.
func TestSecureResumption(t *testing.T) {
	ca := testca.New(t)
	pair := ca.Issue("chat.internal")
	eachNetwork(t, func(t *testing.T, in func(string, time.Time, func(transport.Conn) error) error) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tls.VersionName(version), func(t *testing.T) {
				client, err := New(Options{CA: ca.File()}, nil)
				if err != nil {
					t.Fatal(err)
				}
				servers := []*server{
					serve(t, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MaxVersion: version}),
					serve(t, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MaxVersion: version}),
				}
				for range 3 {
					for _, s := range servers {
						err := in(s.addr, time.Now().Add(testkit.Patience), func(c transport.Conn) error {
							secured, err := client.Secure(c, "chat.internal", hostport.At(netip.MustParseAddrPort(s.addr)))
							if err != nil {
								return err
							}
							defer secured.Close()
							return echo(connEcho{secured}, "hello")
						})
						if err != nil {
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
	})
}
