package wspeer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// serve accepts one WebSocket and calls f with it.
func serve(t *testing.T, f func(*Conn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		req, err := http.ReadRequest(in)
		if err != nil {
			t.Error(err)
			return
		}
		c, err := Accept(conn, in, req, "X-Backend: a")
		if err != nil {
			t.Error(err)
			return
		}
		f(c)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

func TestFrameForms(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 1<<16 - 1, 1 << 16, 1 << 20} {
		for _, masked := range []bool{false, true} {
			want := Frame{Fin: size%2 == 0, Op: Text, Payload: bytes.Repeat([]byte("x"), size)}
			b := AppendFrame([]byte("before"), want, masked)
			r := bytes.NewReader(b[len("before"):])
			got, wasMasked, err := ReadFrame(r)
			if err != nil || got.Fin != want.Fin || got.Op != want.Op || !bytes.Equal(got.Payload, want.Payload) || wasMasked != masked || r.Len() != 0 {
				t.Errorf("%d bytes, masked %v: got %v %d, %d bytes, masked %v, %v; %d bytes left",
					size, masked, got.Fin, got.Op, len(got.Payload), wasMasked, err, r.Len())
			}
		}
	}
}

func TestFrameErrors(t *testing.T) {
	whole := AppendFrame(nil, Frame{Fin: true, Op: Text, Payload: []byte("hello")}, true)
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, _, err := ReadFrame(bytes.NewReader(whole[:n])); err != want {
			t.Errorf("a stream that ends after %d bytes gave %v, want %v", n, err, want)
		}
	}
	for _, bad := range []string{"\xc1\x00", "\x81\x7f\x00\x00\x01\x00\x00\x00\x00\x00"} {
		if f, _, err := ReadFrame(strings.NewReader(bad)); err == nil {
			t.Errorf("%x gave %v", bad, f)
		}
	}
}

// A message in fragments, with a ping inside, an echo, and both Close frames.
func TestConversation(t *testing.T) {
	address := serve(t, func(c *Conn) {
		c.SetDeadline(time.Now().Add(testkit.Patience))
		err := c.Send(Frame{Op: Text, Payload: []byte("one, ")}, Frame{Fin: true, Op: Ping, Payload: []byte("p")},
			Frame{Fin: true, Op: Continuation, Payload: []byte("two")})
		if err != nil {
			t.Error(err)
		}
		if text, err := c.Message(); err != nil || text != "hello" || c.Pongs != 1 {
			t.Errorf("the server got %q, %v after %d pongs", text, err, c.Pongs)
		}
		c.SendText("hello")
		_, err = c.Message()
		if e, ok := errors.AsType[*CloseError](err); !ok || e.Code != 1000 || e.Reason != "bye" {
			t.Errorf("the server got %v, want a Close", err)
		}
		c.SendClose(0, "")
	})
	c, res, err := Dial(address, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := res.Header.Get("X-Backend"); got != "a" {
		t.Errorf("X-Backend is %q", got)
	}
	c.SetDeadline(time.Now().Add(testkit.Patience))
	if text, err := c.Message(); err != nil || text != "one, two" || c.Pings != 1 {
		t.Errorf("got %q, %v after %d pings", text, err, c.Pings)
	}
	if err := c.RoundTrip("hello"); err != nil {
		t.Error(err)
	}
	c.SendClose(1000, "bye")
	_, err = c.Message()
	if e, ok := errors.AsType[*CloseError](err); !ok || *e != (CloseError{}) {
		t.Errorf("got %v, want a Close without a code", err)
	}
	if err := c.ReadEnd(); err != nil {
		t.Error(err)
	}
}

// What a peer must not do is an error.
func TestViolations(t *testing.T) {
	for name, frames := range map[string][]Frame{
		"a continuation of nothing": {{Fin: true, Op: Continuation}},
		"a message in a message":    {{Op: Text}, {Fin: true, Op: Text}},
		"a Close in a message":      {{Op: Text}, CloseFrame(1000, "")},
	} {
		var b []byte
		for _, f := range frames {
			b = AppendFrame(b, f, false)
		}
		c := &Conn{In: bufio.NewReader(bytes.NewReader(b)), Masks: true}
		_, err := c.Message()
		if _, closed := errors.AsType[*CloseError](err); err == nil || closed {
			t.Errorf("%s gave %v", name, err)
		}
	}
	for _, masks := range []bool{false, true} {
		b := AppendFrame(nil, Frame{Fin: true, Op: Text}, masks)
		c := &Conn{In: bufio.NewReader(bytes.NewReader(b)), Masks: masks}
		if _, err := c.ReadFrame(); err == nil {
			t.Errorf("a frame with masking %v from a peer that must not", masks)
		}
	}
}

func TestRefusedHandshake(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "full", http.StatusServiceUnavailable)
	})}
	go server.Serve(ln)
	defer server.Close()
	c, res, err := Dial(ln.Addr().String(), "/")
	if c != nil || err == nil || !strings.Contains(err.Error(), "full") || res == nil || res.StatusCode != 503 {
		t.Errorf("got %v, %v, %v", c, res, err)
	}
}
