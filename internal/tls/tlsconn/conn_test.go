package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// gate is a client's connection that can keep what is written.
type gate struct {
	net.Conn
	mu   sync.Mutex
	hold bool
	kept []byte
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hold {
		g.kept = append(g.kept, p...)
		return len(p), nil
	}
	return g.Conn.Write(p)
}

// close keeps what is written from now on.
func (g *gate) close() { g.mu.Lock(); g.hold = true; g.mu.Unlock() }

// let writes n bytes of what was kept; -1 means all, and the gate is open after it.
func (g *gate) let(t testing.TB, n int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if n < 0 {
		n, g.hold = len(g.kept), false
	}
	if _, err := g.Conn.Write(g.kept[:n]); err != nil {
		t.Error(err)
	}
	g.kept = g.kept[n:]
}

func dialGate(t testing.TB, c net.Conn, config *tls.Config) (*tls.Conn, *gate) {
	g := &gate{Conn: c}
	conn := tls.Client(g, config)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn, g
}

// versions calls test with the client's configuration for each version of TLS.
func versions(t *testing.T, p *pki, test func(t *testing.T, config *tls.Config)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			config := p.clientConfig()
			config.MaxVersion = version
			test(t, config)
		})
	}
}

// engine serves what a Conn has released as an engine does: it echoes.
func engine(t testing.TB, r Released) {
	defer r.Inner.Close()
	layer := tlsrec.NewLayer(4)
	src, out := r.Cipher, append([]byte(nil), r.Plain...)
	plain, in := make([]byte, 64<<10), make([]byte, 16<<10)
	for {
		n, used, err := layer.Open(&r.State, plain, src)
		out = append(out, plain[:n]...)
		src = src[used:]
		if len(out) > 0 {
			r.Inner.Write(layer.Seal(&r.State, nil, out))
			out = out[:0]
		}
		if err == tlsrec.ErrClosed {
			r.Inner.Write(layer.SealAlert(&r.State, nil, tlsrec.AlertCloseNotify))
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		if n, err = r.Inner.Read(in); err != nil {
			t.Error(err)
			return
		}
		src = append(src, in[:n]...)
	}
}

// TestRelease: an engine takes over at once, after some data, or in the middle of
// records; the client's first data may come together with the end of its handshake.
func TestRelease(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			for _, read := range []int{0, 1, 5, 300, 2000, 20_000} {
				released := make(chan struct{}, 1)
				to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
					got := make([]byte, read)
					if _, err := io.ReadFull(c, got); err != nil {
						t.Error(err)
					}
					c.Write(got)
					r := c.Release()
					c.Close() // does nothing
					if _, err := c.Read(got); !errors.Is(err, net.ErrClosed) && len(got) > 0 {
						t.Errorf("read after Release: %v", err)
					}
					released <- struct{}{}
					engine(t, r)
				})
				g := &gate{Conn: dial(t, to)}
				c := tls.Client(g, config)
				data := random(40_000)
				if config.MaxVersion == tls.VersionTLS13 {
					// Its Finished waits for the first data.
					g2 := &finished{gate: g}
					c = tls.Client(g2, config)
				}
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
				go c.Write(data)
				got := make([]byte, len(data))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("after %d bytes: %v", read, err)
				}
				<-released
				wantEcho(t, c)
				c.CloseWrite()
				wantEOF(t, c)
			}
		})
	})
}

// finished keeps the second flight of a client until the third write.
type finished struct {
	*gate
	writes int
}

func (f *finished) Write(p []byte) (int, error) {
	switch f.writes++; f.writes {
	case 2:
		f.gate.close()
	case 3:
		f.gate.kept = append(f.gate.kept, p...)
		all := f.gate.kept
		f.gate.kept, f.gate.hold = nil, false
		_, err := f.gate.Conn.Write(all)
		return len(p), err
	}
	return f.gate.Write(p)
}

