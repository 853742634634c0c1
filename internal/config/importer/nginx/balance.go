package nginx

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

const otherHash = "the same key stays on one backend, perhaps on another one than nginx's"

// balance reads how an upstream chooses a server.
func (cv *converter) balance(u *upstream, p *config.Pool) {
	path := config.PoolPath(p.Name)
	set := func(d *syntax.Directive, algorithm string) {
		p.Balance = algorithm
		cv.carry(d).at(path.Key("balance"))
		cv.r.Locate(path.Key("balance"), place(d.Pos))
	}
	for _, d := range u.lv.list {
		switch d.Name {
		case "least_conn":
			set(d, "least_conn")
		case "least_time":
			set(d, "least_conn")
			cv.differ(d, "the backend with the fewest sessions is chosen: how fast a backend answers says little about WebSockets")
		case "random":
			switch {
			case len(d.Args) == 0:
				set(d, "random")
			case d.Args[0] == "two":
				set(d, "p2c")
				if len(d.Args) > 1 && d.Args[1] != "least_conn" {
					cv.differ(d, "of the two, the one with fewer sessions is chosen")
				}
			default:
				cv.refuse(d, "write it as random or random two")
			}
		case "ip_hash":
			set(d, "hash")
			p.Hash.Key = []requestkey.Part{requestkey.ClientIP}
			cv.differ(d, "clients are told apart by their whole IPv4 address, not by its first three bytes; "+otherHash)
		case "hash":
			cv.hash(d, u, p, set)
		case "sticky":
			cv.sticky(d, p)
		case "zone", "keepalive", "keepalive_timeout", "keepalive_requests", "keepalive_time":
			cv.skip(d, "the backends' state is shared, and connections to them are kept for http.backend_idle_timeout")
		}
	}
}

// hash reads the key of a hash.
func (cv *converter) hash(d *syntax.Directive, u *upstream, p *config.Pool, set func(*syntax.Directive, string)) {
	if len(d.Args) == 0 {
		cv.refuse(d, "the key is missing: write for example hash $remote_addr consistent")
		return
	}
	if parts, ok := cv.fallbackKey(d.Args[0], 0); ok { // a map with another key for when the first is missing
		set(d, "round_robin")
		p.Affinity.Token = &config.Token{From: parts}
		cv.differ(d, otherHash)
		return
	}
	parts, err := cv.keyParts(d.Args[0])
	if err != nil {
		cv.refuse(d, err.Error())
		return
	}
	set(d, "hash")
	p.Hash.Key = parts
	cv.differ(d, otherHash)
}

