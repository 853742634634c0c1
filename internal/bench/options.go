// Package bench loads WebSocket servers and balancers and tells what came of
// it: latency counted from when each message was due, rates, and failures by
// kind.
//
// A run has targets (the URL, and the servers behind it where --direct names
// them), each with a group of sessions. Messages are sent in windows; with
// several targets short windows take turns, so that what else the machine does
// falls on all of them alike.
package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-ws/holdfast/internal/bench/wsconn"
)

// Mode is what a run does.
type Mode string

const (
	Echo   Mode = "echo"   // every message must come back
	Fanout Mode = "fanout" // every message must reach every session
	Churn  Mode = "churn"  // connect, one echo, close
	Idle   Mode = "idle"   // connect and hold
)

// Options of a run. Defaults are the command line's; zero values mean what is
// said here.
type Options struct {
	URL    string
	Direct []string // the servers without the balancer; may be empty
	Mode   Mode

	Sessions int
	Ramp     float64 // sessions opened a second
	Hold     time.Duration
	Rate     float64 // messages, in churn connections, a second; churn: 0 is as fast as Parallel allows
	Size     int     // bytes of a message
	Text     bool
	Duration time.Duration
	Senders  int // fanout
	Parallel int // churn: connections at a time
	Rounds   int // with Direct: how often the targets take turns

	Capacity    bool
	CapacityP99 time.Duration // a rate counts as sustained up to it
	Trial       time.Duration // of a rate; 0: 2 s

	Timeout      time.Duration // of a handshake, an answer, a closing handshake
	Header       []wsconn.Field
	Subprotocols []string
	Insecure     bool

	// Phase is told when "opening", "holding", "loading", "closing" and
	// "closed" begin, and each capacity trial; the run waits for it. May be nil.
	Phase func(name string)

	Progress io.Writer // nil: none
	Live     bool      // Progress is a terminal: one line, rewritten
}

// Least sizes of a message: its header, and the same in hex digits.
const (
	MinSize     = headerSize
	MinTextSize = 2 * headerSize
	MaxSize     = 16 << 20
)

// Check returns what is wrong with the options, in words of the command line.
func (o *Options) Check() error {
	least := MinSize
	if o.Text {
		least = MinTextSize
	}
	switch {
	case o.Mode != Echo && o.Mode != Fanout && o.Mode != Churn && o.Mode != Idle:
		return fmt.Errorf("--mode %s: must be echo, fanout, churn or idle", o.Mode)
	case o.Sessions < 1:
		return errors.New("--sessions must be at least 1")
	case o.Ramp <= 0:
		return errors.New("--ramp must be more than 0 sessions a second")
	case o.Rate < 0 || o.Rate == 0 && o.Mode != Churn && o.Mode != Idle:
		return errors.New("--rate must be more than 0 a second")
	case o.Size < least || o.Size > MaxSize:
		return fmt.Errorf("--size must be %d to %d bytes, as each message carries its number and time (in hex with --text)", least, MaxSize)
	case o.Duration <= 0:
		return errors.New("--duration must be more than 0")
	case o.Hold < 0:
		return errors.New("--hold must not be negative")
	case o.Timeout <= 0:
		return errors.New("--timeout must be more than 0")
	case o.Mode == Fanout && (o.Senders < 1 || o.Senders > o.Sessions):
		return errors.New("--senders must be 1 to --sessions")
	case o.Mode == Churn && o.Parallel < 1:
		return errors.New("--parallel must be at least 1")
	case len(o.Direct) > 0 && o.Rounds < 1:
		return errors.New("--rounds must be at least 1")
	case o.Capacity && o.Mode != Echo:
		return errors.New("--capacity is found with echoes: leave --mode out")
	case o.Capacity && o.CapacityP99 <= 0:
		return errors.New("--capacity-p99 must be more than 0")
	}
	for _, u := range append([]string{o.URL}, o.Direct...) {
		if _, err := wsconn.ParseURL(u); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) rounds() int {
	if len(o.Direct) == 0 || o.Mode == Idle {
		return 1
	}
	return o.Rounds
}

func (o *Options) prepare(d *wsconn.Dialer) {
	d.Timeout = o.Timeout
	d.MaxMessage = o.Size + 64<<10 // room for greetings of servers
	if d.TLS != nil && o.Insecure {
		d.TLS = d.TLS.Clone()
		d.TLS.InsecureSkipVerify = true
		d.TLS.MinVersion = tls.VersionTLS12
	}
}
