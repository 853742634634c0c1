package httpproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

const preface2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func TestHeaderBlocksOfHTTP2(t *testing.T) {
	settings, data := frame(4, 0, 0, ""), frame(0, 0, 1, strings.Repeat("x", 300))
	whole := frame(1, 4, 1, "head")
	begun, more, last := frame(1, 0, 1, "he"), frame(9, 0, 1, "a"), frame(9, 4, 1, "d")
	for _, tt := range []struct {
		name, sent string
		incomplete bool
	}{
		{"nothing", "", false},
		{"a part of the preface", preface2[:5], false},
		{"settings", settings, false},
		{"a header block", settings + whole, false},
		{"a byte of a frame", settings + whole[:1], true},
		{"a part of a block", settings + whole[:11], true},
		{"a block without its end", settings + begun, true},
		{"continued", settings + begun + more, true},
		{"and a part of what continues it", settings + begun + more + last[:4], true},
		{"to its end", settings + begun + more + last, false},
		{"a part of a ping", settings + frame(6, 0, 0, "12345678")[:12], true},
		{"a part of data, which may take long", settings + whole + data[:20], false},
		{"data and a block", settings + whole + data + whole, false},
		{"an empty frame of data", settings + frame(0, 1, 1, ""), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := tt.sent
			if !strings.HasPrefix(sent, "PRI") && sent != "" {
				sent = preface2 + sent
			}
			rapid.Check(t, func(t *rapid.T) { // in whatever pieces it comes
				h, incomplete := headers2{preface: clientPreface}, false
				for rest := []byte(sent); len(rest) > 0; {
					n := rapid.IntRange(1, len(rest)).Draw(t, "bytes")
					incomplete = h.follow(rest[:n])
					rest = rest[n:]
				}
				if incomplete != tt.incomplete {
					t.Errorf("incomplete is %v", incomplete)
				}
			})
		})
	}
}

// A client that sends its header block slowly is cut after the time for a head, although
// it never pauses for long and another request of its connection is under way.
func TestSlowHeaderBlockOfHTTP2(t *testing.T) {
	const get = "\x82\x87\x84\x01\x01a" // in HPACK: GET https://a/ (RFC 7541 §6)
	for name, slow := range map[string]string{
		"a frame":         frame(1, 5, 3, get+strings.Repeat(" ", 1000)),
		"a block":         strings.Join([]string{frame(1, 1, 3, get), strings.Repeat(frame(9, 0, 3, ""), 1000)}, ""),
		"a frame of ping": frame(6, 0, 0, "12345678"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewServer(ServerOptions{Addr: &net.TCPAddr{}, Log: nopLog, Limits: Limits{Head: 5 * time.Second, Idle: time.Hour},
					Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })})
				served := make(chan error)
				go func() { served <- s.Serve() }()
				near, far := net.Pipe()
				s.Hand(near, transport.Meta{TLS: &transport.TLS{Protocol: "h2"}}, nil)
				go io.Copy(io.Discard, far)
				io.WriteString(far, preface2+frame(4, 0, 0, "")+frame(1, 5, 1, get))
				time.Sleep(time.Minute / 2) // nothing comes, and nothing needs to
				began := time.Now()
				var err error
				for i := 0; i < len(slow) && err == nil; i++ {
					_, err = far.Write([]byte(slow[i : i+1]))
					time.Sleep(time.Second / 2)
				}
				if took := time.Since(began); !errors.Is(err, io.ErrClosedPipe) || took < 4*time.Second || took > 7*time.Second {
					t.Errorf("after %v: %v", took, err)
				}
				far.Close()
				s.Shutdown(context.Background())
				<-served
			})
		})
	}
}