// keyParts reads the variables of a key. Texts between them don't change which key goes
// with which.
func (cv *converter) keyParts(key string) ([]requestkey.Part, error) {
	var parts []requestkey.Part
	for _, piece := range split(key) {
		if piece.variable == "" {
			continue
		}
		text, constant, err := cv.keyPart(piece.variable)
		if err != nil {
			return nil, err
		}
		if constant {
			continue
		}
		part, err := requestkey.Parse(text)
		if err != nil {
			return nil, err
		}
		known := false
		for _, other := range parts {
			known = known || other == part
		}
		if !known {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("the key %s is the same for all requests", hint.Quote(key))
	}
	return parts, nil
}

// keyPart is the part of a request that a variable stands for.
func (cv *converter) keyPart(name string) (part string, constant bool, err error) {
	switch name {
	case "remote_addr", "binary_remote_addr", "proxy_protocol_addr":
		return "client_ip", false, nil
	case "request_uri":
		return "uri", false, nil
	case "uri", "document_uri":
		return "path", false, nil
	case "host", "http_host":
		return "header:Host", false, nil
	case "scheme", "proxy_host", "server_name", "server_port", "hostname", "proxy_port", "request_method":
		return "", true, nil
	}
	if arg, ok := strings.CutPrefix(name, "arg_"); ok {
		return "query:" + arg, false, nil
	}
	if cookie, ok := strings.CutPrefix(name, "cookie_"); ok {
		return "cookie:" + cookie, false, nil
	}
	if header, ok := strings.CutPrefix(name, "http_"); ok {
		return "header:" + strings.ReplaceAll(header, "_", "-"), false, nil
	}
	if n, ok := cv.segmentOf(name); ok {
		return fmt.Sprintf("path:%d", n), false, nil
	}
	return "", false, fmt.Errorf("holdfast can hash the client's address, the path and its segments, header fields, cookies and parameters of the query, and doesn't know the value of $%s", name)
}

// fallbackKey reads a key that is a map such as {"" $remote_addr; default $cookie_id;}.
func (cv *converter) fallbackKey(key string, depth int) ([]requestkey.Part, bool) {
	pieces := split(key)
	if len(pieces) != 1 || pieces[0].variable == "" || depth > maxVariables {
		return nil, false
	}
	m := cv.maps[pieces[0].variable]
	if m == nil || len(m.entries) != 1 || m.entries[0].key != "" || m.entries[0].regex || m.fallback != m.source {
		return nil, false
	}
	first, err := cv.keyParts(m.source)
	if err != nil || len(first) != 1 {
		return nil, false
	}
	rest, ok := cv.fallbackKey(m.entries[0].value, depth+1)
	if !ok {
		if rest, err = cv.keyParts(m.entries[0].value); err != nil || len(rest) != 1 {
			return nil, false
		}
	}
	parts := append(first, rest...)
	for _, p := range parts {
		if _, err := requestkey.ParseToken(p.String()); err != nil {
			return nil, false
		}
	}
	cv.carry(m.d)
	return parts, true
}

// sticky reads how clients come back to their server.
func (cv *converter) sticky(d *syntax.Directive, p *config.Pool) {
	path := config.PoolPath(p.Name).Key("affinity")
	kind, args := "cookie", d.Args
	if len(args) > 0 && !strings.Contains(args[0], "=") {
		kind, args = args[0], args[1:]
	}
	switch kind {
	case "cookie":
		c := new(config.Cookie)
		c.SetDefaults()
		c.Name, c.MaxAge = "route", 0
		if len(args) > 0 && !strings.Contains(args[0], "=") {
			c.Name, args = args[0], args[1:]
		}
		for _, arg := range args {
			if err := cookieOption(c, arg); err != nil {
				cv.refuse(d, err.Error())
				return
			}
		}
		p.Affinity.Cookie = c
		cv.differ(d, "the cookie has a value of holdfast's, so each client is balanced once more: add affinity: {cookie: {secret: …}} so that nobody can make one").at(path.Key("cookie"))
	case "learn":
		cv.learn(d, p, args)
	case "route":
		cv.refuse(d, "servers can't be chosen by the names of routes: use sticky cookie or sticky learn")
	default:
		cv.refuse(d, "unknown method "+hint.Quote(kind)+": write sticky cookie or sticky learn")
	}
}

func cookieOption(c *config.Cookie, arg string) (err error) {
	name, value, _ := strings.Cut(arg, "=")
	switch strings.ToLower(name) {
	case "name":
		c.Name = value
	case "expires":
		if c.MaxAge = maxTime; value != "max" {
			c.MaxAge, err = parseTime(value)
		}
		c.MaxAge = c.MaxAge.Truncate(time.Second)
	case "domain":
		c.Domain = strings.TrimPrefix(value, ".")
	case "path":
		c.Path = value
	case "secure":
		c.Secure = "always"
	case "samesite":
		c.SameSite = map[string]string{"strict": "Strict", "lax": "Lax", "none": "None"}[strings.ToLower(value)]
	case "httponly", "hash", "hmac", "hmac_key", "text", "no_fallback":
	default:
		err = fmt.Errorf("unknown parameter %s", hint.Quote(arg))
	}
	return err
}

// learn reads a session's id that a server gives out.
func (cv *converter) learn(d *syntax.Directive, p *config.Pool, args []string) {
	l := new(config.Learn)
	l.SetDefaults()
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch name {
		case "create":
			variable := strings.TrimPrefix(value, "$")
			if header, ok := strings.CutPrefix(variable, "upstream_http_"); ok {
				variable = "header:" + strings.ReplaceAll(header, "_", "-")
			} else if cookie, ok := strings.CutPrefix(variable, "upstream_cookie_"); ok {
				variable = "cookie:" + cookie
			}
			var part requestkey.Part
			if part, err = requestkey.ParseAnswer(variable); err == nil {
				l.Answer = append(l.Answer, part)
			}
		case "lookup":
			var parts []requestkey.Part
			if parts, err = cv.keyParts(value); err == nil {
				l.From = append(l.From, parts...)
			}
		case "timeout":
			l.Expire, err = parseTime(value)
		case "zone", "header", "sync":
		default:
			err = fmt.Errorf("unknown parameter %s", hint.Quote(arg))
		}
		if err != nil {
			cv.refuse(d, err.Error())
			return
		}
	}
	p.Affinity.Learn = l
	cv.carry(d).at(config.PoolPath(p.Name).Key("affinity").Key("learn"))
}
