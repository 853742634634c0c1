package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

const (
	healthPause = 100 * time.Millisecond // between two health checks during a drain
	// refusalGrace is the time in which a server must stop accepting sessions
	// after it has begun to close them.
	refusalGrace = 200 * time.Millisecond
	// lateNotice is the time after the first Close from which a 503 isn't a
	// notice any more. A 503 before that is a notice that is too short.
	lateNotice = 500 * time.Millisecond
)

// timeline records a drain. Times are zero for what was not observed.
type timeline struct {
	began          time.Time // when the signal was sent, or the first sign of the drain
	firstUnhealthy time.Time // the first health check that returned 503
	lastHealth     string    // the last result of a health check
	endings        []ending
	stillOpen      int // number of sessions that never ended

	noticeTested bool  // the next two are valid
	handshakeErr error // of a handshake right after the first 503
	pingErr      error // of a ping right after the first 503

	refusalTested bool  // the next is valid
	refused       error // of a handshake after the first close; nil if it was accepted

	exited time.Duration // how long after the last session; negative for never
}

// ending records how a session ended.
type ending struct {
	at  time.Time
	err error // a *closed, or another error if there was no Close
}

// drain stops the server and watches it.
func (d *doctor) drain(ctx context.Context) {
	if d.o.PID == 0 && !d.o.Drain {
		for check := checkDrainHealth; check < checks; check++ {
			d.record(check, skipped("give --pid PID, or give --drain and stop the server yourself"))
		}
		return
	}
	w := &watch{doctor: d, ponged: make(chan struct{}, 1), ended: make(chan ending, d.o.Sessions+1), healthAnswers: make(chan healthAnswer)}
	ctx, cancel := context.WithCancel(ctx)
	defer w.running.Wait()
	defer cancel()
	for range d.o.Sessions {
		if err := w.open(ctx); err != nil {
			f := d.noSession(err)
			f.found = fmt.Sprintf("session %d of %d: %s", w.sessions+1, d.o.Sessions, f.found)
			d.record(checkDrainHealth, f)
			for check := checkDrainNotice; check < checks; check++ {
				d.record(check, skipped("not all sessions could be opened"))
			}
			return
		}
	}
	t, err := w.watch(ctx)
	if err != nil {
		d.record(checkDrainHealth, fix(err.Error(), "send SIGTERM to the server itself, not to a shell or npm that started it, and make the server handle it"))
		for check := checkDrainNotice; check < checks; check++ {
			d.record(check, skipped("there was no drain"))
		}
		return
	}
	d.record(checkDrainHealth, d.judgeHealth(t))
	d.record(checkDrainNotice, d.judgeNotice(t))
	d.record(checkDrainClose, judgeCloses(t))
	d.record(checkDrainSpread, judgeSpread(t))
	d.record(checkDrainRefuse, judgeRefusal(t))
	d.record(checkDrainExit, d.judgeExit(t))
}

// watch observes a drain. Except for the readers started by open, it is used by one
// goroutine.
type watch struct {
	*doctor
	running       sync.WaitGroup
	sessions      int
	first         *conn // of the sessions
	ponged        chan struct{}
	ended         chan ending
	healthAnswers chan healthAnswer
}

// healthAnswer is the result of a health check.
type healthAnswer struct {
	at     time.Time
	status int
	err    error
}

// open opens another session, whose end is sent to w.ended.
func (w *watch) open(ctx context.Context) error {
	c, err := w.dial(ctx)
	if err != nil {
		return err
	}
	if w.first == nil {
		w.first = c
	}
	w.sessions++
	w.running.Go(func() {
		defer c.Close()
		var err error
		for err == nil {
			if _, err = c.next(); err == nil && c == w.first {
				select {
				case w.ponged <- struct{}{}:
				default:
				}
			}
		}
		w.ended <- ending{time.Now(), err}
		var goodbye *closed
		if errors.As(err, &goodbye) && c.sendClose(goodbye.code) == nil {
			_ = c.SetReadDeadline(time.Now().Add(maxPongTime))
			_, _ = c.in.ReadByte() // the server must close the connection first, RFC 6455 §7.1.1
		}
	})
	return nil
}

