package nameserver

import (
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestServer(t *testing.T) {
	s := Start(t, "a.test. 1 IN A 10.0.0.1")
	client := &dns.Client{Timeout: 100 * time.Millisecond}
	ask := func(name string) (*dns.Msg, error) {
		m, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), s.Address)
		return m, err
	}
	must := func(name string, rcode, answers int) {
		t.Helper()
		client.Timeout = time.Minute
		m, err := ask(name)
		if err != nil {
			t.Fatal(err)
		}
		if m.Rcode != rcode || len(m.Answer) != answers {
			t.Errorf("the answer for %s is %v", name, m)
		}
	}
	must("a.test.", dns.RcodeSuccess, 1)
	must("b.test.", dns.RcodeNameError, 0)
	s.Set(t, "b.test. 1 IN A 10.0.0.2", "b.test. 1 IN A 10.0.0.3")
	must("a.test.", dns.RcodeNameError, 0)
	must("b.test.", dns.RcodeSuccess, 2)
	s.Fail(dns.RcodeServerFailure)
	must("b.test.", dns.RcodeServerFailure, 0)
	s.Fail(Silence)
	client.Timeout = 100 * time.Millisecond
	if m, err := ask("b.test."); err == nil {
		t.Errorf("a silent server answered %v", m)
	}
	s.Fail(NoFailure)
	must("b.test.", dns.RcodeSuccess, 2)
	if n := s.Queries(); n != 7 {
		t.Errorf("%d queries, want 7", n)
	}
}
