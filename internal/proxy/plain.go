package proxy

import (
	"errors"
	"net"
	"net/http"
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/retry"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// newPlain makes what serves everything that is not a WebSocket, with net/http.
func (p *Proxy) newPlain(g *generation.Generation) (*httpproxy.Proxy, *httpproxy.Server) {
	plain := httpproxy.New(httpproxy.Options{
		Upstream:    upstream{p},
		Prepare:     p.preparePlain,
		Finish:      p.finishPlain,
		Permit:      p.permitPlain,
		EditRequest: editRequest,
		EditAnswer:  editAnswer,
		Target:      targetOf,
		IsReserved:  isReserved,
		Timeouts:    plainTimeouts,
		Via:         func() bool { return p.generation.Load().Forwarded.Via },
		Attempts:    retry.MaxBackends,
		// They aren't counted as sessions, though they take descriptors.
		MaxIdle: overload.Spare(),
		Done:    p.plainDone,
		Cut:     p.HTTPCut,
		Client:  p.plainClient,
		About:   plainAbout,
		Log:     p.Log,
	})
	server := httpproxy.NewServer(httpproxy.ServerOptions{
		Addr:      &net.TCPAddr{},
		Handler:   plain,
		Limits:    g.ClientLimits(),
		IsPlain:   p.isPlain,
		HandBack:  p.adopt,
		Enter:     p.enterStream,
		Leave:     p.Gate.SessionEnded,
		ConnEnded: p.httpEnded,
		Log:       p.Log,
	})
	return plain, server
}

// isPlain reports whether a request on a kept-alive connection is for net/http. The
// others are for the spine, which must then not hand them to net/http.
func (p *Proxy) isPlain(m *transport.Meta, r *httphead.Request) bool {
	_, challenge := p.challenge(r)
	return !challenge && !handshake.IsWebSocket(r) && !p.isOtherUpgrade(m, r)
}

// HTTPRequests is the number of plain HTTP requests that are at a backend now.
func (p *Proxy) HTTPRequests() int { return p.plain.Requests() }

// CutAnswers ends plain HTTP requests, see [httpproxy.Proxy.CutAnswers].
func (p *Proxy) CutAnswers(c httpproxy.Cut) int { return p.plain.CutAnswers(c) }

// KeepAnswers cancels what CutAnswers has not done yet.
func (p *Proxy) KeepAnswers(which func(backend uint32, events bool) bool) { p.plain.KeepAnswers(which) }

// httpEnded ends what handToHTTP began for a connection.
func (p *Proxy) httpEnded(meta transport.Meta, asked bool) {
	if !asked {
		g := p.generation.Load()
		p.Limiter.AfterTLS(&g.Common, limitedPeer(g, meta.Peer))
	}
	if on := meta.Listener; on != nil && on.MaxSessions > 0 {
		p.Limiter.EndedOn(on.Name)
	}
	p.connectionEnded(meta.Peer)
	p.HTTPEnds()
	p.Gate.SessionEnded()
}

// enterStream counts a request of an HTTP/2 connection that has others, as a session:
// it needs a connection to a backend of its own.
func (p *Proxy) enterStream() error {
	if p.Gate.Full() {
		p.server.CloseIdle()
	}
	ticket, err := p.Gate.Enter(netip.Addr{})
	if err != nil {
		return plainRefusal(err)
	}
	ticket.Opened()
	return nil
}

// upstream chooses backends for plain HTTP, with the same routes and pickers.
type upstream struct{ p *Proxy }

// Pick implements httpproxy.Upstream; keys are members' indexes.
func (u upstream) Pick(r *http.Request, tried, own []uint32) (httpproxy.Target, error) {
	s := plainOf(r)
	if g := u.p.generation.Load(); g != s.gen {
		s.chooseRoute(g) // a reload may have replaced the backends since
		if err := u.p.permitPlain(r); err != nil {
			return httpproxy.Target{}, err
		}
	}
	if err := s.refused(); err != nil {
		return httpproxy.Target{}, err
	}
	var t balance.Tried
	for _, i := range tried {
		t.Add(int(i))
	}
	if err := s.stayWith(own); err != nil {
		return httpproxy.Target{}, err
	}
	g, rule := s.gen, s.rule
	pool := g.Pools[rule.Pool]
	c, marked, result, err := pool.TakePlain(s.parts(), t, own)
	count := func() {
		if result != "" {
			u.p.Watcher.AffinityDone(rule.Pool, result)
		}
	}
	if err != nil {
		if !s.passedOver { // otherwise the choice before counts
			count()
		}
		refused := plainRefusal(err)
		refused.Pool = rule.Pool
		refused.Final = errors.Is(err, generation.ErrAffinity)
		return httpproxy.Target{}, refused
	}
	s.facts.Backend = c.Backend.Name
	to := pool.Target(c)
	picked := httpproxy.Target{Host: to.Host, Key: uint32(c.Index), Backend: c.Backend.ID, Pool: c.Backend.Pool, Name: c.Backend.Name, Addr: c.Addr, Release: c.Backend.ReleaseRequest,
		Reached: func(err error) {
			if err == nil || len(tried) == retry.MaxBackends-1 {
				count() // otherwise the next choice decides the result
			}
			if err == nil {
				c.Backend.HandshakeSucceeded()
			} else if another := c.Backend.DialFailed(c.Addr); !another {
				c.Backend.ConnectFailed(err.Error())
			}
		}}
	if on := pool.RetryOn; on != nil {
		picked.PassOver = func(status int) bool {
			s.passedOver = retry.Answered(on, status, r.Method, r.ContentLength != 0, len(tried)+1)
			if s.passedOver {
				c.Backend.HandshakeSucceeded()
			}
			return s.passedOver
		}
	}
	if pool.ProxyProtocol != proxyproto.Off {
		meta := httpproxy.MetaOf(r)
		picked.Header = string(attempt.AppendProxyHeader(nil, pool, &meta, g.Forwarded.ClientAddrOf(r.Header, meta.Peer)))
	}
	if pool.TLS != nil {
		picked.TLS = pool.TLS
	}
	if pool.Cookie != nil && marked != c.Index {
		https := g.Forwarded.IsHTTPSOf(r.Header, attempt.HopOf(httpproxy.MetaOf(r), nil))
		picked.SetCookie = string(pool.Cookie.AppendSetCookie(nil, c.Index, https))
	}
	return picked, nil
}

// plainRefusal is the answer to a request that fails with err. It is the same as
// for a handshake.
func plainRefusal(err error) *httpproxy.Error {
	f := failure.Of(err)
	r := f.Refusal
	return &httpproxy.Error{Status: r.Status, Text: r.Message, ContentType: r.ContentType, Header: r.Header, Reason: err.Error(), RetryAfter: retryAfter(f)}
}

// plainClient is the address of the client that sent r, through trusted proxies.
func (p *Proxy) plainClient(r *http.Request) string {
	return p.generation.Load().Forwarded.ClientAddrOf(r.Header, httpproxy.MetaOf(r).Peer).String()
}

// adopt brings a connection that was kept alive for plain HTTP back to the
// beginning of the spine, since something else has come on it: a handshake, or
// bytes that are no request.
func (p *Proxy) adopt(conn net.Conn, meta transport.Meta, first []byte) {
	if err := tlsconn.Adopt(p.Engine, conn, meta, first, p.Serve); err != nil {
		p.Log.Error("cannot take a connection back from plain HTTP", "error", err)
		conn.Close()
	}
}
