package doctor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// server is a WebSocket server with defects.
type server struct {
	listener net.Listener
	host     string // "" for any
	running  sync.WaitGroup
	stopped  chan struct{} // SIGTERM was sent
	ended    chan struct{} // the test is over

	mu      sync.Mutex
	defects map[string]bool
	open    map[*peer]string // session ID of each open connection
	counts  map[string]int   // number of messages by session ID, for known sessions
	phase   int
}

// The phases of a drain.
const (
	serving = iota
	notifying
	closing
	closedHalf // when late503 begins to return 503
)

const (
	testNotice = time.Second
	testSpread = 2 * time.Second
	testIdle   = 900 * time.Millisecond
)

func serveWith(t *testing.T, defects ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: l, stopped: make(chan struct{}), ended: make(chan struct{}), defects: map[string]bool{}, open: map[*peer]string{}, counts: map[string]int{}}
	for _, d := range defects {
		s.defects[d] = true
	}
	s.running.Go(s.accept)
	s.running.Go(s.drain)
	t.Cleanup(func() {
		close(s.ended)
		l.Close()
		s.mu.Lock()
		for p := range s.open {
			p.Close()
		}
		s.mu.Unlock()
		s.running.Wait()
	})
	return s
}

func (s *server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() {
			defer c.Close()
			s.serve(c)
		})
	}
}

// sleep reports false if the test has ended.
func (s *server) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.ended:
		return false
	}
}

func (s *server) serve(c net.Conn) {
	if s.defects[otherProtocol] {
		io.WriteString(c, "220 mail.example.com ESMTP\r\n")
		return
	}
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if r.URL.Path == "/health" {
		s.health(c)
		return
	}
	if head := s.answer(r); head != "" {
		id := r.Header.Get("Holdfast-Session")
		p := &peer{Conn: c, in: in, id: id, moved: r.Header.Get("Holdfast-Reattach") != ""}
		s.mu.Lock()
		for old, of := range s.open {
			if s.defects[closesOld] && id != "" && id == of {
				old.Close()
			}
		}
		s.open[p] = id
		s.mu.Unlock()
		io.WriteString(c, head)
		if strings.HasPrefix(head, "HTTP/1.1 101") {
			s.session(p)
		}
		s.mu.Lock()
		delete(s.open, p)
		for other, of := range s.open {
			if s.defects[closesNew] && id != "" && id == of {
				other.Close()
			}
		}
		s.mu.Unlock()
	}
}

func (s *server) health(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status, more := "200 OK", "Holdfast-Load: 0.25\r\n"
	switch {
	case s.defects[noHealth]:
		status = "404 Not Found"
	case s.defects[redirects]:
		status, more = "302 Found", "Location: /elsewhere\r\n"
	case s.defects[strangeLoad]:
		more = "Holdfast-Load: busy\r\n"
	case s.defects[alwaysDrains],
		s.phase != serving && !s.defects[never503] && (!s.defects[late503] || s.phase == closedHalf):
		status = "503 Service Unavailable"
	}
	fmt.Fprintf(c, "HTTP/1.1 %s\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n", status, more)
}

// answer returns the response to a handshake, "" for none.
func (s *server) answer(r *http.Request) string {
	moved := r.Header.Get("Holdfast-Reattach") != ""
	s.mu.Lock()
	defer s.mu.Unlock()
	status := ""
	switch {
	case s.defects[noAnswer]:
		s.mu.Unlock()
		<-s.ended
		s.mu.Lock()
		return ""
	case s.defects[says401], s.host != "" && (s.host != r.Host || r.Header.Get("Authorization") == ""):
		status = "401 Unauthorized"
	case s.defects[says404], moved && s.defects[refusesMoved]:
		status = "404 Not Found"
	case s.defects[says426]:
		status = "426 Upgrade Required"
	case moved && s.refusesUnknown(r):
		status = "404 Not Found"
		if s.defects[unsureOfUnknown] {
			status = "503 Service Unavailable"
		}
	case moved && s.defects[failsMoved]:
		status = "500 Internal Server Error"
	case s.defects[says503],
		s.phase == notifying && s.defects[refusesInNotice], s.phase >= closing && !s.defects[acceptsWhileClosing]:
		status = "503 Service Unavailable"
	}
	if status != "" {
		return "HTTP/1.1 " + status + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	}
	head := map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade",
		"Sec-WebSocket-Accept": wspeer.AcceptKey(r.Header.Get("Sec-WebSocket-Key")),
	}
	if c := s.control(r, moved); c != "" {
		head["Holdfast-Control"] = c
	}
	offered := list(r.Header, "Sec-WebSocket-Protocol")
	if len(offered) > 0 {
		head["Sec-WebSocket-Protocol"] = offered[0]
		if moved && s.defects[secondChoice] {
			head["Sec-WebSocket-Protocol"] = offered[1]
		}
	}
	if r.Header.Get("Sec-WebSocket-Extensions") != "" {
		head["Sec-WebSocket-Extensions"] = deflateOffer
		if moved && s.defects[secondDeflate] {
			delete(head, "Sec-WebSocket-Extensions")
		}
		if s.defects[takesOver] {
			head["Sec-WebSocket-Extensions"] = "permessage-deflate"
		}
	}
	switch {
	case s.defects[wrongAccept]:
		head["Sec-WebSocket-Accept"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAA="
	case s.defects[noUpgrade]:
		delete(head, "Upgrade")
	case s.defects[noConnection]:
		delete(head, "Connection")
	case s.defects[strangeProtocol]:
		head["Sec-WebSocket-Protocol"] = "smtp"
	case s.defects[strangeExtension]:
		head["Sec-WebSocket-Extensions"] = "permessage-deflate"
	}
	text := "HTTP/1.1 101 Switching Protocols\r\n"
	for name, value := range head {
		text += name + ": " + value + "\r\n"
	}
	return text + "\r\n"
}

