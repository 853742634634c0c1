package httpproxy

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// pieceHTTP2 is written at once. A client must accept as many bytes within
// Limits.Send.
const pieceHTTP2 = 16 << 10

// stream is one request of an HTTP/2 connection: its client and its
// ResponseWriter. It adds a timeout to net/http's, which waits for as long as the
// client allows no bytes by flow control (RFC 9113 §5.2).
type stream struct {
	http.ResponseWriter
	conn     *http2Conn
	gone     context.Context // done when the client has reset the stream, or has gone
	refusal  error
	answered bool // before the client was gone
	unsent   bool // something was written after the last flush

	mu    sync.Mutex // guards the following
	over  bool       // ResponseWriter may not be used any more
	timer *time.Timer
}

// WriteHeader is http.ResponseWriter's.
func (s *stream) WriteHeader(status int) {
	s.answered = s.answered || s.gone.Err() == nil
	s.ResponseWriter.WriteHeader(status)
}

// Write is http.ResponseWriter's.
func (s *stream) Write(p []byte) (n int, err error) {
	s.answered = s.answered || s.gone.Err() == nil
	s.unsent = true
	for {
		piece := p[n:min(len(p), n+pieceHTTP2)]
		s.startTimer()
		m, err := s.ResponseWriter.Write(piece)
		s.timer.Stop()
		if n += m; err != nil || n == len(p) {
			return n, err
		}
	}
}

// FlushError is for http.ResponseController.
func (s *stream) FlushError() error {
	s.unsent = false
	s.startTimer()
	defer s.timer.Stop()
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (s *stream) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// startTimer begins the time in which the client must accept what is written.
func (s *stream) startTimer() {
	send := s.conn.server.sendTimeout()
	if s.timer == nil {
		s.timer = time.AfterFunc(send, s.stopWriting)
	} else {
		s.timer.Reset(send)
	}
}

// finish sends what is left. net/http would do that without a timeout.
func (s *stream) finish() {
	if s.unsent {
		s.FlushError()
	}
}

// end is called last.
func (s *stream) end() {
	s.conn.requestEnded(!s.answered)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// stopWriting implements client. It resets the stream.
func (s *stream) stopWriting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		http.NewResponseController(s.ResponseWriter).SetWriteDeadline(longAgo)
	}
}

// about implements client, as do the methods below.
func (s *stream) about() transport.Meta { return s.conn.meta }
func (s *stream) refused() error        { return s.refusal }

// onHalfClosed does nothing: a client that doesn't want its answer resets the
// stream, which ends the request's context.
func (s *stream) onHalfClosed(func()) (forget func()) { return func() {} }

// endWithAnswer does nothing: net/http resets the stream after the answer.
func (s *stream) endWithAnswer() {}

// A login that belongs to a connection can't be made with HTTP/2, where requests
// share one. So a connection with such a login is never kept, nor one that has told its
// backend who the client is: who that is may be different for each request.
func (s *stream) backends() []uint32                              { return nil }
func (s *stream) takeDedicated(*Target) *backendConn              { return nil }
func (s *stream) putDedicated(conn *backendConn, _ time.Duration) { conn.Close() }
