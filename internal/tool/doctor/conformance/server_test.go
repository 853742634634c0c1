package conformance

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// Defects of the test servers, which speak protocol text.
const (
	noAnswers     = "no answers"
	noEvents      = "no events"
	noConfirms    = "no confirmations"
	refusesDrain  = "404 on a drain"
	refusesEven   = "404 on a rebalance"
	refusesLoss   = "404 on a loss"
	closes4000    = "Close 4000 on holdfast leave"
	closesSoon    = "Close 1008 soon after a move"
	startsAnew    = "no state after a move"
	inMemory      = "state stored only on holdfast leave"
	losesOne      = "the first message after a move is lost"
	skipsEvent    = "an event is skipped in a move"
	repeatsEvent  = "an event comes twice in a move"
	swapsEvents   = "two events change places after a move"
	answersTwice  = "two answers to the first message after a move"
	dropsPending  = "pending answers are dropped on holdfast leave"
	dropsConfirms = "confirmations for the old server are ignored"
	slowMoves     = "a slow start after a move"
)

const (
	slowMove = 1500 * time.Millisecond
	// muchLater makes it all but certain that an answer is pending when a session moves.
	muchLater = 1500 * time.Millisecond
)

// state is what the servers of a service know about a session.
type state struct {
	received, sent int
	every          time.Duration
}

// service is a number of servers with one store.
type service struct {
	defects map[string]bool
	running sync.WaitGroup
	ended   chan struct{}

	mu     sync.Mutex
	states map[string]state
}

// serveAll starts servers with defects and returns their URLs.
func serveAll(t *testing.T, n int, defects ...string) (urls []string) {
	t.Helper()
	return serveTLS(t, n, nil, defects...)
}

// serveTLS is serveAll with TLS, unless config is nil.
func serveTLS(t *testing.T, n int, config *tls.Config, defects ...string) (urls []string) {
	t.Helper()
	scheme := "ws://"
	if config != nil {
		scheme = "wss://"
	}
	s := &service{defects: map[string]bool{}, ended: make(chan struct{}), states: map[string]state{}}
	for _, d := range defects {
		s.defects[d] = true
	}
	var listeners []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if config != nil {
			l = tls.NewListener(l, config)
		}
		s.running.Go(func() { s.accept(l) })
		listeners = append(listeners, l)
		urls = append(urls, scheme+l.Addr().String()+"/ws")
	}
	t.Cleanup(func() {
		close(s.ended)
		for _, l := range listeners {
			l.Close()
		}
		s.running.Wait()
	})
	return urls
}

func (s *service) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() {
			defer c.Close()
			s.serve(c)
		})
	}
}

// session is a connection of a session.
type session struct {
	*service
	*wspeer.Conn
	id, why string
	pending sync.WaitGroup // answers
	working sync.WaitGroup // everything else
	over    chan struct{}

	mu    sync.Mutex
	state state
	begun bool
	left  bool
	first int          // the number of the first event that this server sent
	swap  string       // an event that is sent after the next
	due   map[int]bool // events without a confirmation
	anew  bool         // no message has come since the move
}

func (s *service) serve(c net.Conn) {
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	why, id := r.Header.Get("Holdfast-Reattach"), r.Header.Get("Holdfast-Session")
	if why == "drain" && s.defects[refusesDrain] || why == "rebalance" && s.defects[refusesEven] || why == "loss" && s.defects[refusesLoss] {
		fmt.Fprint(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	w, err := wspeer.Accept(c, in, r, "Holdfast-Control: 1")
	if err != nil {
		return
	}
	p := &session{service: s, Conn: w, id: id, why: why, over: make(chan struct{}), due: map[int]bool{}}
	defer func() {
		close(p.over)
		p.pending.Wait()
		p.working.Wait()
	}()
	if why == "" {
		p.begin()
	}
	for {
		f, err := w.ReadFrame()
		if err != nil {
			return
		}
		switch f.Op {
		case wspeer.Text:
			p.message(string(f.Payload))
		case wspeer.Ping:
			_ = w.Send(wspeer.Frame{Fin: true, Op: wspeer.Pong, Payload: f.Payload})
			p.notice(string(f.Payload))
		case wspeer.Close:
			if !p.left {
				_ = w.Send(f)
			}
			return
		}
	}
}

func (s *service) load(id string) state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[id]
}

// store requires p.mu.
func (p *session) store(last bool) {
	if p.defects[inMemory] && !last {
		return
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	p.states[p.id] = p.state
}

// sleep reports false if the connection or the test has ended.
func (p *session) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-p.over:
	case <-p.ended:
	}
	return false
}