// peer is the server's end of a session.
type peer struct {
	net.Conn
	in    *bufio.Reader
	id    string
	moved bool
	left  bool // it has sent a Close after holdfast leave

	sending sync.Mutex
	working sync.WaitGroup // pending answers
}

func (p *peer) send(first byte, payload ...byte) {
	p.sending.Lock()
	defer p.sending.Unlock()
	p.Write(append([]byte{first, byte(len(payload))}, payload...))
}

func (s *server) session(p *peer) {
	if s.defects[masksFrames] {
		p.Write([]byte{0x81, 0x80, 1, 2, 3, 4})
	}
	defer p.working.Wait()
	s.greet(p)
	for {
		if p.id == "" && (s.defects[impatient] || s.defects[impatientCut]) { // sessions with an ID must stay open while one moves
			p.SetReadDeadline(time.Now().Add(testIdle / 3))
		}
		var head [6]byte
		_, err := io.ReadFull(p.in, head[:])
		if isTimeout(err) && s.defects[impatient] {
			p.send(0x88, 0x03, 0xe9)
		}
		payload := make([]byte, head[1]&0x7f)
		if err == nil {
			_, err = io.ReadFull(p.in, payload)
		}
		if err != nil {
			return
		}
		for i := range payload {
			payload[i] ^= head[2+i%4]
		}
		switch head[0] {
		case 0x81:
			s.count(p, string(payload))
		case 0x89:
			s.pong(p, payload)
			s.onNotice(p, string(payload))
		case 0x88:
			if !p.left {
				s.closed(p, payload)
			}
			return
		}
	}
}

func (s *server) pong(p *peer, payload []byte) {
	s.mu.Lock()
	stuck := s.defects[noPong] || s.phase != serving && s.defects[stuckInNotice]
	s.mu.Unlock()
	switch {
	case stuck:
		return
	case s.defects[wrongPong]:
		payload = []byte("hello")
	case s.defects[latePong] && !isNotice(payload) && !s.sleep(maxPongTime+maxPongTime/10):
		return
	}
	p.send(0x8a, payload...)
}

func (s *server) closed(p *peer, payload []byte) {
	switch {
	case s.defects[cutsOnClose]:
		return
	case s.defects[ignoresClose]:
		<-s.ended
		return
	}
	p.send(0x88, payload...)
	if s.defects[sendsAfterClose] {
		p.send(0x81, 'x')
	}
	if s.defects[staysOpen] {
		<-s.ended
	}
}

// stop does what SIGTERM does.
func (s *server) stop() { close(s.stopped) }

func (s *server) enter(phase int) (open []*peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = phase
	for p := range s.open {
		open = append(open, p)
	}
	return open
}

func (s *server) drain() {
	select {
	case <-s.stopped:
	case <-s.ended:
		return
	}
	if s.defects[ignoresTerm] {
		return
	}
	s.enter(notifying)
	if !s.defects[noNotice] && !s.sleep(testNotice) || s.defects[neverCloses] {
		return
	}
	open := s.enter(closing)
	for i, p := range open {
		if i == len(open)/2 {
			s.enter(closedHalf)
		}
		switch {
		case s.defects[cutsInDrain]:
			p.Close()
		case s.defects[closes1000]:
			p.send(0x88, 0x03, 0xe8)
		default:
			p.send(0x88, 0x03, 0xe9)
		}
		if !s.defects[closesAtOnce] && !s.sleep(testSpread/time.Duration(len(open)-1)) {
			return
		}
	}
	if !s.defects[staysUp] {
		s.listener.Close()
	}
}
