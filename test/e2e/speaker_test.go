//go:build unix

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
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
	manner manner
	ledger *ledger // where a server notes how far it is; nil where it doesn't

	stop     chan struct{} // closed: no more messages, send "end"
	stopOnce sync.Once
	over     chan struct{} // closed: the stream has ended
	whole    sync.Mutex    // held for the length of a message, fragments and all
	sent     int           // whole messages; guarded by whole
	received atomic.Int64  // and the number of the next

	arrivals     []time.Time // of messages; valid at the end
	gaps, missed int         // where messages are missing, and how many
}

// manner is how the two ends of a session speak.
type manner struct {
	pause    time.Duration // between two messages, on average
	broken   int           // one in so many messages comes in pieces
	unbroken bool          // the server writes each message at once, so that it can't die inside one
	lossy    bool          // messages may be missing, though not be doubled or out of order
}

// usual is the manner of most tests, and what counts where a manner says nothing.
var usual = manner{pause: 500 * time.Millisecond, broken: 4}

func newSpeaker(w *wire, m manner) *speaker {
	m.pause, m.broken = cmp.Or(m.pause, usual.pause), cmp.Or(m.broken, usual.broken)
	return &speaker{wire: w, opened: time.Now(), manner: m, stop: make(chan struct{}), over: make(chan struct{})}
}

// ending is how a speaker's connection came to its end.
type ending struct {
	Sent, Received int
	Gaps, Missed   int // in Received: where messages are missing, and how many
	Code           int // of the Close that came; 1006 where there was none
	Reason         string
	Complete       bool   // the other side said "end", and its number fits
	Fault          string // what was wrong; "" if nothing

	Reattach string // a server's: why the session came to it, as the balancer said
	Moved    bool   // a server's: it was told that the session goes on elsewhere

	at time.Time // of the Close
}

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
		e.Moved = s.ledger != nil && c.code == 1012
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
	e.Gaps, e.Missed = s.gaps, s.missed
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
		if err := s.check(text); err != nil {
			return err
		}
	}
}

// check takes a message for the next one.
func (s *speaker) check(text string) error {
	next := int(s.received.Load())
	got := next
	if s.manner.lossy {
		number, _, _ := strings.Cut(text, " ")
		got, _ = strconv.Atoi(number)
	}
	if want := numbered(max(got, next)); text != want {
		return fmt.Errorf("got message %.30q of %d bytes, want %.30q of %d", text, len(text), want, len(want))
	}
	if got > next {
		s.gaps++
		s.missed += got - next
	}
	s.arrivals = append(s.arrivals, time.Now())
	s.received.Store(int64(got) + 1)
	s.ledger.received(got + 1)
	return nil
}

// answerClose ends the closing handshake, RFC 6455 §7.1: the Close is
// answered, unless it is the answer, and then the server closes first. A server
// whose session goes on elsewhere has something left to say.
func (s *speaker) answerClose(c *closed) error {
	s.whole.Lock()
	defer s.whole.Unlock()
	if s.ledger != nil && c.code == 1012 {
		if err := errors.Join(s.sendNumbered(), s.ledger.release()); err != nil {
			return err
		}
	}
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
	return strconv.Itoa(n) + " " + letters[n%len(letters)][:size]
}

// letters are what messages are filled with.
var letters = func() (all [26]string) {
	for i := range all {
		all[i] = strings.Repeat(string(rune('a'+i)), 1<<17)
	}
	return all
}()

func (s *speaker) send() {
	next := time.Now()
	if s.sent == 0 { // or a server goes on where another was
		next = next.Add(rand.N(2 * s.manner.pause))
	}
	timer := time.NewTimer(untilBeat(next))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			s.sendNext()
			next = next.Add(s.manner.pause*9/10 + rand.N(s.manner.pause/5))
			if now := time.Now(); next.Before(now) {
				next = now // what a busy machine has missed is not made up for
			}
			timer.Reset(untilBeat(next))
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

// beat is what all speakers go by. Thousands that wake up at moments of their
// own would cost several times as much.
const beat = 20 * time.Millisecond

func untilBeat(at time.Time) time.Duration { return time.Until(at.Truncate(beat)) }

func (s *speaker) sendNext() {
	s.whole.Lock()
	defer s.whole.Unlock()
	select {
	case <-s.stop: // a Close was sent while we waited
	default:
		s.sendNumbered() // the reader learns of errors
	}
}

// sendNumbered sends the next message: some in two fragments, with pauses
// between the fragments and in the middle of a frame, where nothing may be put
// in by the balancer. whole is held.
func (s *speaker) sendNumbered() error {
	if err := s.ledger.sent(s.sent + 1); err != nil {
		return err
	}
	text := []byte(numbered(s.sent))
	half := len(text) / 2
	first, second := frame{op: opText, payload: text[:half]}, frame{fin: true, op: opContinuation, payload: text[half:]}
	var err error
	switch {
	case (s.sent+1)%s.manner.broken != 0:
		err = s.wire.send(frame{fin: true, op: opText, payload: text})
	case s.manner.unbroken && !s.wire.masks:
		err = s.wire.send(first, second)
	default:
		if err = s.sendInPieces(first); err == nil {
			err = s.wire.send(second)
		}
	}
	if err == nil {
		s.sent++
	}
	return err
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
