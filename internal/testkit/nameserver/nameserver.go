// Package nameserver is a DNS server for tests, with one zone.
package nameserver

import (
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server is a DNS server that ends with the test.
type Server struct {
	Address string

	mu      sync.Mutex // guards the following
	records []dns.RR
	rcode   int // see Fail
	queries int
}

// Arguments of Fail, beside the Rcodes.
const (
	NoFailure = dns.RcodeSuccess
	Silence   = -1 // no query is answered
)

// Start starts a server with these records, see Set. It speaks UDP.
func Start(t testing.TB, records ...string) *Server {
	t.Helper()
	return StartAt(t, "127.0.0.1:0", records...)
}

// StartAt is Start at an address.
func StartAt(t testing.TB, address string, records ...string) *Server {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, conn.LocalAddr(), &dns.Server{PacketConn: conn}, records)
}

// StartTCP is Start for a server that speaks only TCP.
func StartTCP(t testing.TB, records ...string) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return start(t, ln.Addr(), &dns.Server{Listener: ln}, records)
}

func start(t testing.TB, at net.Addr, server *dns.Server, records []string) *Server {
	s := &Server{Address: at.String()}
	s.Set(t, records...)
	started, ended := make(chan struct{}), make(chan error, 1)
	server.Handler, server.NotifyStartedFunc = s, func() { close(started) }
	go func() { ended <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		server.Shutdown()
		if err := <-ended; err != nil {
			t.Errorf("the DNS server ended with %v", err)
		}
	})
	return s
}

// Set replaces the records of the zone. They have the form of a zone file.
func (s *Server) Set(t testing.TB, records ...string) {
	t.Helper()
	var all []dns.RR
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = all
}

// Fail makes the server answer every query with an Rcode, or no query with
// Silence. NoFailure ends that.
func (s *Server) Fail(rcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcode = rcode
}

// Queries returns the number of queries so far.
func (s *Server) Queries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries++
	if s.rcode == Silence {
		return
	}
	m := new(dns.Msg).SetRcode(q, s.rcode)
	m.Authoritative = true
	if s.rcode == NoFailure {
		known := false
		for _, rr := range s.records {
			if h := rr.Header(); h.Name == q.Question[0].Name {
				known = true
				if h.Rrtype == q.Question[0].Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		if !known {
			m.Rcode = dns.RcodeNameError
		}
	}
	w.WriteMsg(m)
}
