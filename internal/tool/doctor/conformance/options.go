// Package conformance tests whether the sessions of several servers can be moved from one
// to the other. It puts a balancer between clients that speak the servers' protocol and
// the servers, has the sessions moved by drains, rebalances and losses, and checks all
// messages. It implements `holdfast doctor --protocol`.
package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/admin"
	"github.com/holdfast-ws/holdfast/internal/tool/doctor"
	"github.com/holdfast-ws/holdfast/internal/tool/doctor/protocol"
)

// Options selects the servers and configures the test.
type Options struct {
	URLs        []string // of two or more servers of one service: ws:// or wss://
	Protocol    string   // a name of protocol.All
	Auth        string   // of Socket.IO: the payload of CONNECT, a JSON object; "" for none
	Header      [][2]string
	Subprotocol []string

	// With wss, as in doctor.Options.
	Insecure   bool
	CA         string
	ServerName string
	Cert, Key  string

	Sessions int           // 0 means 20
	Timeout  time.Duration // of a connection, a handshake, an answer and a move; 0 means 10 s
	MaxGap   time.Duration // longest silence of the servers towards a client in a move without a loss; 0 means 3 s

	// Kill is a command that kills a server, Start one that starts it again; "" for none.
	// In their environment are HOLDFAST_URL and HOLDFAST_SERVER, its place among URLs from
	// 1. Without Start only the first server is killed. The process of Start may go on, and
	// is then left running.
	Kill, Start string

	// Balance starts a balancer from the text of a configuration. It writes its log, JSON
	// lines, to log.
	Balance func(config string, log io.Writer) (Balancer, error)

	Progress io.Writer // gets a line of text whenever Examine waits; nil discards them
	Each     func(doctor.CheckResult)

	calm, oldState time.Duration // see the constants; tests have shorter ones
	// patience is how long to wait for what should come; Timeout but in tests.
	patience time.Duration

	protocol protocol.Protocol
	servers  []*url.URL
}

// Balancer is a running balancer.
type Balancer interface {
	// Addresses returns the addresses that it listens on.
	Addresses() []string
	Balancer() admin.Balancer
	// Shutdown closes all sessions, and cuts off those that are left when ctx ends.
	Shutdown(ctx context.Context) (cut int)
}

// Check sets the defaults and returns the first error in the options.
func (o *Options) Check() (err error) {
	o.Sessions = cmp.Or(o.Sessions, 20)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.MaxGap = cmp.Or(o.MaxGap, 3*time.Second)
	o.patience = cmp.Or(o.patience, o.Timeout)
	o.calm, o.oldState = cmp.Or(o.calm, calm), cmp.Or(o.oldState, oldState)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.protocol, err = protocol.Find(o.Protocol); err != nil {
		return fmt.Errorf("--protocol %w", err)
	}
	o.servers = nil
	seen := map[string]bool{}
	for _, text := range o.URLs {
		u, err := doctor.ParseURL(text)
		if err != nil {
			return err
		}
		if seen[u.Host] {
			return fmt.Errorf("%s is given twice: give the URLs of different servers", u.Host)
		}
		seen[u.Host] = true
		o.servers = append(o.servers, u)
	}
	if len(o.servers) < 2 {
		return errors.New("--protocol needs the URLs of two or more servers, since sessions are moved from one to the other")
	}
	first := o.servers[0]
	for _, u := range o.servers[1:] {
		switch {
		case u.Scheme != first.Scheme || u.RequestURI() != first.RequestURI():
			return fmt.Errorf("%s and %s: the servers must have the same scheme and path, as in a pool", first, u)
		case u.Scheme == "wss" && u.Hostname() != first.Hostname() && o.ServerName == "" && !o.Insecure:
			return errors.New("give the name that the certificates of all servers have with --server-name")
		}
	}
	switch {
	case first.Scheme == "ws" && (o.Insecure || o.CA != "" || o.ServerName != "" || o.Cert != "" || o.Key != ""):
		return errors.New("--insecure, --ca, --server-name, --cert and --key are for wss://")
	case o.Sessions < 2 || o.Sessions > 1000:
		return fmt.Errorf("--sessions %d: must be 2 to 1000", o.Sessions)
	case o.Timeout < 0 || o.MaxGap < 0:
		return errors.New("a time can't be negative")
	case o.Auth != "" && o.Protocol != "socketio":
		return errors.New("--auth is for --protocol socketio")
	case o.Start != "" && o.Kill == "":
		return errors.New("--start starts a server that --kill has killed: give both")
	}
	if o.Auth != "" {
		if !strings.HasPrefix(strings.TrimSpace(o.Auth), "{") || !json.Valid([]byte(o.Auth)) {
			return fmt.Errorf("--auth %q must be a JSON object, such as '{\"token\": \"secret\"}'", o.Auth)
		}
		o.protocol = o.protocol.Auth(o.Auth)
	}
	if first.Scheme == "wss" {
		one := doctor.Options{URL: o.URLs[0], CA: o.CA, ServerName: o.ServerName, Cert: o.Cert, Key: o.Key}
		return one.Check() // reads the files
	}
	return nil
}