func (p *session) notice(text string) {
	switch text {
	case "holdfast begin":
		p.begin()
	case "holdfast leave":
		p.mu.Lock()
		p.left = true
		p.nextEvent() // the last, whose confirmation comes to the next server
		p.mu.Unlock()
		if !p.defects[dropsPending] {
			p.pending.Wait()
		}
		p.mu.Lock()
		p.store(true)
		p.mu.Unlock()
		if p.defects[closes4000] {
			_ = p.SendClose(4000, "")
			return
		}
		_ = p.SendClose(1012, "")
	}
}

// begin loads the state and sends events.
func (p *session) begin() {
	if p.why != "" && p.defects[slowMoves] {
		p.sleep(slowMove)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = p.load(p.id)
	p.begun = true
	if p.why != "" {
		p.anew = true
		switch {
		case p.defects[startsAnew]:
			p.state.received, p.state.sent = 0, 0
		case p.defects[skipsEvent]:
			p.state.sent++
		case p.defects[repeatsEvent]:
			p.state.sent--
		case p.defects[closesSoon]:
			p.working.Go(func() {
				if p.sleep(300 * time.Millisecond) {
					_ = p.SendClose(1008, "")
				}
			})
		}
	}
	p.first = p.state.sent + 1
	p.working.Go(p.events)
}

// events sends events while the session is here.
func (p *session) events() {
	for {
		p.mu.Lock()
		every, left := p.state.every, p.left
		if !left {
			p.nextEvent()
		}
		p.mu.Unlock()
		if left || !p.sleep(max(every, 10*time.Millisecond)) {
			return
		}
	}
}

// nextEvent requires p.mu.
func (p *session) nextEvent() {
	if p.state.every == 0 || p.defects[noEvents] {
		return
	}
	p.state.sent++
	p.store(false)
	p.due[p.state.sent] = true
	text := fmt.Sprint("event ", p.state.sent)
	if p.why != "" && p.defects[swapsEvents] && p.state.sent == p.first+1 {
		p.swap = text
		return
	}
	_ = p.SendText(text)
	if p.swap != "" {
		_ = p.SendText(p.swap)
		p.swap = ""
	}
}

func (p *session) message(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n, ms int
	switch word, _, _ := strings.Cut(text, " "); word {
	case "start":
		fmt.Sscanf(text, "start %d", &ms)
		p.state.every = time.Duration(ms) * time.Millisecond
		p.store(false)
	case "ack":
		fmt.Sscanf(text, "ack %d", &n)
		if p.defects[noConfirms] || p.defects[dropsConfirms] && !p.due[n] {
			return
		}
		delete(p.due, n)
		_ = p.SendText(fmt.Sprint("acked ", n))
	case "echo":
		fmt.Sscanf(text, "echo %d %d", &n, &ms)
		anew := p.anew
		p.anew = false
		if p.defects[noAnswers] || anew && p.defects[losesOne] {
			return
		}
		answer := fmt.Sprint("echo ", n, " ", p.state.received)
		p.state.received = n
		p.store(false)
		if anew && p.defects[answersTwice] {
			_ = p.SendText(answer)
		}
		if ms == 0 {
			_ = p.SendText(answer)
			return
		}
		delay := time.Duration(ms) * time.Millisecond
		if p.defects[dropsPending] {
			delay += muchLater
		}
		p.pending.Go(func() {
			if p.sleep(delay) && !(p.defects[dropsPending] && p.hasLeft()) {
				_ = p.SendText(answer)
			}
		})
	}
}

func (p *session) hasLeft() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left
}
