//go:build unix

package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// speaker is one end of a connection on which both sides send numbered
// messages and check those that come: each exactly once, in order, with the
// bytes it must have.
//
// An orderly end: the client sends "end" with the number of its messages, the
// server answers with "end" and its own number, so that both know whether the
// last ones came, and the client closes with 1000.
type speaker struct {
	wire   *wire
	opened time.Time

	stop     chan struct{} // closed: no more messages, send "end"
	stopOnce sync.Once
	over     chan struct{} // closed: the stream has ended
	whole    sync.Mutex    // held for the length of a message, fragments and all
	sent     int           // whole messages; guarded by whole
	received atomic.Int64
}

func newSpeaker(w *wire) *speaker {
	return &speaker{wire: w, opened: time.Now(), stop: make(chan struct{}), over: make(chan struct{})}
}

// ending is how a speaker's connection came to its end.
type ending struct {
	Sent, Received int
	Code           int // of the Close that came; 1006 where there was none
	Reason         string
	Complete       bool   // the other side said "end", and its number fits
	Fault          string // what was wrong; "" if nothing

	at time.Time // of the Close
}

// meanPause is between two messages of a speaker.
const meanPause = 500 * time.Millisecond

func (s *speaker) finish() { s.stopOnce.Do(func() { close(s.stop) }) }

// speak returns when the connection has ended. The connection is closed then.
func (s *speaker) speak() (e ending) {
	var sending sync.WaitGroup
	sending.Go(s.send)
	err := s.receive(&e)
	e.at = time.Now()
	var c *closed
	switch {
	case errors.As(err, &c):
		e.Code, e.Reason = c.code, c.reason
		if err := s.answerClose(c); err != nil {
			e.Fault = "after the Close: " + err.Error()
		}
	default:
		e.Code, e.Fault = 1006, err.Error()
	}
	close(s.over)
	s.wire.Close()
	sending.Wait()
	e.Received, e.Sent = int(s.received.Load()), s.sent
	if s.wire.pongs > 0 {
		e.Fault += fmt.Sprintf(" %d pongs came, but no ping was sent", s.wire.pongs)
	}
	return e
}

// receive checks messages until the stream's end, which is its error.
func (s *speaker) receive(e *ending) error {
	for {
		text, err := s.wire.message()
		if err != nil {
			return err
		}
		if total, ok := strings.CutPrefix(text, "end "); ok {
			if want := fmt.Sprint(s.received.Load()); total != want {
				return fmt.Errorf("the other side sent %s messages, %s came", total, want)
			}
			e.Complete = true
			if s.wire.masks {
				err = s.wire.sendClose(1000, "")
			} else {
				s.finish()
			}
			if err != nil {
				return err
			}
			continue
		}
		if want := numbered(int(s.received.Load())); text != want {
			return fmt.Errorf("got message %.30q of %d bytes, want %.30q of %d", text, len(text), want, len(want))
		}
		s.received.Add(1)
	}
}

// answerClose ends the closing handshake, RFC 6455 §7.1: the Close is
// answered, unless it is the answer, and then the server closes first.
func (s *speaker) answerClose(c *closed) error {
	s.whole.Lock()
	defer s.whole.Unlock()
	isAnswer := s.wire.masks && c.code == 1000
	if !isAnswer {
		if err := s.wire.sendClose(c.code, c.reason); err != nil {
			return err
		}
	}
	s.finish()
	if !s.wire.masks {
		return nil
	}
	s.wire.SetReadDeadline(time.Now().Add(patience))
	return s.wire.toEnd()
}

// numbered is message n: sizes vary, and all three length encodings of
// RFC 6455 §5.2 occur where n gets to 150.
func numbered(n int) string {
	size := n * 37 % 400
	switch {
	case n%150 == 149:
		size = 1<<16 + n
	case n%16 == 15:
		size = 5000 + n
	}
	return fmt.Sprintf("%d %s", n, strings.Repeat(string(rune('a'+n%26)), size))
}

func (s *speaker) send() {
	timer := time.NewTimer(rand.N(2 * meanPause))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			s.sendNext()
			timer.Reset(meanPause/2 + rand.N(meanPause))
		case <-s.stop:
			s.whole.Lock()
			defer s.whole.Unlock()
			s.wire.sendText(fmt.Sprintf("end %d", s.sent)) // the reader learns of errors
			return
		case <-s.over:
			return
		}
	}
}

// sendNext sends the next message: every fourth in two fragments, with pauses
// between the fragments and in the middle of a frame, where nothing may be put
// in by the balancer.
func (s *speaker) sendNext() {
	s.whole.Lock()
	defer s.whole.Unlock()
	select {
	case <-s.stop: // a Close was sent while we waited
		return
	default:
	}
	text := []byte(numbered(s.sent))
	var err error
	if s.sent%4 == 3 {
		half := len(text) / 2
		err = s.sendInPieces(frame{op: opText, payload: text[:half]})
		if err == nil {
			err = s.wire.send(frame{fin: true, op: opContinuation, payload: text[half:]})
		}
	} else {
		err = s.wire.send(frame{fin: true, op: opText, payload: text})
	}
	if err == nil {
		s.sent++
	}
}

func (s *speaker) sendInPieces(f frame) error {
	s.wire.writing.Lock()
	defer s.wire.writing.Unlock()
	b := s.wire.encode(f)
	for _, piece := range [][]byte{b[:1], b[1 : len(b)/2], b[len(b)/2:]} {
		if _, err := s.wire.Write(piece); err != nil {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.over:
			return io.ErrClosedPipe
		}
	}
	return nil
}
