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

// restartDelay is how long a dead server stays down, so that the user can see where
// its sessions go.
const restartDelay = 4 * time.Second

// state is the state of a server:
//
//	             listening          drain             exit
//	starting ──────────────▶ serving ──────▶ draining ─────────▶ (gone)
//	                          │   ▲
//	                     exit ▼   │ listening again
//	                          down
type state string

const (
	starting state = "starting"
	serving  state = "serving"
	draining state = "draining" // it exits when its sessions have moved
	down     state = "down"     // it has died and will be restarted
)

// fleet runs the chat servers. It starts them, restarts those that die, and writes
// the file in which the balancer discovers them.
type fleet struct {
	starter starter
	file    string
	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup // supervise, for each server

	mu sync.Mutex // guards the fields below
	// servers in the order in which they were added.
	servers []*server
	named   int // number of servers named so far
}

// server is a server of a fleet. Its process changes when it is restarted, but its
// address stays the same.
type server struct {
	name string

	// The fleet's mu guards the fields below.
	address string // "" before the first start
	state   state
	process *process // nil while starting and down
}

// serverStatus describes a server in the HTTP API.
type serverStatus struct {
	Name  string `json:"name"`
	State state  `json:"state"`
	PID   int    `json:"pid"` // 0 if there is no process
}

var errNoServer = errors.New("there is no such server")

// refused is the reason why a request can't be fulfilled in the current state.
type refused string

func (r refused) Error() string { return string(r) }

// newFleet returns an empty fleet. The caller must close it.
func newFleet(s starter, file string) *fleet {
	f := &fleet{starter: s, file: file}
	f.ctx, f.end = context.WithCancel(context.Background())
	return f
}

// close stops all servers and waits for them.
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

// add starts another server and waits until it listens.
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
	f.setServing(s, p)
	f.running.Go(func() { f.supervise(s, p) })
	return nil
}

func (f *fleet) newServer() (*server, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.servers) >= MaxServers {
		return nil, refused(fmt.Sprintf("there are already %d servers, which is the maximum", len(f.servers)))
	}
	f.named++
	s := &server{name: fmt.Sprintf("chat-%d", f.named), state: starting}
	f.servers = append(f.servers, s)
	return s, nil
}

// drain tells a server to exit as soon as its sessions have moved.
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
		return refused(fmt.Sprintf("%s doesn't accept commands: %v", name, err)) // it has just exited
	}
	s.state = draining
	return nil
}

// kill sends SIGKILL to a server.
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

// find requires mu.
func (f *fleet) find(name string) (*server, error) {
	for _, s := range f.servers {
		if s.name == name {
			return s, nil
		}
	}
	return nil, errNoServer
}

// supervise restarts a server whenever it dies. It returns when the server has
// exited after a drain, or when the fleet is closed and the server is stopped.
func (f *fleet) supervise(s *server, p *process) {
	for {
		select {
		case <-f.ctx.Done():
			p.stop()
			return
		case <-p.exited:
		}
		if !f.onExit(s) {
			f.starter.out.printf("server %s (pid %d) is drained and has exited: %s\n", s.name, p.pid(), p.ending())
			f.remove(s)
			return
		}
		f.starter.out.printf("server %s (pid %d) has died: %s; restarting\n", s.name, p.pid(), p.ending())
		if p = f.restart(s); p == nil {
			return
		}
	}
}

// onExit records that a process has exited. It returns false if the server was
// draining.
func (f *fleet) onExit(s *server) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.process = nil
	if s.state == draining {
		return false
	}
	s.state = down
	return true
}

// restart tries to start a server until it succeeds. It returns nil if the fleet is
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
			f.setServing(s, p)
			f.mu.Unlock()
			return p
		}
		if f.ctx.Err() == nil {
			f.starter.out.printf("%v; will retry\n", err)
		}
	}
}

// setServing records a new process of a server. It requires mu.
func (f *fleet) setServing(s *server, p *process) {
	f.starter.out.printf("server %s (pid %d) listens on %s\n", s.name, p.pid(), p.address)
	s.address, s.state, s.process = p.address, serving, p
	f.updateBalancer()
}

func (f *fleet) remove(s *server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers = slices.DeleteFunc(f.servers, func(other *server) bool { return other == s })
	f.updateBalancer()
}

// updateBalancer writes the file of backends. If that fails, the balancer continues
// with the backends it knows. It requires mu.
func (f *fleet) updateBalancer() {
	if err := f.write(); err != nil {
		f.starter.out.printf("cannot write the list of servers for the balancer: %v\n", err)
	}
}

// write replaces the file atomically.
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
