package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// restartDelay is how long a dead server stays away: long enough to see where
// its sessions go.
const restartDelay = 4 * time.Second

// state of a server:
//
//	            it listens          drain            its end
//	starting ──────────────▶ serving ──────▶ draining ─────────▶ (gone)
//	                          │   ▲
//	                  its end ▼   │ it listens again
//	                          down
type state string

const (
	starting state = "starting"
	serving  state = "serving"
	draining state = "draining" // it ends when its sessions have moved
	down     state = "down"     // it has died, and is started again
)

// fleet is the chat servers that there are. It starts them, starts those again
// that die, and writes the file in which the balancer finds them.
type fleet struct {
	starter starter
	file    string
	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup // keep, of each server

	mu sync.Mutex // guards the following
	// servers in the order in which they were added.
	servers []*server
	named   int // so far
}

// server is one of a fleet, whichever process it is just now. Its address
// stays the same when it is started again.
type server struct {
	name string

	// Guarded by the fleet's mu.
	address string // "" until it has one
	state   state
	process *process // nil while starting and down
}

// serverStatus is what there is to see of a server.
type serverStatus struct {
	Name  string `json:"name"`
	State state  `json:"state"`
	PID   int    `json:"pid"` // 0 when there is no process
}

var errNoServer = errors.New("there is no such server")

// refused is why a fleet doesn't do what it is asked for now.
type refused string

func (r refused) Error() string { return string(r) }

// newFleet makes an empty fleet. The caller has to close it.
func newFleet(s starter, file string) *fleet {
	f := &fleet{starter: s, file: file}
	f.ctx, f.end = context.WithCancel(context.Background())
	return f
}

// close ends all servers, and returns when none is left.
func (f *fleet) close() {
	f.mu.Lock()
	f.end()
	f.mu.Unlock()
	f.running.Wait()
}

func (f *fleet) status() []serverStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]serverStatus, len(f.servers))
	for i, s := range f.servers {
		list[i] = serverStatus{Name: s.name, State: s.state}
		if s.process != nil {
			list[i].PID = s.process.pid()
		}
	}
	return list
}

// add starts one more server, and returns when it serves.
func (f *fleet) add(ctx context.Context) error {
	s, err := f.newServer()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.ctx, cancel)()
	p, err := f.starter.start(ctx, s.name, "127.0.0.1:0")
	if err != nil {
		f.remove(s)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		p.stop()
		return f.ctx.Err()
	}
	f.serves(s, p)
	f.running.Go(func() { f.keep(s, p) })
	return nil
}

func (f *fleet) newServer() (*server, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.servers) >= MostServers {
		return nil, refused(fmt.Sprintf("there are %d servers, and no more can be had", len(f.servers)))
	}
	f.named++
	s := &server{name: fmt.Sprintf("chat-%d", f.named), state: starting}
	f.servers = append(f.servers, s)
	return s, nil
}

// drain has a server end as soon as its sessions are elsewhere.
func (f *fleet) drain(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(name)
	if err != nil {
		return err
	}
	if s.state != serving {
		return refused(fmt.Sprintf("%s is %s", name, s.state))
	}
	if !slices.ContainsFunc(f.servers, func(other *server) bool { return other != s && other.state == serving }) {
		return refused(name + " is the only one that serves: add another first")
	}
	if err := s.process.drain(); err != nil {
		return refused(fmt.Sprintf("%s doesn't take orders: %v", name, err)) // it has just died
	}
	s.state = draining
	return nil
}

// kill does kill -9 to a server.
func (f *fleet) kill(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(name)
	if err != nil {
		return err
	}
	if s.process == nil {
		return refused(fmt.Sprintf("%s is %s", name, s.state))
	}
	if err := s.process.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// find must be called with mu held.
func (f *fleet) find(name string) (*server, error) {
	for _, s := range f.servers {
		if s.name == name {
			return s, nil
		}
	}
	return nil, errNoServer
}

// keep has a server run until it is drained, or the fleet is closed. It
// returns when there is no process any more.
func (f *fleet) keep(s *server, p *process) {
	for {
		select {
		case <-f.ctx.Done():
			p.stop()
			return
		case <-p.exited:
		}
		if !f.died(s) {
			f.starter.out.printf("server %s (pid %d) is drained and has ended: %s\n", s.name, p.pid(), p.ending())
			f.remove(s)
			return
		}
		f.starter.out.printf("server %s (pid %d) ended: %s; restarting\n", s.name, p.pid(), p.ending())
		if p = f.restart(s); p == nil {
			return
		}
	}
}

// died takes note of the end of a process. It returns false if that was to be.
func (f *fleet) died(s *server) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.process = nil
	if s.state == draining {
		return false
	}
	s.state = down
	return true
}

// restart starts a server until that works. It returns nil when the fleet is
// closed.
func (f *fleet) restart(s *server) *process {
	for {
		select {
		case <-f.ctx.Done():
			return nil
		case <-time.After(restartDelay):
		}
		p, err := f.starter.start(f.ctx, s.name, s.address)
		if err == nil {
			f.mu.Lock()
			f.serves(s, p)
			f.mu.Unlock()
			return p
		}
		if f.ctx.Err() == nil {
			f.starter.out.printf("%v; trying again\n", err)
		}
	}
}

// serves takes note of a new process of a server. It must be called with mu
// held.
func (f *fleet) serves(s *server, p *process) {
	f.starter.out.printf("server %s (pid %d) listens on %s\n", s.name, p.pid(), p.address)
	s.address, s.state, s.process = p.address, serving, p
	f.tellBalancer()
}

func (f *fleet) remove(s *server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers = slices.DeleteFunc(f.servers, func(other *server) bool { return other == s })
	f.tellBalancer()
}

// tellBalancer writes the file of backends. If that fails, the balancer goes
// on with those it knows. It must be called with mu held.
func (f *fleet) tellBalancer() {
	if err := f.write(); err != nil {
		f.starter.out.printf("the balancer can't be told of the servers: %v\n", err)
	}
}

// write replaces the file as a whole or not at all.
func (f *fleet) write() error {
	type entry struct {
		Name    string `json:"name"`
		Address string `json:"address"`
	}
	list := []entry{}
	for _, s := range f.servers {
		if s.address != "" {
			list = append(list, entry{s.name, s.address})
		}
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(f.file+".new", f.file)
}
