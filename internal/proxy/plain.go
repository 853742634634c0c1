package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/forwarded"
	"github.com/holdfast-ws/holdfast/internal/handshake"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
)

// newPlain makes the way of everything that is not a WebSocket: net/http.
func (p *Proxy) newPlain(g *Generation) (*httpproxy.Proxy, *httpproxy.Server) {
	plain := httpproxy.New(httpproxy.Options{
		Upstream:       upstream{p},
		SetForwarded:   p.setForwarded,
		ConnectTimeout: g.Dial.Timeout,
		Attempts:       maxTries,
		Done:           p.HTTPDone,
		Log:            p.Log,
	})
	server := httpproxy.NewServer(httpproxy.ServerOptions{
		Addr:              &net.TCPAddr{},
		Handler:           plain,
		ReadHeaderTimeout: g.Handshake,
		OnWebSocket:       p.adopt,
		ConnEnded:         p.httpEnded,
		Log:               p.Log,
	})
	return plain, server
}

// httpEnded gives back what handToHTTP took for a connection.
func (p *Proxy) httpEnded() {
	p.HTTPEnds()
	p.Gate.SessionEnded()
}

// upstream chooses backends for plain HTTP with the same routes and pickers.
type upstream struct{ p *Proxy }

// Pick implements httpproxy.Upstream; keys are members' indexes.
func (u upstream) Pick(r *http.Request, tried []uint32) (httpproxy.Target, error) {
	g := u.p.generation.Load()
	// As it came, since routes are matched to what the backend will get.
	target := r.RequestURI
	if len(target) == 0 || target[0] != '/' {
		target = r.URL.RequestURI()
	}
	rule, err := g.Routes.Match(r.Host, target, false)
	if err != nil {
		return httpproxy.Target{}, plainRefusal(err)
	}
	var t balance.Tried
	for _, i := range tried {
		t.Add(int(i))
	}
	pool := g.Pools[rule.Pool]
	c, marked, result, err := pool.take(plainRequest{r, g.Forwarded, target}, t)
	count := func() {
		if result != "" {
			u.p.Watcher.AffinityDone(result)
		}
	}
	if err != nil {
		count()
		refused := plainRefusal(err)
		refused.Final = errors.Is(err, errSticky)
		return httpproxy.Target{}, refused
	}
	picked := httpproxy.Target{Key: uint32(c.Index), Name: c.Backend.Name, Addr: c.Addr, Release: c.Backend.Release,
		Reached: func(err error) {
			if err == nil || len(tried) == maxTries-1 {
				count() // or the next choice says what became of the client
			}
			if err == nil {
				c.Backend.HandshakeOK()
			} else if another := c.Backend.DialFailed(c.Addr); !another {
				c.Backend.HandshakeFailed(err.Error())
			}
		}}
	if pool.Cookie != nil && marked != c.Index {
		peer, _ := netip.ParseAddrPort(r.RemoteAddr)
		https := g.Forwarded.IsHTTPSOf(r.Header, forwarded.Hop{Peer: peer, Proto: "http"})
		picked.SetCookie = string(pool.Cookie.AppendSetCookie(nil, c.Index, https))
	}
	return picked, nil
}

// plainRefusal is what a request is told of err, as a handshake would be.
func plainRefusal(err error) *httpproxy.Error {
	r, _ := answer(err)
	refused := &httpproxy.Error{Status: r.Status, Text: r.Message}
	if r.Status == http.StatusServiceUnavailable {
		refused.RetryAfter = comeAgainIn()
	}
	return refused
}

func (p *Proxy) setForwarded(out http.Header, in *http.Request) {
	for name := range out {
		if handshake.Owns([]byte(name)) {
			delete(out, name)
		}
	}
	hop := forwarded.Hop{Host: []byte(in.Host), Proto: "http"}
	hop.Peer, _ = netip.ParseAddrPort(in.RemoteAddr)
	if local, ok := in.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		hop.Local, _ = netip.ParseAddrPort(local.String())
	}
	p.generation.Load().Forwarded.SetHeaders(out, in.Header, hop)
}

// adopt brings a handshake that came on a connection kept alive for plain HTTP
// back to the beginning of the spine, as the bytes it would have been had it
// come first.
func (p *Proxy) adopt(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		http.Error(w, "A request for a WebSocket must have no body.", http.StatusBadRequest)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "The connection can't be upgraded.", http.StatusInternalServerError)
		return
	}
	first := new(bytes.Buffer)
	fmt.Fprintf(first, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	r.Header.Write(first)
	first.WriteString("\r\n")
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n)
		first.Write(early)
	}
	if inner, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = inner.NetConn()
	}
	if err := p.Engine.Adopt(conn, first.Bytes(), p.Serve); err != nil {
		p.Log.Error("cannot take over a connection for a WebSocket", "error", err)
		conn.Close()
	}
}
