//go:build unix

package kit

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// Speaker is one end of a connection on which both sides send numbered messages.
// Each side checks that every message comes exactly once, in order, and with the
// right bytes.
//
// In an orderly end, the client sends "end" with the number of its messages, the
// server answers with "end" and its own number, so that both know whether all
// messages came, and the client closes with 1000.
type Speaker struct {
	wire      *wspeer.Conn
	opened    time.Time
	Behaviour Behaviour
	ledger    *Ledger // a server's saved state of the session; nil if it saves none

	stop     chan struct{} // closed to send "end" and no more messages
	stopOnce sync.Once
	over     chan struct{} // closed when the stream has ended
	whole    sync.Mutex    // held while a message with all its fragments is sent
	sent     int           // whole messages; guarded by whole
	Received atomic.Int64  // messages; also the number of the next one

	Arrivals     []time.Time // of messages; valid after the end
	gaps, missed int         // places where messages are missing, and missing messages
}

// Behaviour is how both ends of a session send messages.
type Behaviour struct {
	pause    time.Duration // between two messages, on average
	broken   int           // one in so many messages is sent in pieces
	Unbroken bool          // the server writes each message with one write, so that it can't die inside one
	Lossy    bool          // messages may be missing, but not doubled or out of order
	TLS      *tls.Config   // of the client; nil is plain HTTP
}

// DefaultBehaviour is what most tests use. Its values replace zeros of others.
var DefaultBehaviour = Behaviour{pause: 500 * time.Millisecond, broken: 4}

func newSpeaker(w *wspeer.Conn, m Behaviour) *Speaker {
	m.pause, m.broken = cmp.Or(m.pause, DefaultBehaviour.pause), cmp.Or(m.broken, DefaultBehaviour.broken)
	return &Speaker{wire: w, opened: time.Now(), Behaviour: m, stop: make(chan struct{}), over: make(chan struct{})}
}

// Ending is how a Speaker's connection ended.
type Ending struct {
	Sent, Received int
	Gaps, Missed   int // places where messages are missing, and missing messages
	Code           int // of the Close that came; 1006 if there was none
	Reason         string
	Complete       bool   // the other side sent "end" with the right number
	Fault          string // what was wrong; "" if nothing

	Reattach string // on a server: the Holdfast-Reattach of the handshake
	Moved    bool   // on a server: it was closed because the session continues elsewhere

	At time.Time // of the Close
}

// Finish begins the orderly end.
func (s *Speaker) Finish() { s.stopOnce.Do(func() { close(s.stop) }) }

// speak runs until the connection has ended, and closes it.
func (s *Speaker) speak() (e Ending) {
	var sending sync.WaitGroup
	sending.Go(s.send)
	err := s.receive(&e)
	e.At = time.Now()
	var c *wspeer.CloseError
	switch {
	case errors.As(err, &c):
		e.Code, e.Reason = c.Code, c.Reason
		e.Moved = s.ledger != nil && c.Code == 1012
		if err := s.answerClose(c); err != nil {
			e.Fault = "after the Close: " + err.Error()
		}
	default:
		e.Code, e.Fault = 1006, err.Error()
	}
	close(s.over)
	s.wire.Close()
	sending.Wait()
	e.Received, e.Sent = int(s.Received.Load()), s.sent
	e.Gaps, e.Missed = s.gaps, s.missed
	if s.wire.Pongs > 0 {
		e.Fault += fmt.Sprintf(" %d pongs came, but no ping was sent", s.wire.Pongs)
	}
	return e
}