// TestReadSizes: whatever the size of the reader's buffer.
func TestReadSizes(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			for _, size := range []int{1, 7, 255, 256, 1000, 16 << 10, 64 << 10} {
				data := random(min(50_000, 300*size))
				got := make(chan []byte, 1)
				to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
					if n, err := c.Read(nil); n != 0 || err != nil {
						t.Errorf("read of nothing: %d, %v", n, err)
					}
					var all []byte
					for buf := make([]byte, size); ; {
						n, err := c.Read(buf)
						all = append(all, buf[:n]...)
						if err != nil {
							if err != io.EOF || !c.HungUp() {
								t.Errorf("at the end: %v", err)
							}
							break
						}
					}
					got <- all
				})
				c := dialTLS(t, to, config)
				for b := data; len(b) > 0; {
					n := min(len(b), 1+size*3/2)
					c.Write(b[:n])
					b = b[n:]
				}
				c.CloseWrite()
				if !bytes.Equal(testkit.Receive(t, "all is read", got), data) {
					t.Errorf("with buffers of %d bytes other data came", size)
				}
			}
		})
	})
}

// TestBrokenRecords: the client gets the right alert, and the reader no plaintext.
func TestBrokenRecords(t *testing.T) {
	p := newPKI(t)
	for _, test := range []struct {
		name   string
		damage func(record []byte) []byte
		alert  string
	}{
		{"changed", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "bad record MAC"},
		{"of another type", func(b []byte) []byte { b[0] = 20; return b }, "unexpected message"},
		{"too long", func(b []byte) []byte { b[3], b[4] = 0xff, 0xff; return b[:recordHeader] }, "record overflow"},
		{"cut", func(b []byte) []byte { b[4]--; return b[:len(b)-1] }, "bad record MAC"},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachNetwork(t, func(t *testing.T, n transport.Network) {
				versions(t, p, func(t *testing.T, config *tls.Config) {
					for _, detached := range []bool{false, true} {
						failed := make(chan error, 1)
						to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
							var r io.ReadWriteCloser = c
							if detached {
								nc, err := c.Detach()
								if err != nil {
									t.Error(err)
									return
								}
								r = nc
							}
							n, err := r.Read(make([]byte, 100))
							if n > 0 {
								t.Errorf("read %d bytes", n)
							}
							if _, again := r.Read(make([]byte, 100)); again != err {
								t.Errorf("%v, and then %v", err, again)
							}
							if n, err := r.Write([]byte("x")); n > 0 || err == nil {
								t.Error("something was written after the alert")
							}
							failed <- err
							io.Copy(io.Discard, readerOf(r)) // not a reset
							r.Close()
						})
						c, g := dialGate(t, dial(t, to), config)
						g.close()
						io.WriteString(c, "hello")
						g.kept = test.damage(g.kept)
						g.let(t, -1)
						var record *tlsrec.Error
						if err := testkit.Receive(t, "reading fails", failed); !errors.As(err, &record) || record.FromPeer {
							t.Errorf("read: %v", err)
						}
						if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), test.alert) {
							t.Errorf("the client got %v, want %s", err, test.alert)
						}
						c.Close()
					}
				})
			})
		})
	}
}

// readerOf is nothing but Read of what is below r, until its client ends.
func readerOf(r io.ReadWriteCloser) io.Reader {
	if nc, ok := r.(*NetConn); ok {
		return nc.NetConn()
	}
	return &onlyRead{r.(*Conn).Inner()}
}

type onlyRead struct{ c transport.Conn }

func (r *onlyRead) Read(p []byte) (int, error) { return r.c.Read(p) }

// TestEndWithoutCloseNotify: between records it is the end for a server; within one it
// is not.
func TestEndWithoutCloseNotify(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			for _, part := range []int{0, 1, 5, 10} {
				ended := make(chan error, 1)
				to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
					_, err := c.Read(make([]byte, 100))
					ended <- err
				})
				conn := dial(t, to)
				c, g := dialGate(t, conn, config)
				g.close()
				io.WriteString(c, "hello")
				g.let(t, part)
				conn.CloseWrite()
				err := testkit.Receive(t, "it ends", ended)
				if part == 0 && err != io.EOF || part > 0 && (err == io.EOF || !errors.Is(err, io.ErrUnexpectedEOF)) {
					t.Errorf("after %d bytes of a record: %v", part, err)
				}
			}
		})
	})
}

