package nginx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
)

// authRequest has an endpoint asked about each client.
func (sc *scope) authRequest(lv *level, r *route) {
	d, cv := lv.one("auth_request"), sc.cv
	if d == nil {
		return
	}
	if d.Args[0] == "off" {
		cv.carry(d)
		return
	}
	request, err := sc.endpoint(d, lv)
	if err != nil {
		cv.refuse(d, err.Error())
		// Nobody is let in by mistake if the loss is accepted: that is what was accepted.
		return
	}
	r.Auth = &config.Auth{Request: request}
	cv.differ(d, "the endpoint gets Authorization, Cookie, X-Original-URL, X-Original-Method and X-Forwarded-For: list other fields under auth: {request: {headers: …}}; if it gives no answer, the client gets 503, and a 401 without WWW-Authenticate gets one for Bearer").in(r, "auth")
}

// endpoint finds the location that asks.
func (sc *scope) endpoint(d *syntax.Directive, lv *level) (*config.AuthRequest, error) {
	uri := d.Args[0]
	loc := find(&sc.server.locations, uri)
	if loc == nil {
		return nil, fmt.Errorf("no location of this server has the path %s", uri)
	}
	pass := handler(loc.lv, "proxy_pass")
	if pass == nil {
		return nil, errors.New("the location that is asked has no proxy_pass")
	}
	in := *sc
	in.proxy = nil
	in.env = sc.sets(loc.lv)
	t, err := in.target(pass)
	if err != nil {
		return nil, err
	}
	path := t.path
	if path == "" {
		path = uri
	}
	if strings.Contains(path, "$") {
		return nil, errors.New("the path of the endpoint must be known beforehand")
	}
	scheme, host := "http", t.up.address
	if t.tls {
		scheme = "https"
	}
	if t.up.lv != nil {
		servers := t.up.lv.own("server")
		if len(servers) == 0 || len(servers[0].Args) == 0 {
			return nil, errors.New("its upstream has no server")
		}
		a, err := serverAddress(servers[0].Args[0], t.port)
		if err != nil {
			return nil, err
		}
		if host = a.String(); len(servers) > 1 {
			sc.cv.differ(d, "only the first server of its upstream is asked: give auth: {request: {url: …}} an address that leads to all")
		}
		sc.cv.carry(t.up.d)
		for _, s := range servers {
			sc.cv.carry(s)
		}
	}
	if strings.HasPrefix(host, "unix:") {
		return nil, errors.New("an endpoint can't be asked by a unix socket")
	}
	request := new(config.AuthRequest)
	request.SetDefaults()
	request.URL = scheme + "://" + host + path
	sc.authHeaders(request, loc.lv, lv)
	sc.cv.carry(pass)
	sc.cv.skipAll(loc.lv.list, "the endpoint is asked with a GET, no body, and the fields of auth.request.headers")
	return request, nil
}

// sets is the values of variables, with those that a block sets.
func (sc *scope) sets(lv *level) map[string]string {
	in := sc
	for _, d := range lv.own("set") {
		if len(d.Args) == 2 {
			in = in.with(variableName(strings.TrimPrefix(d.Args[0], "$")), d.Args[1])
		}
	}
	return in.env
}

// authHeaders sets what the endpoint gets, and what of its answer the backend gets.
func (sc *scope) authHeaders(request *config.AuthRequest, asked, lv *level) {
	cv := sc.cv
	for _, h := range asked.all("proxy_set_header") {
		if len(h.Args) != 2 {
			continue
		}
		for _, p := range split(h.Args[1]) {
			name, ok := strings.CutPrefix(p.variable, "http_")
			if ok && strings.EqualFold(headerName(name), h.Args[0]) && !ownHeader(h.Args[0]) && !strings.EqualFold(h.Args[0], "host") &&
				!slices.ContainsFunc(request.Headers, func(s string) bool { return strings.EqualFold(s, h.Args[0]) }) {
				request.Headers = append(request.Headers, h.Args[0])
			}
		}
	}
	from := map[string]string{} // variables, and the fields of the answer
	for _, s := range lv.all("auth_request_set") {
		if len(s.Args) != 2 {
			continue
		}
		field, ok := strings.CutPrefix(s.Args[1], "$upstream_http_")
		if !ok {
			cv.refuse(s, "only fields of the endpoint's answer ($upstream_http_…) can be passed on")
			continue
		}
		from[strings.ToLower(s.Args[0])] = headerName(field)
		cv.carry(s)
	}
	for _, h := range lv.all("proxy_set_header") {
		if len(h.Args) != 2 || from[strings.ToLower(h.Args[1])] == "" {
			continue
		}
		field := from[strings.ToLower(h.Args[1])]
		if !slices.Contains(request.CopyHeaders, field) {
			request.CopyHeaders = append(request.CopyHeaders, field)
		}
		if !strings.EqualFold(field, h.Args[0]) {
			cv.differ(h, "the backend gets the field as the endpoint calls it, "+field)
		} else {
			cv.carry(h)
		}
	}
}

// fromAuth reports whether a value is a field of the endpoint's answer.
func fromAuth(lv *level, value string) bool {
	for _, s := range lv.all("auth_request_set") {
		if len(s.Args) == 2 && strings.EqualFold(s.Args[0], value) {
			return true
		}
	}
	return false
}

// find is the location for a path, without regular expressions.
func find(list *locations, path string) *location {
	for _, loc := range list.exact {
		if loc.path == path {
			return loc
		}
	}
	for _, loc := range list.prefixes {
		if strings.HasPrefix(path, loc.path) {
			if inner := find(&loc.inner, path); inner != nil {
				return inner
			}
			return loc
		}
	}
	return nil
}
