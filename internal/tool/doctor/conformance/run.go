package conformance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/doctor"
)

const (
	poolName = "servers"
	// spread is the time over which sessions are moved on a drain.
	spread = 500 * time.Millisecond
	// calm is how long clients talk after each phase.
	calm      = time.Second
	oldState  = 2 * time.Second // see ledger
	pollPause = 20 * time.Millisecond
)

// test is one run.
type test struct {
	o        *Options
	tally    *tally
	moves    *moves
	links    []*link
	balancer Balancer
	address  string // of the balancer
	target   string // path and query
	room     string
	http     *http.Client
	report   doctor.Report

	clients  []*client
	patience time.Duration  // how long to wait for answers
	opened   int            // clients so far, for their names
	told     map[string]int // messages to the room of clients that have ended

	perServer []int                    // sessions of each server at the start
	phases    map[string]int           // how often each phase ran
	cuts      map[string]int           // sessions that were open when a server was lost, by phase
	silence   time.Duration            // the longest in a phase without a loss
	quietIn   string                   // that phase
	resume    map[string]time.Duration // until all sessions had continued after a loss, by phase
	killErr   error                    // of a command
	uneven    bool                     // the last rebalance didn't come to its end
}

// Examine tests the servers. It blocks until all sessions are closed. If ctx ends before,
// it returns the cause. The error may also be that of the balancer's start.
func Examine(ctx context.Context, o Options) (*doctor.Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	t := &test{
		o: &o, tally: newTally(), moves: newMoves(), target: o.protocol.Target(o.servers[0]),
		http:     &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		patience: o.patience, told: map[string]int{}, phases: map[string]int{}, cuts: map[string]int{}, resume: map[string]time.Duration{},
	}
	t.report.URLs = o.URLs
	if o.protocol.Rooms {
		t.room = "holdfast-" + rand.Text()
	}
	defer t.stop()
	if err := t.start(); err != nil {
		return nil, err
	}
	t.examine(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return &t.report, nil
}

// start starts the balancer.
func (t *test) start() (err error) {
	for _, u := range t.o.servers {
		k, err := newLink(addressOf(u), u.Scheme == "wss", t.o.Timeout)
		if err != nil {
			return err
		}
		t.links = append(t.links, k)
	}
	if t.balancer, err = t.o.Balance(t.config(), t.moves); err != nil {
		return fmt.Errorf("cannot start the balancer: %w", err)
	}
	t.address = t.balancer.Addresses()[0]
	return nil
}

// addressOf returns the host and port of a URL.
func addressOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Host
	case u.Scheme == "wss":
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return net.JoinHostPort(u.Hostname(), "80")
}

func serverName(i int) string { return fmt.Sprintf("server-%d", i+1) }

// config is the balancer's configuration. JSON is YAML.
func (t *test) config() string {
	type object = map[string]any
	var backends []object
	for i, k := range t.links {
		backends = append(backends, object{"name": serverName(i), "address": k.listener.Addr().String()})
	}
	timeout := t.o.Timeout.String()
	pool := object{
		"backends": backends,
		"balance":  "least_conn",
		"health":   object{"max_fails": 0},
		// Sessions that can't be moved are closed in the last part of it.
		"drain":     object{"timeout": (t.o.patience + 2*spread).String(), "spread": spread.String()},
		"reattach":  object{"on": []string{"drain", "loss", "rebalance"}, "timeout": timeout},
		"rebalance": object{"above": "1%", "rate": "200/s", "min_age": "0s"},
	}
	if t.o.servers[0].Scheme == "wss" {
		tls := object{"server_name": t.o.servers[0].Hostname(), "insecure_skip_verify": t.o.Insecure}
		for key, value := range map[string]string{"ca": t.o.CA, "server_name": t.o.ServerName, "cert": t.o.Cert, "key": t.o.Key} {
			if value != "" {
				tls[key] = value
			}
		}
		pool["tls"] = tls
	}
	text, _ := json.Marshal(object{
		"listeners": []object{{"address": "127.0.0.1:0"}},
		"log":       object{"format": "json", "level": "info"},
		"pools":     object{poolName: pool},
	})
	return string(text)
}

// stop ends all sessions, then the balancer, then the links.
func (t *test) stop() {
	t.stopClients()
	if t.balancer != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		t.balancer.Shutdown(now)
	}
	for _, k := range t.links {
		k.stop()
	}
	t.http.CloseIdleConnections()
}

