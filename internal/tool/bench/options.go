// Package bench generates load for WebSocket servers and balancers. It reports
// latencies, measured from when each message was due, rates, and failures by kind.
// It implements `holdfast bench`.
//
// A run has one or two targets: the URL, and with --direct the servers behind it.
// Each target has a group of sessions. Messages are sent in windows. Windows of
// different targets alternate, so that other activity of the machine affects all
// targets equally.
package bench

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
)

// Mode selects what a run does.
type Mode string

const (
	Echo   Mode = "echo"   // every message must come back
	Fanout Mode = "fanout" // every message must reach every session
	Churn  Mode = "churn"  // connect, one echo, close
	Idle   Mode = "idle"   // connect and keep the sessions open
)

// Options configures a run. Zero values don't select defaults, except where noted;
// the command line has defaults.
type Options struct {
	URL    string
	Direct []string // URLs of the servers behind the balancer; may be empty
	Mode   Mode

	Sessions int
	Ramp     float64 // sessions opened per second
	Hold     time.Duration
	Rate     float64 // messages per second; in churn connections per second, 0 for as fast as Parallel allows
	Size     int     // of a message, in bytes
	Text     bool
	Duration time.Duration
	Senders  int // fanout
	Parallel int // churn: concurrent connections
	Rounds   int // with Direct: how often the targets alternate

	Capacity    bool
	CapacityP99 time.Duration // maximum p99 at which a rate counts as sustained
	Trial       time.Duration // duration of each trial; 0 means 2 s

	Timeout      time.Duration // of a handshake, an answer, a closing handshake
	Header       []wsconn.Field
	Subprotocols []string

	// For wss:
	Insecure bool           // accept any certificate
	Roots    *x509.CertPool // verifies certificates; nil is the system's
	Resume   bool           // TLS sessions, as a client does that comes again

	// Phase, if not nil, is called at the begin of the phases "opening",
	// "holding", "loading", "closing" and "closed", and of each capacity trial.
	// The run waits until it returns.
	Phase func(name string)

	Progress io.Writer // nil for no progress output
	Live     bool      // Progress is a terminal: rewrite a single line
}

// Limits of Size, in bytes. The minimum is the header, in hex digits with Text.
const (
	MinSize     = headerSize
	MinTextSize = 2 * headerSize
	MaxSize     = 16 << 20
)

// Check returns the first error in the options, in terms of the command line.
func (o *Options) Check() error {
	minSize := MinSize
	if o.Text {
		minSize = MinTextSize
	}
	switch {
	case o.Mode != Echo && o.Mode != Fanout && o.Mode != Churn && o.Mode != Idle:
		return fmt.Errorf("--mode %s: must be echo, fanout, churn or idle", o.Mode)
	case o.Sessions < 1:
		return errors.New("--sessions must be at least 1")
	case o.Ramp <= 0:
		return errors.New("--ramp must be greater than 0")
	case o.Rate < 0 || o.Rate == 0 && o.Mode != Churn && o.Mode != Idle:
		return errors.New("--rate must be greater than 0")
	case o.Size < minSize || o.Size > MaxSize:
		return fmt.Errorf("--size must be %d to %d bytes: each message contains its number and time (in hex with --text)", minSize, MaxSize)
	case o.Duration <= 0:
		return errors.New("--duration must be greater than 0")
	case o.Hold < 0:
		return errors.New("--hold must not be negative")
	case o.Timeout <= 0:
		return errors.New("--timeout must be greater than 0")
	case o.Mode == Fanout && (o.Senders < 1 || o.Senders > o.Sessions):
		return errors.New("--senders must be 1 to --sessions")
	case o.Mode == Churn && o.Parallel < 1:
		return errors.New("--parallel must be at least 1")
	case len(o.Direct) > 0 && o.Rounds < 1:
		return errors.New("--rounds must be at least 1")
	case o.Capacity && o.Mode != Echo:
		return errors.New("--capacity needs --mode echo")
	case o.Capacity && o.CapacityP99 <= 0:
		return errors.New("--capacity-p99 must be greater than 0")
	}
	secure := false
	for _, all := range append([]string{o.URL}, o.Direct...) {
		u, err := wsconn.ParseURL(all)
		if err != nil {
			return err
		}
		secure = secure || u.Scheme == "wss"
	}
	switch {
	case secure:
	case o.Insecure:
		return errors.New("--insecure needs a URL that begins with wss://")
	case o.Roots != nil:
		return errors.New("--ca needs a URL that begins with wss://")
	case o.Resume:
		return errors.New("--resume needs a URL that begins with wss://")
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
	d.MaxMessage = o.Size + 64<<10 // servers may send greetings
	if d.TLS == nil {
		return
	}
	d.TLS.InsecureSkipVerify, d.TLS.RootCAs = o.Insecure, o.Roots
	if o.Resume {
		d.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
}
