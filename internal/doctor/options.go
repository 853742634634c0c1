package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Options say which server to examine, and how.
type Options struct {
	URL         string      // ws:// or wss://
	Header      [][2]string // for every handshake and health check
	Subprotocol []string    // offered in every handshake
	Insecure    bool        // wss: any certificate will do

	// NoReattach says that the pool is to have no reattach, so that nothing
	// need be fit for it.
	NoReattach bool

	Health   string        // path of the health check; "" for none
	Interval time.Duration // of the balancer's health checks; 0 means 10 s
	Idle     time.Duration // how long a session is left alone; 0 means 30 s
	Timeout  time.Duration // of a connection, a handshake and an answer; 0 means 10 s

	// PID is the server's process, which is sent SIGTERM; 0 is none.
	PID int
	// Drain has somebody else send it, who is asked to on Progress.
	Drain bool
	// Sessions are watched in the drain; 0 means 20.
	Sessions int
	// DrainTimeout is how long the drain may take, and how long to wait for
	// its begin; 0 means 2 min.
	DrainTimeout time.Duration

	// Progress is told what is being waited for.
	Progress io.Writer
	// Each, if it is there, is called with each line as it is known, in order.
	Each func(Line)
}

// Check fills in what was left out, and tells the first mistake.
func (o *Options) Check() error {
	o.Interval = cmp.Or(o.Interval, 10*time.Second)
	o.Idle = cmp.Or(o.Idle, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Sessions = cmp.Or(o.Sessions, 20)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 2*time.Minute)
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL: %w", o.URL, errors.Unwrap(err))
	case u.Scheme != "ws" && u.Scheme != "wss":
		return fmt.Errorf("%q must begin with ws:// or wss://", o.URL)
	case u.Hostname() == "":
		return fmt.Errorf("%q has no host", o.URL)
	case u.User != nil:
		return fmt.Errorf("%q has a password in it: give it as --header \"Authorization: …\"", u.Redacted())
	case u.Fragment != "":
		return fmt.Errorf("%q has a fragment, which WebSockets don't (RFC 6455 §3)", o.URL)
	case o.Health != "" && !strings.HasPrefix(o.Health, "/"):
		return fmt.Errorf("--health %s: must be a path, such as /health", o.Health)
	case o.Interval < 0, o.Idle < 0, o.Timeout < 0, o.DrainTimeout < 0:
		return errors.New("a time can't be less than 0")
	case o.Sessions < 2 || o.Sessions > 1000:
		return fmt.Errorf("--sessions %d: must be 2 to 1000", o.Sessions)
	case o.PID < 0:
		return fmt.Errorf("--pid %d: must be a process", o.PID)
	case o.PID != 0 && o.Drain:
		return errors.New("give either --pid or --drain: who sends the signal?")
	case o.PID != 0 && runtime.GOOS == "windows":
		return errors.New("--pid: there is no SIGTERM on Windows; give --drain and stop the server yourself")
	}
	if o.PID != 0 {
		if err := signalTo(o.PID, syscall.Signal(0)); err != nil {
			return fmt.Errorf("--pid %d: %w", o.PID, err)
		}
	}
	return nil
}

func signalTo(pid int, s os.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Signal(s)
}

// target is where the server is.
type target struct {
	tls        bool
	host       string // for the Host header
	address    string // host:port
	path       string
	httpOrigin string // http://host:port
}

func (o *Options) target() target {
	u, _ := url.Parse(o.URL) // Check has
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

// takeHost has a field Host among those that are given stand for the URL's.
func (d *doctor) takeHost() {
	d.o.Header = slices.DeleteFunc(slices.Clone(d.o.Header), func(field [2]string) bool {
		is := strings.EqualFold(field[0], "Host")
		if is {
			d.target.host = field[1]
		}
		return is
	})
}
