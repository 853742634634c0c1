//go:build unix

package e2e

import (
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// nameServer is a DNS server with one zone, over UDP.
type nameServer struct {
	address string

	mu      sync.Mutex // guards the following
	records []dns.RR
	trouble int // an Rcode for all questions, or one of the two below
	asked   int
}

const (
	noTrouble = dns.RcodeSuccess
	silence   = -1 // no answer to anything
)

// startNameServer starts one with these records, see set.
func startNameServer(t testing.TB, records ...string) *nameServer {
	t.Helper()
	s := &nameServer{}
	s.set(t, records...)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = conn.LocalAddr().String()
	started, ended := make(chan struct{}), make(chan error, 1)
	server := &dns.Server{PacketConn: conn, Handler: s, NotifyStartedFunc: func() { close(started) }}
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

// set changes the zone to these records, in the form of a zone file.
func (s *nameServer) set(t testing.TB, records ...string) {
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

// fail has every question answered with an Rcode, or not at all with silence.
func (s *nameServer) fail(trouble int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = trouble
}

// questions counts those that came.
func (s *nameServer) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// ServeDNS implements dns.Handler.
func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.trouble == silence {
		return
	}
	m := new(dns.Msg).SetRcode(q, s.trouble)
	m.Authoritative = true
	if s.trouble == noTrouble {
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