// TestClose: a peer gets a close_notify, from Close as from CloseWrite.
func TestClose(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			ends := map[string]func(c *Conn) error{
				"Close":      (*Conn).Close,
				"CloseWrite": (*Conn).CloseWrite,
				"Close of what was detached": func(c *Conn) error {
					nc, err := c.Detach()
					if err != nil {
						return err
					}
					defer nc.Close()
					return nc.Close()
				},
				"CloseWrite of what was detached": func(c *Conn) error {
					nc, err := c.Detach()
					if err != nil {
						return err
					}
					defer nc.Close()
					return nc.(*NetConn).CloseWrite()
				},
			}
			for name, end := range ends {
				to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
					io.WriteString(c, "hello")
					if err := end(c); err != nil && !errors.Is(err, net.ErrClosed) {
						t.Errorf("%s: %v", name, err)
					}
				})
				secured(t, n, to, NewConfig(config), func(c *Conn) {
					got := make([]byte, 5)
					if _, err := io.ReadFull(c, got); err != nil {
						t.Error(err)
					}
					if _, err := c.Read(got); err != io.EOF {
						t.Errorf("%s: the peer got %v", name, err)
					}
				})
			}
		})
	})
}

// TestDeadline: it applies to reading and writing, and what was begun goes on after
// it.
func TestDeadline(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			late := make(chan struct{})
			to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
				c.SetDeadline(time.Now().Add(100 * time.Millisecond))
				buf := make([]byte, 5)
				if _, err := io.ReadFull(c, buf); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("read: %v", err)
				}
				close(late)
				c.SetDeadline(time.Now().Add(testkit.Patience))
				if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
					t.Errorf("then %q, %v", buf, err)
				}
			})
			c, g := dialGate(t, dial(t, to), config)
			g.close()
			io.WriteString(c, "hello")
			g.let(t, 10)
			<-late
			g.let(t, -1)
			c.Read(make([]byte, 1))
		})
	})
}

// TestPark: a connection goes on where it was, even within a record.
func TestPark(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			parked, read := make(chan transport.Parked, 1), make(chan struct{}, 1)
			to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
				// The first record, and some of the second.
				first := make([]byte, 3)
				if _, err := io.ReadFull(c, first); err != nil {
					t.Error(err)
				}
				meta := c.Meta()
				park, err := c.Park(first, func(again transport.Conn) {
					c := again.(*Conn)
					if m := c.Meta(); m != meta {
						t.Errorf("%+v, was %+v", m, meta)
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(testkit.Patience))
					echo(t)(c)
				}, func() { t.Error("it has gone") })
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("write to what is parked: %v", err)
				}
				parked <- park
				read <- struct{}{}
			})
			c, g := dialGate(t, dial(t, to), config)
			g.close()
			io.WriteString(c, "hello ")
			io.WriteString(c, "from ")
			n := len(g.kept)
			io.WriteString(c, "here")
			g.let(t, n+7)
			park := testkit.Receive(t, "it is parked", parked)
			<-read
			g.let(t, -1)
			park.Resume()
			got := make([]byte, len("hello from here"))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello from here" {
				t.Fatalf("read %q, %v", got, err)
			}
			wantEcho(t, c)
			c.Close()
		})
	})
}

// TestParkFails: the caller still has the connection.
func TestParkFails(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		gone := make(chan struct{})
		closed := make(chan error, 2)
		to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
			_, err := c.Park(nil, func(transport.Conn) { t.Error("resumed") }, func() { close(gone) })
			if err == nil {
				return
			}
			close(gone)
			closed <- c.Close()
		})
		dialTLS(t, to, p.clientConfig()).NetConn().Close()
		testkit.Receive(t, "it has gone", gone)
		select {
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
		default:
		}
	})
}

