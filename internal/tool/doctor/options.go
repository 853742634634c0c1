package doctor

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Options selects the server to examine and configures the checks.
type Options struct {
	URL         string      // ws:// or wss://
	Header      [][2]string // for every handshake and health check
	Subprotocol []string    // offered in every handshake

	// With wss: accept any certificate; a PEM file of the authorities that certificates
	// are verified by, "" for the system's; the name that the certificate must have, ""
	// for the URL's host; and PEM files of the certificate and key that the server is
	// shown, "" for none. They are like those of a pool's tls.
	Insecure   bool
	CA         string
	ServerName string
	Cert, Key  string
	tls        *tls.Config // of these; made by Check

	// NoReattach skips the checks that only pools with reattach need.
	NoReattach bool
	// Stateless means that the server keeps no state of sessions, so that it
	// may take over unknown ones.
	Stateless bool
	// Say has the messages that a client sends first, so that there is state
	// to take over. Ask is a message whose answer shows that state; optional.
	Say []string
	Ask string
	// Answer selects the answer to Ask: the first message that it matches, and
	// of that the match or its first group. nil selects the first message.
	Answer *regexp.Regexp

	Health   string        // path of health checks, or a URL if they have another address; "" for none
	Interval time.Duration // of the balancer's health checks; 0 means 10 s
	Idle     time.Duration // how long to send nothing on a session; 0 means 30 s
	Timeout  time.Duration // of a connection, a handshake and an answer; 0 means 10 s

	// PID is the server's process, to which SIGTERM is sent; 0 for none.
	PID int
	// Drain asks the user on Progress to send SIGTERM.
	Drain bool
	// Sessions is the number of sessions open during the drain; 0 means 20.
	Sessions int
	// DrainTimeout limits the duration of the drain, and the wait until it
	// begins; 0 means 2 min.
	DrainTimeout time.Duration

	// Progress gets a line of text whenever Examine waits. Default: discarded.
	Progress io.Writer
	// Each, if not nil, is called with each result as it becomes available, in
	// order.
	Each func(CheckResult)
}

// Check sets the defaults and returns the first error in the options.
func (o *Options) Check() error {
	o.Interval = cmp.Or(o.Interval, 10*time.Second)
	o.Idle = cmp.Or(o.Idle, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Sessions = cmp.Or(o.Sessions, 20)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 2*time.Minute)
	u, err := ParseURL(o.URL)
	switch {
	case err != nil:
		return err
	case o.Health != "" && !strings.HasPrefix(o.Health, "/") && !isURL(o.Health):
		return fmt.Errorf("--health %s: must be a path, such as /health, or a URL", o.Health)
	case o.Interval < 0, o.Idle < 0, o.Timeout < 0, o.DrainTimeout < 0:
		return errors.New("a time can't be negative")
	case u.Scheme == "ws" && (o.CA != "" || o.ServerName != "" || o.Cert != "" || o.Key != ""):
		return errors.New("--ca, --server-name, --cert and --key are for wss://")
	case o.Sessions < 2 || o.Sessions > 1000:
		return fmt.Errorf("--sessions %d: must be 2 to 1000", o.Sessions)
	case o.Ask == "" && o.Answer != nil:
		return errors.New("--answer selects the answer to --ask: give both")
	case o.NoReattach && (o.Ask != "" || len(o.Say) > 0 || o.Stateless):
		return errors.New("--no-reattach skips the checks that --say, --ask and --stateless are for")
	case o.PID < 0:
		return fmt.Errorf("--pid %d: must be a process ID", o.PID)
	case o.PID != 0 && o.Drain:
		return errors.New("give either --pid or --drain")
	case o.PID != 0 && runtime.GOOS == "windows":
		return errors.New("--pid: there is no SIGTERM on Windows; give --drain and stop the server yourself")
	}
	if o.PID != 0 {
		if err := signalTo(o.PID, syscall.Signal(0)); err != nil {
			return fmt.Errorf("--pid %d: %w", o.PID, err)
		}
	}
	return o.readTLS()
}

// ParseURL parses the URL of a server.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case !strings.Contains(text, "://"):
		return nil, fmt.Errorf("%q must begin with ws:// or wss://, such as ws://127.0.0.1:3000/ws", text)
	case err != nil:
		return nil, fmt.Errorf("%q is not a URL: %w", text, errors.Unwrap(err))
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("%q must begin with ws:// or wss://", text)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q has no host", text)
	case u.User != nil:
		return nil, fmt.Errorf("%q contains a password: use --header \"Authorization: …\"", u.Redacted())
	case u.Fragment != "":
		return nil, fmt.Errorf("%q has a fragment, which WebSocket URLs can't have (RFC 6455 §3)", text)
	}
	return u, nil
}

func signalTo(pid int, s os.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Signal(s)
}

// target is the server's address, from Options.URL.
type target struct {
	tls        bool
	host       string // for the Host header
	address    string // host:port
	path       string
	httpOrigin string // http://host:port
}

func (o *Options) target() target {
	u, _ := url.Parse(o.URL) // validated by Check
	t := target{tls: u.Scheme == "wss", host: u.Host, address: u.Host, path: u.RequestURI(), httpOrigin: "http://" + u.Host}
	port := "80"
	if t.tls {
		port, t.httpOrigin = "443", "https://"+u.Host
	}
	if u.Port() == "" {
		t.address = net.JoinHostPort(u.Hostname(), port)
	}
	return t
}

// takeHost moves a Host field from Options.Header to the target, where it replaces
// that of the URL.
func (d *doctor) takeHost() {
	d.o.Header = slices.DeleteFunc(slices.Clone(d.o.Header), func(field [2]string) bool {
		is := strings.EqualFold(field[0], "Host")
		if is {
			d.target.host = field[1]
		}
		return is
	})
}
