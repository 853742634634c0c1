package wsconn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// inbox collects received messages.
type inbox struct{ messages chan string }

func newInbox() inbox { return inbox{make(chan string, 100)} }

func (i inbox) Message(op byte, payload []byte, at time.Time) {
	i.messages <- fmt.Sprintf("%d %s", op, payload)
}

func (i inbox) next(t *testing.T) string {
	t.Helper()
	select {
	case m := <-i.messages:
		return m
	case <-time.After(2 * time.Minute):
		t.Fatal("no message in 2 minutes")
		return ""
	}
}

func dial(t *testing.T, url string, change func(*Dialer)) (*Conn, error) {
	t.Helper()
	d, err := NewDialer(t.Context(), strings.Replace(url, "http", "ws", 1), []Field{{"X-Test", "yes"}, {"Host", "example.com"}}, []string{"chat", "other"})
	if err != nil {
		t.Fatal(err)
	}
	d.Timeout = 5 * time.Second
	if change != nil {
		change(d)
	}
	return d.Dial(t.Context())
}

// serving runs Serve. The returned function waits for its result.
func serving(c *Conn, h Handler) (end func() error) {
	done := make(chan error, 1)
	go func() { done <- c.Serve(h) }()
	return func() error { return <-done }
}

// TestInterop uses another WebSocket implementation as the server, over ws and wss,
// with all lengths of frame headers, pings and closing.
func TestInterop(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Test") != "yes" || r.Host != "example.com" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"other"}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		ws.SetReadLimit(-1)
		for {
			typ, m, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			if string(m) == "ping" {
				reading := ws.CloseRead(r.Context())
				if ws.Ping(reading) == nil {
					_ = ws.Write(r.Context(), typ, []byte("ponged"))
				}
				_ = ws.Close(4001, "enough")
				return
			}
			if err := ws.Write(r.Context(), typ, m); err != nil {
				return
			}
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	for _, url := range []string{plain.URL, secure.URL} {
		c, err := dial(t, url, func(d *Dialer) {
			if d.TLS != nil {
				d.TLS.InsecureSkipVerify = true
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		in := newInbox()
		end := serving(c, in)
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, 3 << 20} {
			m := strings.Repeat("m", size)
			if err := c.Send(frame.OpText, []byte(m)); err != nil {
				t.Fatal(err)
			}
			if got := in.next(t); got != "1 "+m {
				t.Fatalf("%d bytes came back as %d", size, len(got)-2)
			}
		}
		if err := c.Send(frame.OpBinary, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		if got := in.next(t); got != "2 ponged" {
			t.Errorf("got %q, want the pong to be reported", got)
		}
		var closed *CloseError
		if err := end(); !errors.As(err, &closed) || closed.Code != 4001 || closed.Reason != "enough" {
			t.Errorf("ended with %v, want 4001", err)
		}
	}
}

// rawServer answers each handshake with the bytes that answer returns for its
// Sec-WebSocket-Key, and then waits for the client to disconnect.
func rawServer(t *testing.T, answer func(key string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				fmt.Fprint(c, answer(req.Header.Get("Sec-WebSocket-Key")))
				if tcp := c.(*net.TCPConn); answer("") != "" {
					_ = tcp.CloseWrite()
				}
				_, _ = io.Copy(io.Discard, c)
			}
			c.Close()
		}
	}()
	return "ws://" + l.Addr().String()
}

func switching(key, more string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " + AcceptKey(key) + "\r\n" + more + "\r\n"
}

func TestHandshakes(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(key string) string
		want   string // part of the error; "" for success
	}{
		{"valid", func(k string) string { return switching(k, "") }, ""},
		{"after an interim response", func(k string) string { return "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + switching(k, "") }, ""},
		{"a long head", func(k string) string { return switching(k, "X-Long: "+strings.Repeat("x", 5000)+"\r\n") }, ""},
		{"an offered subprotocol", func(k string) string { return switching(k, "Sec-WebSocket-Protocol: other\r\n") }, ""},
		{"another subprotocol", func(k string) string { return switching(k, "Sec-WebSocket-Protocol: third\r\n") }, "subprotocol"},
		{"an extension", func(k string) string { return switching(k, "Sec-WebSocket-Extensions: x\r\n") }, "extension"},
		{"a wrong key", func(string) string { return switching("x", "") }, "Sec-WebSocket-Accept"},
		{"no upgrade", func(k string) string { return strings.Replace(switching(k, ""), "Upgrade: websocket\r\n", "", 1) }, "Upgrade"},
		{"a refusal", func(string) string { return "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n" }, "503 Service Unavailable"},
		{"not HTTP", func(string) string { return "220 smtp.example.com\r\n\r\n" }, "malformed"},
		{"truncated", func(k string) string { return switching(k, "")[:40] }, "EOF"},
		{"a head that is too long", func(string) string { return "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10) }, "64 KiB"},
		{"no response", func(string) string { return "" }, "i/o timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws, err := dial(t, rawServer(t, c.answer), func(d *Dialer) {
				if c.want == "i/o timeout" {
					d.Timeout = 50 * time.Millisecond
				}
			})
			if err == nil {
				ws.Close()
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestDialFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var failed *DialError
	if _, err := dial(t, "ws://"+l.Addr().String(), nil); !errors.As(err, &failed) || failed.Step != "connect" {
		t.Errorf("connection refused: %v", err)
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	if _, err := dial(t, secure.URL, nil); !errors.As(err, &failed) || failed.Step != "TLS" {
		t.Errorf("an unknown certificate: %v", err)
	}
	var status *StatusError
	if _, err := dial(t, secure.URL, func(d *Dialer) { d.TLS = &tls.Config{InsecureSkipVerify: true} }); !errors.As(err, &status) || status.Status != 404 {
		t.Errorf("no such page: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d, err := NewDialer(t.Context(), rawServer(t, func(string) string { return "" }), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	for _, url := range []string{"http://x/", "ws://", "ws://127.0.0.1/#x", "::", "ws://no-such-host.invalid/"} {
		if _, err := NewDialer(t.Context(), url, nil, nil); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
}

func TestFrames(t *testing.T) {
	text := func(s string) string { return string(AppendFrame(nil, frame.OpText, []byte(s))) }
	for _, c := range []struct {
		name, frames string
		want         []string
		err          string
	}{
		{"none", "", nil, "EOF"},
		{"several at once", text("a") + text("b"), []string{"1 a", "1 b"}, "EOF"},
		{"fragments around a pong", "\x01\x01a\x8a\x00\x00\x01b\x80\x01c" + text("d"), []string{"1 abc", "1 d"}, "EOF"},
		{"Close without a code", "\x88\x00", nil, "without a code"},
		{"Close", "\x88\x02\x03\xf4" + text("late"), nil, "with 1012"},
		{"masked", "\x81\x81abcdx", nil, "masking"},
		{"a reserved bit", "\xc1\x00", nil, "reserved bit"},
		{"a reserved opcode", "\x83\x00", nil, "reserved opcode"},
		{"a continuation without a message", "\x80\x00", nil, "fragment"},
		{"a message within a fragmented one", "\x01\x00\x81\x00", nil, "fragment"},
		{"a fragmented ping", "\x09\x00", nil, "control frame"},
		{"a Close with one byte", "\x88\x01\x03", nil, "one byte"},
		{"too long", text(strings.Repeat("x", 1001)), nil, "1001 bytes"},
		{"fragments that are too long together", "\x01\x7e\x02\x58" + strings.Repeat("x", 600) + "\x80\x7e\x02\x58" + strings.Repeat("x", 600), nil, "longer than any"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws, err := dial(t, rawServer(t, func(k string) string { return switching(k, "") + c.frames }), func(d *Dialer) { d.MaxMessage = 1000 })
			if err != nil {
				t.Fatal(err)
			}
			in := newInbox()
			err = ws.Serve(in)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("ended with %v, want %q", err, c.err)
			}
			close(in.messages)
			var got []string
			for m := range in.messages {
				got = append(got, m)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Send to a peer that doesn't read never blocks and uses limited memory. When the peer
// reads again, it gets everything in order.
func TestSendNeverBlocks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	c := Accepted(near, nil, 0)
	var want bytes.Buffer
	for i := 0; ; i++ {
		p := bytes.Repeat([]byte{byte(i)}, 50_000)
		err := c.Send(frame.OpBinary, p)
		if errors.Is(err, ErrBacklog) {
			break
		}
		if err != nil || want.Len() > 100<<20 {
			t.Fatalf("after %d bytes: %v", want.Len(), err)
		}
		want.Write(AppendFrame(nil, frame.OpBinary, p))
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("what came is not what was sent")
	}
	if err := c.SendWaiting(frame.OpText, []byte("more")); err != nil {
		t.Errorf("after the peer has read: %v", err)
	}
	c.Close()
	if err := c.Send(frame.OpText, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