// receive checks messages until the stream ends, and returns how it ended.
func (s *Speaker) receive(e *Ending) error {
	for {
		text, err := s.wire.Message()
		if err != nil {
			return err
		}
		if total, ok := strings.CutPrefix(text, "end "); ok {
			if want := fmt.Sprint(s.Received.Load()); total != want {
				return fmt.Errorf("the other side sent %s messages, %s came", total, want)
			}
			e.Complete = true
			if s.wire.Masks {
				err = s.wire.SendClose(1000, "")
			} else {
				s.Finish()
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

// check checks that text is the next message.
func (s *Speaker) check(text string) error {
	next := int(s.Received.Load())
	got := next
	if s.Behaviour.Lossy {
		number, _, _ := strings.Cut(text, " ")
		got, _ = strconv.Atoi(number)
	}
	if want := Numbered(max(got, next)); text != want {
		return fmt.Errorf("got message %.30q of %d bytes, want %.30q of %d", text, len(text), want, len(want))
	}
	if got > next {
		s.gaps++
		s.missed += got - next
	}
	s.Arrivals = append(s.Arrivals, time.Now())
	s.Received.Store(int64(got) + 1)
	s.ledger.received(got + 1)
	return nil
}

// answerClose ends the closing handshake, RFC 6455 §7.1: it answers the Close,
// unless that is an answer itself, and then the server closes the connection
// first. A server whose session continues elsewhere sends one more message.
func (s *Speaker) answerClose(c *wspeer.CloseError) error {
	s.whole.Lock()
	defer s.whole.Unlock()
	if s.ledger != nil && c.Code == 1012 {
		if err := errors.Join(s.sendNumbered(), s.ledger.release()); err != nil {
			return err
		}
	}
	isAnswer := s.wire.Masks && c.Code == 1000
	if !isAnswer {
		if err := s.wire.SendClose(c.Code, c.Reason); err != nil {
			return err
		}
	}
	s.Finish()
	if !s.wire.Masks {
		return nil
	}
	s.wire.SetReadDeadline(time.Now().Add(testkit.Patience))
	return s.wire.ReadEnd()
}

// Numbered returns message n. Sizes vary: in 150 messages, all three length
// encodings of RFC 6455 §5.2 occur.
func Numbered(n int) string {
	size := n * 37 % 400
	switch {
	case n%150 == 149:
		size = 1<<16 + n
	case n%16 == 15:
		size = 5000 + n
	}
	return strconv.Itoa(n) + " " + letters[n%len(letters)][:size]
}

// letters are the contents of messages.
var letters = func() (all [26]string) {
	for i := range all {
		all[i] = strings.Repeat(string(rune('a'+i)), 1<<17)
	}
	return all
}()

func (s *Speaker) send() {
	next := time.Now()
	if s.sent == 0 { // otherwise a server continues the session of another
		next = next.Add(rand.N(2 * s.Behaviour.pause))
	}
	timer := time.NewTimer(untilBeat(next))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			s.sendNext()
			next = next.Add(s.Behaviour.pause*9/10 + rand.N(s.Behaviour.pause/5))
			if now := time.Now(); next.Before(now) {
				next = now // a busy machine doesn't make up for missed messages
			}
			timer.Reset(untilBeat(next))
		case <-s.stop:
			s.whole.Lock()
			defer s.whole.Unlock()
			s.wire.SendText(fmt.Sprintf("end %d", s.sent)) // the reader sees errors
			return
		case <-s.over:
			return
		}
	}
}

// beat is the clock of all speakers. Thousands that wake up at different moments
// would cost several times as much.
const beat = 20 * time.Millisecond

func untilBeat(at time.Time) time.Duration { return time.Until(at.Truncate(beat)) }

func (s *Speaker) sendNext() {
	s.whole.Lock()
	defer s.whole.Unlock()
	select {
	case <-s.stop: // a Close was sent in the meantime
	default:
		s.sendNumbered() // the reader sees errors
	}
}

// sendNumbered sends the next message: some in two fragments, with pauses between
// the fragments and inside a frame, where the balancer must not insert anything.
// The caller holds whole.
func (s *Speaker) sendNumbered() error {
	if err := s.ledger.sent(s.sent + 1); err != nil {
		return err
	}
	text := []byte(Numbered(s.sent))
	half := len(text) / 2
	first, second := wspeer.Frame{Op: wspeer.Text, Payload: text[:half]}, wspeer.Frame{Fin: true, Op: wspeer.Continuation, Payload: text[half:]}
	var err error
	switch {
	case (s.sent+1)%s.Behaviour.broken != 0:
		err = s.wire.Send(wspeer.Frame{Fin: true, Op: wspeer.Text, Payload: text})
	case s.Behaviour.Unbroken && !s.wire.Masks:
		err = s.wire.Send(first, second)
	default:
		if err = s.sendInPieces(first); err == nil {
			err = s.wire.Send(second)
		}
	}
	if err == nil {
		s.sent++
	}
	return err
}

func (s *Speaker) sendInPieces(f wspeer.Frame) error {
	s.wire.Writing.Lock()
	defer s.wire.Writing.Unlock()
	b := s.wire.Encode(f)
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
