package nginx

import (
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
)

// fields are those that holdfast sends by itself: none, see whole.
var fields headeredit.Sent

// ownHeader reports whether holdfast sets a field of requests by itself.
func ownHeader(name string) bool {
	switch name = strings.ToLower(name); name {
	case "connection", "upgrade", "content-length", "transfer-encoding", "te", "trailer", "keep-alive", "proxy-connection":
		return true
	}
	return strings.HasPrefix(name, "sec-websocket-")
}

const byItself = "holdfast passes on WebSocket handshakes, and manages its own connections"

// requestHeaders sets the fields that a backend gets. A block with any proxy_set_header
// has none of those around it.
func (sc *scope) requestHeaders(d *syntax.Directive, lv *level, r *route) {
	cv := sc.cv
	host := "$proxy_host"
	var hostFrom *syntax.Directive
	upgrade, connection := false, false
	for _, h := range lv.all("proxy_set_header") {
		if len(h.Args) != 2 {
			cv.refuse(h, "write it as proxy_set_header NAME VALUE")
			continue
		}
		name, value := h.Args[0], h.Args[1]
		switch low := strings.ToLower(name); {
		case low == "host":
			host, hostFrom = value, h
		case ownHeader(name):
			upgrade = upgrade || low == "upgrade" && value != ""
			connection = connection || low == "connection" && sc.upgrades(value)
			cv.skip(h, byItself)
			sc.cv.usesMaps(value, byItself)
		case fromAuth(lv, value): // authRequest copies it
		default:
			sc.requestHeader(h, name, value, r)
		}
	}
	if !upgrade || !connection {
		cv.differ(d, "WebSockets pass, too: nginx would leave out Upgrade, and the backend would see a plain request").in(r, "pool")
	}
	sc.hostHeader(d, host, hostFrom, r)
}

// usesMaps notes the maps in a value that holdfast doesn't need.
func (cv *converter) usesMaps(value, why string) {
	for _, p := range split(value) {
		if m := cv.maps[p.variable]; m != nil {
			cv.skip(m.d, why)
			cv.skipAll(m.d.Block, why)
		}
	}
}

// upgrades reports whether a value of Connection can have the word upgrade in it.
func (sc *scope) upgrades(value string) bool {
	if strings.Contains(strings.ToLower(value), "upgrade") {
		return true // also $connection_upgrade and $http_upgrade
	}
	for _, p := range split(value) {
		if p.variable == "http_connection" {
			return true
		}
		if m := sc.cv.maps[p.variable]; m != nil && sc.depth < maxVariables {
			in := sc.inner()
			if in.upgrades(m.fallback) || slices.ContainsFunc(m.entries, func(e entry) bool { return in.upgrades(e.value) }) {
				return true
			}
		}
		if v, ok := sc.env[p.variable]; ok && sc.depth < maxVariables && sc.inner().upgrades(v) {
			return true
		}
	}
	return false
}

// clientFacts are nginx's variables for the certificate of a client, and holdfast's facts.
var clientFacts = map[string]string{
	"$ssl_client_s_dn": "subject", "$ssl_client_i_dn": "issuer", "$ssl_client_serial": "serial",
	"$ssl_client_escaped_cert": "pem", "$ssl_client_fingerprint": "fingerprint", "$ssl_client_verify": "verified",
	"$ssl_client_v_end": "not_after",
}

func (sc *scope) requestHeader(h *syntax.Directive, name, value string, r *route) {
	cv := sc.cv
	if fact := clientFacts[strings.ToLower(value)]; fact != "" {
		sc.clientFact(h, name, fact)
		return
	}
	if strings.EqualFold(name, "X-Request-ID") && strings.ToLower(value) == "$request_id" {
		cv.c.Forwarded.RequestID = true
		cv.differ(h, "clients get the field, too, and it is in the log").at("forwarded.request_id")
		return
	}
	if err := headeredit.Request.CheckName(name, fields); err != nil {
		cv.refuse(h, "holdfast sets this field itself: "+err.Error())
		return
	}
	t, err := sc.template(value)
	if err == nil && t != "" {
		_, err = headeredit.Parse(t)
	}
	switch {
	case err != nil:
		cv.refuse(h, err.Error())
	case t == "":
		if !slices.ContainsFunc(r.RequestHeaders.Remove, func(s string) bool { return strings.EqualFold(s, name) }) {
			r.RequestHeaders.Remove = append(r.RequestHeaders.Remove, name)
		}
		cv.carry(h).in(r, "request_headers")
	case has(r.RequestHeaders.Set, name):
		if has(r.RequestHeaders.Add, name) {
			cv.refuse(h, "the field is set more than twice")
			return
		}
		r.RequestHeaders.Add = append(r.RequestHeaders.Add, [2]string{name, t})
		cv.carry(h).in(r, "request_headers")
	default:
		r.RequestHeaders.Set = append(r.RequestHeaders.Set, [2]string{name, t})
		cv.carry(h).in(r, "request_headers")
	}
	if strings.Contains(value, "$proxy_add_x_forwarded_for") && cv.c.Forwarded.Trust != nil {
		cv.differ(h, "behind a trusted proxy, the proxy's address is appended: nginx appends the client's once more")
	}
	if strings.Contains(value, "$uri") || strings.Contains(value, "$document_uri") {
		cv.differ(h, "the path is as the client sent it: nginx decodes it")
	}
}

