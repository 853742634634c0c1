package doctor

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What can be wrong with a server of these tests.
const (
	wrongAccept      = "a wrong accept key"
	noUpgrade        = "no Upgrade in the 101"
	noConnection     = "no Connection in the 101"
	strangeProtocol  = "a subprotocol that was not offered"
	strangeExtension = "an extension that was not offered"
	saysNothing      = "no answer to the handshake"
	speaksAnother    = "another protocol"
	says401          = "401"
	says404          = "404"
	says426          = "426"
	says503          = "503"

	noPong      = "no pong"
	wrongPong   = "a pong of its own"
	latePong    = "a late pong"
	masksFrames = "masked frames"

	ignoresClose   = "no answer to Close"
	cutsOnClose    = "a cut in answer to Close"
	staysOpen      = "an open connection after Close"
	talksPastClose = "words after Close"

	refusesMoved  = "404 for reattached sessions"
	failsMoved    = "500 for reattached sessions"
	kicksOld      = "one connection a session"
	losesNew      = "sessions that end with their first connection"
	secondChoice  = "another subprotocol the second time"
	secondDeflate = "other compression the second time"
	takesOver     = "context takeover"

	noHealth     = "no health path"
	alwaysDrains = "health that is 503"
	redirects    = "health that is elsewhere"
	strangeLoad  = "a strange load"
	impatient    = "a short idle timeout"
	impatientCut = "a short idle timeout and no Close"

	never503      = "no 503 in a drain"
	late503       = "503 after the closes"
	noNotice      = "no notice"
	deafInNotice  = "handshakes refused in the notice"
	stuckInNotice = "no pongs in the notice"
	cutsInDrain   = "no Close in a drain"
	closes1000    = "1000 in a drain"
	closesAtOnce  = "all closed at once"
	takesMore     = "handshakes taken while closing"
	staysUp       = "no exit"
	neverCloses   = "sessions that never end"
	ignoresTerm   = "SIGTERM ignored"
)

// server is a WebSocket server with defects.
type server struct {
	listener net.Listener
	host     string // "" for any
	running  sync.WaitGroup
	stopped  chan struct{} // it was told to stop
	ended    chan struct{} // the test is over

	mu      sync.Mutex
	defects map[string]bool
	open    map[*peer]string // sessions, with the id
	phase   int
}

// The phases of a drain.
const (
	goesOn = iota
	givesNotice
	closes
	saysSo // as late503 has it
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
	s := &server{listener: l, stopped: make(chan struct{}), ended: make(chan struct{}), defects: map[string]bool{}, open: map[*peer]string{}}
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

// sleep tells whether the test goes on.
func (s *server) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.ended:
		return false
	}
}

func (s *server) serve(c net.Conn) {
	if s.defects[speaksAnother] {
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
		p := &peer{Conn: c, in: in}
		id := r.Header.Get("Holdfast-Session")
		s.mu.Lock()
		for old, of := range s.open {
			if s.defects[kicksOld] && id != "" && id == of {
				old.Close()
			}
		}
		s.open[p] = id
		s.mu.Unlock()
		io.WriteString(c, head)
		if s.phase101(head) {
			s.session(p)
		}
		s.mu.Lock()
		delete(s.open, p)
		for other, of := range s.open {
			if s.defects[losesNew] && id != "" && id == of {
				other.Close()
			}
		}
		s.mu.Unlock()
	}
}

func (s *server) phase101(head string) bool { return strings.HasPrefix(head, "HTTP/1.1 101") }

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
		s.phase != goesOn && !s.defects[never503] && (!s.defects[late503] || s.phase == saysSo):
		status = "503 Service Unavailable"
	}
	fmt.Fprintf(c, "HTTP/1.1 %s\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n", status, more)
}

// answer is the head that answers a handshake, "" for none.
func (s *server) answer(r *http.Request) string {
	moved := r.Header.Get("Holdfast-Reattach") != ""
	s.mu.Lock()
	defer s.mu.Unlock()
	status := ""
	switch {
	case s.defects[saysNothing]:
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
	case moved && s.defects[failsMoved]:
		status = "500 Internal Server Error"
	case s.defects[says503],
		s.phase == givesNotice && s.defects[deafInNotice], s.phase >= closes && !s.defects[takesMore]:
		status = "503 Service Unavailable"
	}
	if status != "" {
		return "HTTP/1.1 " + status + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	head := map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade",
		"Sec-WebSocket-Accept": base64.StdEncoding.EncodeToString(sum[:]),
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
	in *bufio.Reader
}

func (p *peer) send(first byte, payload ...byte) {
	p.Write(append([]byte{first, byte(len(payload))}, payload...))
}

func (s *server) session(p *peer) {
	if s.defects[masksFrames] {
		p.Write([]byte{0x81, 0x80, 1, 2, 3, 4})
	}
	for {
		if s.defects[impatient] || s.defects[impatientCut] {
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
		case 0x89:
			s.pong(p, payload)
		case 0x88:
			s.closed(p, payload)
			return
		}
	}
}

func (s *server) pong(p *peer, payload []byte) {
	s.mu.Lock()
	stuck := s.defects[noPong] || s.phase != goesOn && s.defects[stuckInNotice]
	s.mu.Unlock()
	switch {
	case stuck:
		return
	case s.defects[wrongPong]:
		payload = []byte("hello")
	case s.defects[latePong] && !s.sleep(promptly+promptly/10):
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
	if s.defects[talksPastClose] {
		p.send(0x81, 'x')
	}
	if s.defects[staysOpen] {
		<-s.ended
	}
}

// stop is SIGTERM.
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
	s.enter(givesNotice)
	if !s.defects[noNotice] && !s.sleep(testNotice) || s.defects[neverCloses] {
		return
	}
	open := s.enter(closes)
	for i, p := range open {
		if i == len(open)/2 {
			s.enter(saysSo)
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
