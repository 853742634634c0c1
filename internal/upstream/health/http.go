package health

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// userAgent lets backends tell checks from clients.
const userAgent = "holdfast-health"

// HTTP is a check by one request.
type HTTP struct {
	Path    string // with a query, if any; "" means /
	Method  string // "" means GET
	Host    string // "" means the backend's address as configured, or localhost for a unix socket
	Headers [][2]string
	Expect  []StatusRange // none means 200-299
	Body    string        // what the first 64 KiB of the answer's body must have in them; "" means anything
}

func (h HTTP) label() string { return "http check " + cmp.Or(h.Path, "/") }

func (h HTTP) newCheck(c *connector) check { return newHTTPCheck(c, h) }

// StatusRange is a range of HTTP statuses, including both ends.
type StatusRange struct{ From, To int }

func (r StatusRange) String() string {
	if r.From == r.To {
		return fmt.Sprint(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// accepts reports whether the status passes, or which statuses do.
func (h HTTP) accepts(status int) (ok bool, words string) {
	expect := h.Expect
	if len(expect) == 0 {
		expect = []StatusRange{{200, 299}}
	}
	texts := make([]string, len(expect))
	for i, r := range expect {
		if r.From <= status && status <= r.To {
			return true, ""
		}
		texts[i] = r.String()
	}
	return false, strings.Join(texts, ", ")
}

// httpCheck sends one request. It doesn't follow redirects: the status must be one
// of those expected.
type httpCheck struct {
	*connector
	spec    HTTP
	request []byte // the same each time
	req     *http.Request
	err     error // of the Spec
}

func newHTTPCheck(c *connector, spec HTTP) *httpCheck {
	p := &httpCheck{connector: c, spec: spec}
	path, err := url.ParseRequestURI(cmp.Or(spec.Path, "/"))
	if err != nil {
		p.err = err
		return p
	}
	p.req = &http.Request{
		Method: cmp.Or(spec.Method, http.MethodGet), URL: path, Host: cmp.Or(spec.Host, c.authority()),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: headers(spec.Headers), Close: true,
	}
	var request bytes.Buffer
	p.err = p.req.Write(&request)
	p.request = request.Bytes()
	return p
}

// headers returns the fields of a Spec and our own.
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

func (p *httpCheck) run(ctx context.Context, addr hostport.Endpoint) result {
	if p.err != nil {
		return failedResult(p.err.Error())
	}
	conn, err := p.connect(ctx, addr)
	if err != nil {
		return failedResult(err.Error())
	}
	defer conn.Close()
	e := newHTTPExchange(conn)
	resp, err := e.do(p.request, p.req)
	if err != nil {
		return p.failure(ctx, err)
	}
	a := readLoad(resp.Header)
	a.reason = fmt.Sprintf("status %d", resp.StatusCode)
	ok, want := p.spec.accepts(resp.StatusCode)
	switch {
	case ok:
		body, err := e.readBody(resp, p.spec.Body != "")
		switch {
		case err != nil:
			a.reason += ", then " + p.explain(ctx, err)
		case !bytes.Contains(body, []byte(p.spec.Body)):
			a.reason += fmt.Sprintf(", and %.64q is not in its body", p.spec.Body)
		default:
			a.verdict = passed
		}
	case resp.StatusCode == http.StatusServiceUnavailable:
		a.verdict = drains
	default:
		a.reason += ", want " + want
	}
	return a
}