// TestDetach: a net.Conn for two goroutines, with bytes that came before.
func TestDetach(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			served := make(chan error, 1)
			to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
				first := make([]byte, 3)
				io.ReadFull(c, first)
				facts := c.Facts()
				nc, err := c.Detach()
				if err != nil {
					served <- err
					return
				}
				if _, err := c.Detach(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("detached twice: %v", err)
				}
				go func() {
					defer nc.Close()
					d := nc.(*NetConn)
					if m := d.Meta(); d.Facts() != facts || m.TLS != facts || m.ListenerName() != "public" ||
						d.LocalAddr().String() != d.NetConn().LocalAddr().String() || d.RemoteAddr() == nil {
						t.Errorf("%+v", m)
					}
					nc.SetDeadline(time.Now().Add(testkit.Patience))
					nc.Write(first)
					_, err := io.Copy(struct{ io.Writer }{nc}, nc)
					served <- err
				}()
			})
			c := dialTLS(t, to, config)
			io.WriteString(c, "hello")
			got := make([]byte, 5)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
				t.Fatalf("read %q, %v", got, err)
			}
			wantEcho(t, c)
			c.CloseWrite()
			wantEOF(t, c)
			if err := testkit.Receive(t, "it ends", served); err != nil {
				t.Error(err)
			}
		})
	})
}

// detached returns both ends of a connection, ours as a NetConn.
func detached(t testing.TB, n transport.Network, p *pki, config *tls.Config) (*NetConn, *tls.Conn, *gate) {
	t.Helper()
	conns := make(chan *NetConn, 1)
	to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
		nc, err := c.Detach()
		if err != nil {
			t.Error(err)
		}
		conns <- nc.(*NetConn)
	})
	c, g := dialGate(t, dial(t, to), config)
	nc := testkit.Receive(t, "it is detached", conns)
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(testkit.Patience))
	return nc, c, g
}

// TestFullDuplex: much data both ways at the same time.
func TestFullDuplex(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			nc, c, _ := detached(t, n, p, config)
			var wg sync.WaitGroup
			for _, pair := range [][2]net.Conn{{nc, c}, {c, nc}} {
				data := random(1 << 20)
				wg.Go(func() {
					if _, err := pair[0].Write(data); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					got := make([]byte, len(data))
					if _, err := io.ReadFull(pair[1], got); err != nil || !bytes.Equal(got, data) {
						t.Errorf("other data came, %v", err)
					}
				})
			}
			wg.Wait()
			// A Read that waits ends with Close.
			var ended atomic.Bool
			wg.Go(func() {
				nc.Read(make([]byte, 1))
				ended.Store(true)
			})
			nc.Close()
			wg.Wait()
			if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read after Close: %v", err)
			}
			if _, err := nc.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("write after Close: %v", err)
			}
		})
	})
}

// TestWriteGoesOn: after its deadline a Write can go on with the rest, and nothing is
// lost or sent twice.
func TestWriteGoesOn(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			nc, c, g := detached(t, n, p, config)
			nc.NetConn().(*net.TCPConn).SetWriteBuffer(64 << 10)
			g.Conn.(*net.TCPConn).SetReadBuffer(256 << 10)
			data := random(8 << 20)
			left, timeouts := data, 0
			for timeouts < 3 {
				nc.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
				n, err := nc.Write(left)
				left = left[n:]
				if err == nil {
					break
				}
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				timeouts++
			}
			if timeouts < 3 {
				t.Fatal("8 MiB were written though nobody reads")
			}
			got := make(chan []byte, 1)
			go func() {
				b := make([]byte, len(data))
				io.ReadFull(c, b)
				got <- b
			}()
			nc.SetWriteDeadline(time.Now().Add(testkit.Patience))
			for _, p := range [][]byte{left, nil} {
				if n, err := nc.Write(p); n != len(p) || err != nil {
					t.Fatalf("wrote %d of %d, %v", n, len(p), err)
				}
			}
			if !bytes.Equal(testkit.Receive(t, "all has come", got), data) {
				t.Error("other data came")
			}
		})
	})
}