// pollHealth makes health checks until ctx ends.
func (w *watch) pollHealth(ctx context.Context) {
	pause := time.NewTicker(healthPause)
	defer pause.Stop()
	for {
		status, _, err := w.askHealth(ctx)
		select {
		case w.healthAnswers <- healthAnswer{time.Now(), status, err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// signal sends SIGTERM to the server, or asks the user to do so.
func (w *watch) signal() error {
	if w.o.PID == 0 {
		w.progress("drain: %d sessions are open; send SIGTERM to the server now (waiting for %v)", w.sessions, w.o.DrainTimeout)
		return nil
	}
	if err := signalTo(w.o.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM to %d: %w", w.o.PID, err)
	}
	w.progress("drain: %d sessions are open, SIGTERM was sent to %d (waiting for %v)", w.sessions, w.o.PID, w.o.DrainTimeout)
	return nil
}

// ping sends a ping on the first session and waits for the pong.
func (w *watch) ping() error {
	select {
	case <-w.ponged: // an unsolicited one
	default:
	}
	if err := w.first.send(frame.OpPing, nil); err != nil {
		return err
	}
	select {
	case <-w.ponged:
		return nil
	case <-time.After(maxPongTime):
		return fmt.Errorf("no pong within %v", maxPongTime)
	}
}

// watch stops the server and observes it until it has exited or the time is up. It
// returns an error if there was no sign of a drain.
func (w *watch) watch(ctx context.Context) (t timeline, err error) {
	if err := w.signal(); err != nil {
		return t, err
	}
	if w.o.PID != 0 {
		t.began = time.Now()
	}
	if w.o.Health != "" {
		w.running.Go(func() { w.pollHealth(ctx) })
	}
	timeout := time.NewTimer(w.o.DrainTimeout)
	defer timeout.Stop()
	begin := func(at time.Time) {
		if t.began.IsZero() {
			t.began = at
			timeout.Reset(w.o.DrainTimeout)
		}
	}
	var testRefusal <-chan time.Time
	for len(t.endings) < w.sessions || testRefusal != nil {
		select {
		case e := <-w.ended:
			begin(e.at)
			if len(t.endings) == 0 {
				testRefusal = time.After(refusalGrace)
			}
			t.endings = append(t.endings, e)
		case a := <-w.healthAnswers:
			if a.err != nil {
				t.lastHealth = "no answer: " + describeEnd(a.err)
			} else {
				t.lastHealth = fmt.Sprintf("%d", a.status)
			}
			if a.err == nil && a.status == http.StatusServiceUnavailable && t.firstUnhealthy.IsZero() {
				begin(a.at)
				t.firstUnhealthy = a.at
				if len(t.endings) == 0 {
					t.noticeTested = true
					t.handshakeErr, t.pingErr = w.open(ctx), w.ping()
				}
			}
		case <-testRefusal:
			testRefusal = nil
			t.refusalTested = true
			if c, err := w.dial(ctx); err != nil {
				t.refused = err
			} else {
				c.end()
			}
		case <-timeout.C:
			if t.began.IsZero() {
				return t, fmt.Errorf("no sign of a drain in %v", w.o.DrainTimeout)
			}
			t.stillOpen = w.sessions - len(t.endings)
			t.exited = -1
			return t, nil
		case <-ctx.Done():
			return t, ctx.Err()
		}
	}
	t.exited = w.awaitExit(ctx)
	return t, nil
}

// awaitExit returns how long it took until the server exited, or a negative value
// if it is still running after the timeout.
func (w *watch) awaitExit(ctx context.Context) time.Duration {
	began := time.Now()
	poll := time.NewTicker(healthPause)
	defer poll.Stop()
	for time.Since(began) < w.o.Timeout && ctx.Err() == nil {
		if w.o.PID != 0 && hasExited(w.o.PID) || w.o.PID == 0 && w.portIsClosed(ctx) {
			return time.Since(began)
		}
		<-poll.C
	}
	return -1
}

func (w *watch) portIsClosed(ctx context.Context) bool {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", w.target.address)
	if err != nil {
		return ctx.Err() == nil
	}
	c.Close()
	return false
}

// hasExited also reports true for a zombie, which only waits for its parent.
func hasExited(pid int) bool {
	if signalTo(pid, syscall.Signal(0)) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // only on Linux
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}
