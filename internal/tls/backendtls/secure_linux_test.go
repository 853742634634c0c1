package backendtls

import (
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
				judge(t, s, client, err)
				if s.is != nil && !errors.Is(err, s.is) {
					t.Errorf("%v is not %v", err, s.is)
				}
			})
		}
	})
}

// TestSecureResumption: tickets that came with the answer to the first request are used,
// too.
func TestSecureResumption(t *testing.T) {
	eachNetwork(t, func(t *testing.T, in func(string, time.Time, func(transport.Conn) error) error) {
		testResumption(t, func(client *Client, addr string) error {
			return in(addr, time.Now().Add(testkit.Patience), func(c transport.Conn) error {
				secured, err := client.Secure(c, "chat.internal", hostport.At(netip.MustParseAddrPort(addr)))
				if err != nil {
					return err
				}
				defer secured.Close()
				return echo(connEcho{secured}, "hello")
			})
		})
	})
}