// TestAdopt: a connection comes back from net/http with what was read there, and with
// a record that has begun.
func TestAdopt(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		versions(t, p, func(t *testing.T, config *tls.Config) {
			nc, c, g := detached(t, n, p, config)
			g.close()
			io.WriteString(c, "hello ")
			io.WriteString(c, "from ")
			whole := len(g.kept)
			io.WriteString(c, "here")
			g.let(t, whole+7)
			buf := make([]byte, 4)
			if _, err := io.ReadFull(nc, buf); err != nil {
				t.Fatal(err)
			}
			// Until the begun record has been read.
			nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			rest := make([]byte, 100)
			have := 0
			for {
				n, err := nc.Read(rest[have:])
				have += n
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			meta := nc.Meta()
			first := append(buf, rest[:have]...)
			adopted := make(chan struct{})
			err := Adopt(n, nc, meta, first, func(c transport.Conn) {
				defer close(adopted)
				defer c.Close()
				if m := c.Meta(); m != meta || m.TLS == nil {
					t.Errorf("%+v, was %+v", m, meta)
				}
				c.SetDeadline(time.Now().Add(testkit.Patience))
				echo(t)(c.(*Conn))
			})
			if err != nil {
				t.Fatal(err)
			}
			g.let(t, -1)
			got := make([]byte, len("hello from here"))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello from here" {
				t.Fatalf("read %q, %v", got, err)
			}
			wantEcho(t, c)
			c.Close()
			<-adopted
		})
	})
}

// refusing is a Network that adopts nothing.
type refusing struct{ transport.Network }

func (refusing) Adopt(net.Conn, transport.Meta, []byte, func(transport.Conn)) error {
	return net.ErrClosed
}

// TestAdoptFails: the caller still has the connection, with all bytes. Connections
// without TLS are the network's alone.
func TestAdoptFails(t *testing.T) {
	p := newPKI(t)
	nc, c, _ := detached(t, newPortable(t), p, p.clientConfig())
	io.WriteString(c, "hello")
	buf := make([]byte, 5)
	io.ReadFull(nc, buf[:2])
	if err := Adopt(refusing{}, nc, nc.Meta(), buf[:2], nil); err != net.ErrClosed {
		t.Error(err)
	}
	if _, err := io.ReadFull(nc, buf[2:]); err != nil || string(buf) != "hello" {
		t.Errorf("read %q, %v", buf, err)
	}
	if err := Adopt(refusing{}, nc.NetConn(), nc.Meta(), nil, nil); err != net.ErrClosed {
		t.Error(err)
	}
}

// TestEarlyBytes: what a client sends while its backend is waited for is read
// afterwards, also once the connection was detached.
func TestEarlyBytes(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		for _, detach := range []bool{false, true} {
			silent := make(chan struct{})
			backend := crypto(t, p.serverConfig(), func(c *tls.Conn) {
				<-silent
				io.Copy(c, c)
			})
			to := listenTLS(t, n, p.serverConfig(), func(c *Conn) {
				b, err := n.Dial(c, hostport.At(backend), time.Now().Add(testkit.Patience))
				if err != nil {
					t.Error(err)
					return
				}
				defer b.Close()
				s, err := Client(b, NewConfig(p.clientConfig()), hostport.At(backend))
				if err != nil {
					t.Error(err)
					return
				}
				c.Write([]byte("go"))
				exchange(t, s)
				s.Close()
				if !detach {
					echo(t)(c)
					return
				}
				nc, err := c.Detach()
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(struct{ io.Writer }{nc}, nc)
				nc.Close()
			})
			c := dialTLS(t, to, p.clientConfig())
			io.ReadFull(c, make([]byte, 2))
			io.WriteString(c, "early bytes")
			close(silent)
			got := make([]byte, len("early bytes"))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "early bytes" {
				t.Errorf("read %q, %v", got, err)
			}
			c.CloseWrite()
			wantEOF(t, c)
		}
	})
}