func (t *test) stopClients() {
	var stopping sync.WaitGroup
	for _, c := range t.clients {
		stopping.Go(c.stop)
	}
	stopping.Wait()
	t.clients = nil
}

func (t *test) progress(format string, args ...any) {
	fmt.Fprintf(t.o.Progress, format+"\n", args...)
}

func (t *test) examine(ctx context.Context) {
	if at, f := t.open(ctx); f.result != doctor.OK {
		t.failed(at, f)
		return
	}
	t.during(ctx, phaseStart, false, func(context.Context) { sleep(ctx, t.o.calm) })
	for i := range t.links {
		t.drain(ctx, i)
	}
	for i := range t.links {
		t.lose(ctx, phaseLoss, i, func() error { t.links[i].cutAll(); return nil })
	}
	t.kill(ctx)
	if ctx.Err() != nil {
		return
	}
	for _, c := range t.clients {
		c.beQuiet()
	}
	t.stopClients()
	t.judge()
}

// sleep returns false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// await waits until ok returns true. It returns false if that takes longer than within,
// or ctx ends.
func await(ctx context.Context, within time.Duration, ok func() bool) bool {
	for end := time.Now().Add(within); !ok(); {
		if time.Now().After(end) || !sleep(ctx, pollPause) {
			return false
		}
	}
	return true
}

// sessions returns the number of sessions of each server.
func (t *test) sessions() (n []int) {
	for _, p := range t.balancer.Balancer().Status().Pools {
		if p.Name == poolName {
			for _, b := range p.Backends {
				n = append(n, b.Sessions)
			}
		}
	}
	return n
}

// tellers returns the number of messages to the room by sender.
func (t *test) tellers() map[string]int {
	all := maps.Clone(t.told)
	for _, c := range t.clients {
		all[c.name] = int(c.tells.Load())
	}
	return all
}

// settle waits until all that was sent has arrived, and records what hasn't.
func (t *test) settle(ctx context.Context) {
	told := map[string]int{}
	if t.room != "" {
		for _, c := range t.clients {
			if !c.isOver() {
				told[c.name] = int(c.tells.Load())
			}
		}
	}
	points := make([]point, len(t.clients))
	for i, c := range t.clients {
		points[i] = c.point(told)
	}
	complete := await(ctx, t.patience, func() bool {
		for i, c := range t.clients {
			if !c.isOver() && !c.settled(points[i]) {
				return false
			}
		}
		return true
	})
	switch {
	case ctx.Err() != nil:
		return
	case !complete:
		t.patience = min(t.patience, 2*t.o.calm) // it is known that something never comes
	}
	for i, c := range t.clients {
		if !c.isOver() {
			c.giveUp(points[i])
		}
	}
}

// renew replaces the sessions that have ended.
func (t *test) renew(ctx context.Context) {
	for i, c := range t.clients {
		if !c.isOver() || ctx.Err() != nil {
			continue
		}
		c.stop()
		t.told[c.name] = int(c.tells.Load())
		fresh, err := t.openOne(ctx)
		if err != nil {
			t.tally.add(ended, 1, "a client couldn't connect again: %v", err)
			continue
		}
		t.clients[i] = fresh
	}
}

// openOne opens a session and starts its traffic.
func (t *test) openOne(ctx context.Context) (*client, error) {
	t.opened++
	c, err := t.dial(ctx, fmt.Sprintf("client %d", t.opened))
	if err != nil {
		return nil, err
	}
	if err := c.begin(t.room); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// open opens the sessions and checks that the servers have the test application.
func (t *test) open(ctx context.Context) (check int, f finding) {
	t.progress("connect: %d clients through a balancer to %s", t.o.Sessions, strings.Join(t.o.URLs, " and "))
	t.tally.enter(phaseStart, false)
	for range t.o.Sessions {
		c, err := t.openOne(ctx)
		if err != nil {
			return t.notConnected(err)
		}
		t.clients = append(t.clients, c)
	}
	// Each gets an answer, an event, a confirmation, and what it has told itself.
	done := func(c *client) bool { return c.works(t.room != "") }
	await(ctx, t.o.patience, func() bool {
		for _, c := range t.clients {
			if !done(c) && !c.isOver() {
				return false
			}
		}
		return true
	})
	t.perServer = t.sessions()
	for _, c := range t.clients {
		if !done(c) {
			return checkApplication, t.noApplication(c)
		}
	}
	return 0, ok("")
}
