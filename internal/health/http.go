package health

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
)

// userAgent lets backends tell checks from clients.
const userAgent = "holdfast-health"

// httpProbe asks for a page. Redirects are not followed: a status that is
// wanted is a pass, any other is not.
type httpProbe struct {
	*connector
	spec    HTTP
	request []byte // the same each time
	req     *http.Request
	err     error // of the Spec
}

func newHTTPProbe(c *connector, spec *HTTP) *httpProbe {
	p := &httpProbe{connector: c, spec: *spec}
	path, err := url.ParseRequestURI(cmp.Or(spec.Path, "/"))
	if err != nil {
		p.err = err
		return p
	}
	p.req = &http.Request{
		Method: cmp.Or(spec.Method, http.MethodGet), URL: path, Host: cmp.Or(spec.Host, c.backend.Address),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: headers(spec.Header), Close: true,
	}
	var request bytes.Buffer
	p.err = p.req.Write(&request)
	p.request = request.Bytes()
	return p
}

// headers are those of a Spec, and ours.
func headers(pairs [][2]string) http.Header {
	h := http.Header{}
	for _, pair := range pairs {
		h.Add(pair[0], pair[1])
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", userAgent)
	}
	return h
}

func (p *httpProbe) ask(ctx context.Context, addr netip.AddrPort) answer {
	if p.err != nil {
		return answer{finding: finding{verdict: failed, reason: p.err.Error()}}
	}
	conn, err := p.connect(ctx, addr)
	if err != nil {
		return answer{finding: finding{verdict: failed, reason: err.Error()}}
	}
	defer conn.Close()
	e := newExchange(conn)
	resp, err := e.do(p.request, p.req)
	if err != nil {
		return p.failure(ctx, err)
	}
	a := heardLoad(resp.Header)
	a.reason = fmt.Sprintf("status %d", resp.StatusCode)
	ok, want := p.spec.wanted(resp.StatusCode)
	switch {
	case ok:
		if err := e.readBody(resp); err != nil {
			a.reason += ", then " + p.explain(ctx, err)
			break
		}
		a.verdict = passed
	case resp.StatusCode == http.StatusServiceUnavailable:
		a.verdict = drains
	default:
		a.reason += ", want " + want
	}
	return a
}