func has(list config.Headers, name string) bool {
	return slices.ContainsFunc(list, func(h [2]string) bool { return strings.EqualFold(h[0], name) })
}

// clientFact sends a fact about the client's certificate, which is set for a listener.
func (sc *scope) clientFact(h *syntax.Directive, name, fact string) {
	cv := sc.cv
	l := &cv.c.Listeners[sc.socket.index]
	if l.TLS == nil || l.TLS.ClientCA == "" {
		cv.skip(h, "no client of this listener has a certificate")
		return
	}
	for _, other := range l.TLS.ClientHeaders {
		if strings.EqualFold(other[0], name) && other[1] != fact {
			cv.refuse(h, "the field has another meaning at another place, and holdfast sets it for the whole listener")
			return
		}
	}
	if !has(l.TLS.ClientHeaders, name) {
		l.TLS.ClientHeaders = append(l.TLS.ClientHeaders, [2]string{name, fact})
	}
	at := config.Path("listeners").Index(sc.socket.index).Key("tls").Key("client_headers")
	switch fact {
	case "verified":
		cv.differ(h, "the value is true or false: nginx has SUCCESS or NONE").at(at)
	case "fingerprint":
		cv.differ(h, "it is the SHA-256 of the certificate: nginx has its SHA-1").at(at)
	case "not_after":
		cv.differ(h, "it is written as 2027-01-02T15:04:05Z").at(at)
	default:
		cv.carry(h).at(at)
	}
}

// hostHeader sets the host that a backend is asked for.
func (sc *scope) hostHeader(d *syntax.Directive, value string, from *syntax.Directive, r *route) {
	cv := sc.cv
	if from == nil {
		from = d
	}
	note := func() *note { return cv.carry(from) }
	switch plain := bare(value); plain {
	case "$http_host":
		note()
		return
	case "$host", "$host:$server_port", "$host:$proxy_port":
		host := "${host}"
		if plain != "$host" {
			port, ok := sc.constant(strings.TrimPrefix(plain, "$host:$"))
			if !ok {
				port = "80"
			}
			host += ":" + port
		}
		r.Rewrite.Host = host
		note().in(r, "rewrite")
		return
	}
	host, err := sc.literal(value)
	switch {
	case err != nil:
		cv.refuse(from, "the host must be known beforehand, or that of the client ($host or $http_host): "+err.Error())
		return
	case host == "":
		cv.differ(from, "backends get the host that the client asked for: HTTP/1.1 needs one")
		return
	}
	r.Rewrite.Host = strings.ToLower(host)
	note().in(r, "rewrite")
}

// responseHeaders sets the fields that a client gets. backend says that a backend answers.
func (sc *scope) responseHeaders(lv *level, r *route, backend bool) {
	cv := sc.cv
	status := 200
	if r.Respond != nil {
		status = r.Respond.Status
	}
	for _, h := range lv.all("add_header") {
		always := len(h.Args) == 3 && h.Args[2] == "always"
		if len(h.Args) != 2 && !always {
			cv.refuse(h, "write it as add_header NAME VALUE")
			continue
		}
		name, value := h.Args[0], h.Args[1]
		if !backend && !always && !slices.Contains([]int{200, 201, 204, 206}, status) && r.Redirect == nil {
			cv.carry(h) // nginx leaves it out, too
			continue
		}
		if err := headeredit.Answer.CheckName(name, headeredit.Sent{}); err != nil {
			cv.refuse(h, err.Error())
			continue
		}
		t, err := sc.template(value)
		if err == nil && t != "" {
			_, err = headeredit.Parse(t)
		}
		switch {
		case err != nil:
			cv.refuse(h, err.Error())
			continue
		case t == "":
			cv.carry(h)
			continue
		case !backend && strings.Contains(t, "${backend}"):
			cv.carry(h)
			continue
		}
		add := &r.ResponseHeaders.Add
		if i := slices.IndexFunc(*add, func(other [2]string) bool { return strings.EqualFold(other[0], name) }); i >= 0 {
			(*add)[i][1] += ", " + t
			cv.differ(h, "the fields of this name are one, with a comma").in(r, "response_headers")
			continue
		}
		*add = append(*add, [2]string{name, t})
		n := cv.carry(h)
		if !always && backend {
			n = cv.differ(h, "the field is added to answers with any status: nginx does so with always")
		}
		if strings.Contains(value, "$upstream_addr") {
			n = cv.differ(h, "the value is the name of the backend")
		}
		n.in(r, "response_headers")
	}
	if !backend {
		return
	}
	for _, h := range lv.all("proxy_hide_header") {
		if len(h.Args) != 1 {
			continue
		}
		if err := headeredit.Answer.CheckName(h.Args[0], headeredit.Sent{}); err != nil {
			cv.refuse(h, err.Error())
			continue
		}
		r.ResponseHeaders.Remove = append(r.ResponseHeaders.Remove, h.Args[0])
		cv.carry(h).in(r, "response_headers")
	}
}
