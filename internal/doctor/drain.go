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

	"github.com/holdfast-ws/holdfast/internal/frame"
)

const (
	healthPause = 100 * time.Millisecond // between two questions during a drain
	// settling is what a server has, once it closes sessions, to stop taking
	// new ones.
	settling = 200 * time.Millisecond
	// late is when a 503 that comes after the first Close is one that was not
	// meant as a notice. Sooner, it is a notice too short to be seen.
	late = 500 * time.Millisecond
)

// timeline is what was seen of a drain. Times are zero where it was not seen.
type timeline struct {
	began    time.Time // the signal, or the first sign of it
	notified time.Time // health said 503
	instead  string    // what health said last, if it never did
	endings  []ending
	open     int // sessions that never ended

	noticed bool  // the following two are known
	entered error // of a handshake after the 503
	pinged  error // of a ping then

	knocked bool  // after the first session was closed
	refused error // of that handshake; nil where it was taken

	exited time.Duration // after the last session's end; less than 0 for never
}

// ending is how a session ended.
type ending struct {
	at  time.Time
	err error // a *closed, or else it was cut off
}

// drain has the server told to stop, and watches.
func (d *doctor) drain(ctx context.Context) {
	if d.o.PID == 0 && !d.o.Drain {
		for check := checkDrainHealth; check < checks; check++ {
			d.tell(check, skipped("give --pid PID, or --drain and stop the server yourself"))
		}
		return
	}
	w := &watch{doctor: d, ponged: make(chan struct{}, 1), ended: make(chan ending, d.o.Sessions+1), asked: make(chan answer)}
	ctx, cancel := context.WithCancel(ctx)
	defer w.running.Wait()
	defer cancel()
	for range d.o.Sessions {
		if err := w.open(ctx); err != nil {
			f := d.noSession(err)
			f.found = fmt.Sprintf("session %d of %d: %s", w.sessions+1, d.o.Sessions, f.found)
			d.tell(checkDrainHealth, f)
			for check := checkDrainNotice; check < checks; check++ {
				d.tell(check, skipped("not all sessions could be opened"))
			}
			return
		}
	}
	t, err := w.watch(ctx)
	if err != nil {
		d.tell(checkDrainHealth, mend(err.Error(), "send SIGTERM to the server itself, not to a shell or npm around it, and have the server act on it"))
		for check := checkDrainNotice; check < checks; check++ {
			d.tell(check, skipped("there was no drain"))
		}
		return
	}
	d.tell(checkDrainHealth, d.judgeHealth(t))
	d.tell(checkDrainNotice, d.judgeNotice(t))
	d.tell(checkDrainClose, judgeCloses(t))
	d.tell(checkDrainSpread, judgeSpread(t))
	d.tell(checkDrainRefuse, judgeRefusal(t))
	d.tell(checkDrainExit, d.judgeExit(t))
}

// watch is one drain being watched. All but open's readers is done by one
// goroutine.
type watch struct {
	*doctor
	running  sync.WaitGroup
	sessions int
	first    *conn // of the sessions
	ponged   chan struct{}
	ended    chan ending
	asked    chan answer
}

// answer of the health check.
type answer struct {
	at     time.Time
	status int
	err    error
}

// open opens one more session, whose end is told on w.ended.
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
			_ = c.SetReadDeadline(time.Now().Add(promptly))
			_, _ = c.in.ReadByte() // the server hangs up first, RFC 6455 §7.1.1
		}
	})
	return nil
}

// ask asks for the server's health until ctx is done.
func (w *watch) ask(ctx context.Context) {
	pause := time.NewTicker(healthPause)
	defer pause.Stop()
	for {
		status, _, err := w.askHealth(ctx)
		select {
		case w.asked <- answer{time.Now(), status, err}:
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

// signal has the server told to stop.
func (w *watch) signal() error {
	if w.o.PID == 0 {
		w.progress("drain: %d sessions are open; send SIGTERM to the server now (waiting for %v)", w.sessions, w.o.DrainTimeout)
		return nil
	}
	if err := signalTo(w.o.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM to %d: %w", w.o.PID, err)
	}
	w.progress("drain: %d sessions are open, and %d was sent SIGTERM (waiting for %v)", w.sessions, w.o.PID, w.o.DrainTimeout)
	return nil
}

// ping has the first session answer a ping.
func (w *watch) ping() error {
	select {
	case <-w.ponged: // one that nobody asked for
	default:
	}
	if err := w.first.send(frame.OpPing, nil); err != nil {
		return err
	}
	select {
	case <-w.ponged:
		return nil
	case <-time.After(promptly):
		return fmt.Errorf("no pong within %v", promptly)
	}
}

// watch has the server told to stop and looks on until it has ended, or time
// is up. The error is that nothing could be seen of it.
func (w *watch) watch(ctx context.Context) (t timeline, err error) {
	if err := w.signal(); err != nil {
		return t, err
	}
	if w.o.PID != 0 {
		t.began = time.Now()
	}
	if w.o.Health != "" {
		w.running.Go(func() { w.ask(ctx) })
	}
	timeout := time.NewTimer(w.o.DrainTimeout)
	defer timeout.Stop()
	begin := func(at time.Time) {
		if t.began.IsZero() {
			t.began = at
			timeout.Reset(w.o.DrainTimeout)
		}
	}
	var knock <-chan time.Time
	for len(t.endings) < w.sessions || knock != nil {
		select {
		case e := <-w.ended:
			begin(e.at)
			if len(t.endings) == 0 {
				knock = time.After(settling)
			}
			t.endings = append(t.endings, e)
		case a := <-w.asked:
			if a.err != nil {
				t.instead = "no answer: " + cut(a.err)
			} else {
				t.instead = fmt.Sprintf("%d", a.status)
			}
			if a.err == nil && a.status == http.StatusServiceUnavailable && t.notified.IsZero() {
				begin(a.at)
				t.notified = a.at
				if len(t.endings) == 0 {
					t.noticed = true
					t.entered, t.pinged = w.open(ctx), w.ping()
				}
			}
		case <-knock:
			knock = nil
			t.knocked = true
			if c, err := w.dial(ctx); err != nil {
				t.refused = err
			} else {
				c.leave()
			}
		case <-timeout.C:
			if t.began.IsZero() {
				return t, fmt.Errorf("no sign of a drain in %v", w.o.DrainTimeout)
			}
			t.open = w.sessions - len(t.endings)
			t.exited = -1
			return t, nil
		case <-ctx.Done():
			return t, ctx.Err()
		}
	}
	t.exited = w.awaitExit(ctx)
	return t, nil
}

// awaitExit returns how long the server was still there, or less than 0 if it
// still is after a while.
func (w *watch) awaitExit(ctx context.Context) time.Duration {
	began := time.Now()
	poll := time.NewTicker(healthPause)
	defer poll.Stop()
	for time.Since(began) < w.o.Timeout && ctx.Err() == nil {
		if w.o.PID != 0 && hasExited(w.o.PID) || w.o.PID == 0 && w.nobodyListens(ctx) {
			return time.Since(began)
		}
		<-poll.C
	}
	return -1
}

func (w *watch) nobodyListens(ctx context.Context) bool {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", w.target.address)
	if err != nil {
		return ctx.Err() == nil
	}
	c.Close()
	return false
}

// hasExited tells so of a zombie too, which only waits for its parent.
func hasExited(pid int) bool {
	if signalTo(pid, syscall.Signal(0)) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // Linux has it
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}
