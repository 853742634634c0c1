package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	queryTimeout = 2 * time.Second // for one query to one server
	queryRounds  = 2               // over all servers
	// udpSize fits everywhere without fragmentation (DNS Flag Day 2020).
	udpSize = 1232
)

// exchange sends m to server over network, "udp" or "tcp", and returns the reply with
// the same ID.
type exchange func(ctx context.Context, network, server string, m *dns.Msg) (*dns.Msg, error)

// overNetwork is the exchange that uses real sockets.
func overNetwork(ctx context.Context, network, server string, m *dns.Msg) (*dns.Msg, error) {
	c := dns.Client{Net: network, Timeout: queryTimeout}
	conn, err := c.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The library respects the context's deadline, but not its cancellation.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	reply, _, err := c.ExchangeWithConnContext(ctx, m, conn)
	return reply, err
}

// resolver queries several servers. It is safe for concurrent use.
type resolver struct {
	exchange exchange

	mu   sync.Mutex // guards the following
	good string     // the server that answered last, and is asked first
}

// query asks for the records of type t. A reply without records, or the error
// noRecords, is a firm answer that there are none.
func (r *resolver) query(ctx context.Context, servers []string, name string, t uint16) (*dns.Msg, error) {
	servers = r.inOrder(servers)
	failures := make([]string, len(servers))
	for range queryRounds {
		for i, server := range servers {
			reply, err := r.ask(ctx, server, name, t)
			if err == nil {
				r.mu.Lock()
				r.good = server
				r.mu.Unlock()
				return reply, nil
			}
			if ctx.Err() != nil {
				return nil, fmt.Errorf("no answer within %v", roundTimeout)
			}
			failures[i] = server + " " + explain(err)
		}
	}
	return nil, errors.New(strings.Join(failures, ", "))
}

func (r *resolver) inOrder(servers []string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	servers = slices.Clone(servers)
	if i := slices.Index(servers, r.good); i > 0 {
		servers[0], servers[i] = servers[i], servers[0]
	}
	return servers
}

// ask sends one query to one server over UDP: with EDNS0, and again without if the
// server doesn't know that (RFC 6891 section 7). If the reply was truncated, it asks
// again over TCP.
func (r *resolver) ask(ctx context.Context, server, name string, t uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name, t)
	q.SetEdns0(udpSize, false)
	reply, err := r.exchange(ctx, "udp", server, q)
	if err == nil && (reply.Rcode == dns.RcodeFormatError || reply.Rcode == dns.RcodeNotImplemented) {
		q.Extra = nil
		reply, err = r.exchange(ctx, "udp", server, q)
	}
	if reply != nil && reply.Truncated { // whatever err says about the rest
		reply, err = r.exchange(ctx, "tcp", server, q)
	}
	if err != nil {
		return nil, err
	}
	return reply, check(q, reply)
}

// check reports what keeps reply from being a reliable answer to q; the answer that
// there is nothing is reliable, too.
func check(q, reply *dns.Msg) error {
	asked := q.Question[0]
	switch {
	case !reply.Response || len(reply.Question) != 1,
		dns.CanonicalName(reply.Question[0].Name) != dns.CanonicalName(asked.Name),
		reply.Question[0].Qtype != asked.Qtype, reply.Question[0].Qclass != asked.Qclass:
		return errors.New("answers another question")
	case reply.Truncated:
		return errors.New("truncates its answer even over TCP")
	case reply.Rcode == dns.RcodeNameError:
		return nil
	case reply.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("answers %s", cmp.Or(dns.RcodeToString[reply.Rcode], fmt.Sprintf("code %d", reply.Rcode)))
	case len(reply.Answer) == 0 && !reply.Authoritative && !reply.RecursionAvailable && !hasSOA(reply):
		// A referral: this server neither has the zone nor queries others.
		return errors.New("does not resolve this name")
	}
	return nil
}

func hasSOA(m *dns.Msg) bool {
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			return true
		}
	}
	return false
}

// explain describes err as the rest of a sentence that begins with the server's
// address, without local addresses and ports, which differ each time.
func explain(err error) string {
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return fmt.Sprintf("does not answer within %v", queryTimeout)
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return "does not answer: " + e.Err.Error()
	}
	if e, ok := errors.AsType[*dns.Error](err); ok {
		return "sent a broken answer: " + e.Error()
	}
	return err.Error()
}

// withPort adds a port to an address that has none.
func withPort(server, port string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(server, port)
}
