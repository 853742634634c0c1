package httpproxy

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// HTTP/2 is net/http's own. It takes a connection that is no *tls.Conn as one
// without TLS, which makes no difference: what the handshake has agreed on is in
// transport.Meta. So it shares connections, limits and shutdown with HTTP/1, and
// its security fixes come with Go's, as those of crypto/tls do.
// golang.org/x/net/http2 would be the same code at another version.
//
// It bounds by itself most of what attacks have exhausted elsewhere: CONTINUATION
// frames and fields that decompress to more than HeadBytes, control frames whose
// answers aren't read (10,000), and how many requests are handled at once, also if
// they are reset at once. But each of those may have cost a connection to a backend,
// so their number is bounded here.

const (
	// maxStreams is how many requests a connection may have at once. RFC 9113
	// §6.5.2 recommends at least 100.
	maxStreams = 100
	// What a client may send ahead of what its backend takes: of one request, and
	// of all on a connection.
	maxAhead     = 256 << 10
	maxAheadConn = 512 << 10
	// maxFrame bounds a frame of a client, and so the buffer that its connection keeps.
	// No endpoint may have a lower limit (RFC 9113 §4.2).
	maxFrame = 16 << 10
	// A connection is closed when so many requests, and half of all, were reset
	// before an answer began. Envoy's limits are the same.
	maxTakenBack = 500
	// A client that has sent nothing for so long is asked whether it is there, and
	// taken for gone if it doesn't answer.
	quietHTTP2 = time.Minute
	pingHTTP2  = 15 * time.Second
)

// IsHTTP2 reports whether a client speaks HTTP/2.
func IsHTTP2(m *transport.Meta) bool { return m.TLS != nil && m.TLS.Protocol == "h2" }

// Goodbye is for a client with HTTP/2 that is refused before it has asked for anything:
// an empty SETTINGS frame, with which each server begins (RFC 9113 §3.4), and GOAWAY with
// ENHANCE_YOUR_CALM (§6.8, §7).
var Goodbye = []byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x0b")

// setHTTP2 makes s speak HTTP/2 alone. It has no timeout for writing, since
// http2Conn and stream have.
func setHTTP2(s *http.Server) {
	s.Protocols.SetUnencryptedHTTP2(true)
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          maxStreams,
		MaxReadFrameSize:              maxFrame,
		MaxReceiveBufferPerStream:     maxAhead,
		MaxReceiveBufferPerConnection: maxAheadConn,
		SendPingTimeout:               quietHTTP2,
		PingTimeout:                   pingHTTP2,
	}
}

// http2Conn is a client's connection with HTTP/2 within net/http.
type http2Conn struct {
	served
	headers headers2

	counting  sync.Mutex // guards the following
	streams   int        // requests that have entered, and are under way
	all       int        // requests so far
	takenBack int        // those that the client reset before an answer began
	cut       bool       // for that
}

// Close closes the connection.
func (c *http2Conn) Close() error {
	c.wake()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.Conn.Close()
	c.end()
	return err
}

// enter counts a request. All but one need a place of their own.
func (c *http2Conn) enter() error {
	c.counting.Lock()
	defer c.counting.Unlock()
	if c.streams > 0 && c.server.o.Enter != nil {
		if err := c.server.o.Enter(); err != nil {
			return err
		}
	}
	c.streams++
	return nil
}

// leave ends a request that entered.
func (c *http2Conn) leave() {
	c.counting.Lock()
	defer c.counting.Unlock()
	if c.streams--; c.streams > 0 && c.server.o.Leave != nil {
		c.server.o.Leave()
	}
}

// asked reports whether it has had a request.
func (c *http2Conn) asked() bool {
	c.counting.Lock()
	defer c.counting.Unlock()
	return c.streams+c.all > 0
}

// requestEnded counts a request that has ended, and closes the connection if too many were
// taken back.
func (c *http2Conn) requestEnded(takenBack bool) {
	c.counting.Lock()
	defer c.counting.Unlock()
	c.all++
	if takenBack {
		c.takenBack++
	}
	if c.takenBack >= maxTakenBack && c.takenBack >= c.all/2 && !c.cut {
		c.cut = true
		c.server.o.Log.Debug("an HTTP/2 client takes its requests back; its connection is closed", "client", c.meta.Peer.String(), "requests", c.all)
		c.Conn.Close() // net/http notices
	}
}

// serveHTTP2 is the handler of HTTP/2.
func (s *Server) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(*http2Conn)
	if !ok {
		panic("httpproxy: a request of a connection that isn't ours")
	}
	st := &stream{ResponseWriter: w, conn: c, gone: r.Context()}
	defer st.end()
	if st.refusal = c.enter(); st.refusal == nil {
		defer c.leave()
	}
	if why := malformed(r); why != "" {
		http.Error(st, "400: "+why, http.StatusBadRequest)
	} else {
		s.handle(st, r.WithContext(context.WithValue(r.Context(), clientKey{}, client(st))))
	}
	st.finish()
}

var heads2 = sync.Pool{New: func() any { return new(httphead.Request) }}

// malformed returns what is wrong with a request; "" if nothing is. It must be one
// that would be served in HTTP/1.1, in which backends get it; net/http has checked
// the fields. CONNECT is left to the handler.
func malformed(r *http.Request) string {
	if r.Method == http.MethodConnect {
		return ""
	}
	if r.RequestURI[0] != '/' && r.RequestURI != "*" { // RFC 9113 §8.3.1
		return "the path does not begin with a slash"
	}
	if length := r.Header["Content-Length"]; len(length) > 1 || len(length) == 1 && !isNumber(length[0]) {
		return "Content-Length is not a number"
	}
	head := heads2.Get().(*httphead.Request)
	defer heads2.Put(head)
	line := r.Method + " " + r.RequestURI + " HTTP/1.1\r\nHost: " + r.Host + "\r\n\r\n"
	n, err := head.Parse([]byte(line))
	switch {
	case err != nil:
		return err.Error()
	case n != len(line):
		return "the request is ambiguous"
	}
	return ""
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
