package haproxy

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// affinity sets how clients come back to their backend.
func (m *imp) affinity(be *proxy, pool *config.Pool, list []*server, path config.Path) {
	at := path.Key("affinity")
	cookie := be.one["cookie"]
	if cookie != nil && be.tcp() {
		m.differ(cookie, "", "HAProxy ignores it in mode tcp, and so does holdfast")
		cookie = nil
	}
	if cookie != nil && m.cookie(be, pool, cookie, list, at) {
		for _, l := range be.sticks {
			m.differ(l, "", "the cookie is what brings clients back")
		}
		return
	}
	if len(be.sticks) > 0 {
		m.stick(be, pool, at)
	}
}

// cookie sets affinity by a cookie.
func (m *imp) cookie(be *proxy, pool *config.Pool, l *syntax.Line, list []*server, at config.Path) bool {
	name := l.Arg(1)
	if name == "" {
		m.fail(l, "cookie wants a name")
		return false
	}
	c := new(config.Cookie)
	c.SetDefaults()
	c.Name, c.MaxAge, c.Secure, c.Value = name, 0, "never", "name"
	insert, dynamic, other := false, false, ""
	for i := 2; i < len(l.Words); i++ {
		switch word := l.Arg(i); word {
		case "insert":
			insert = true
		case "prefix", "rewrite":
			other = word
		case "secure":
			c.Secure = "always"
		case "domain":
			i++
			c.Domain = strings.TrimPrefix(l.Arg(i), ".")
		case "maxidle", "maxlife":
			i++
			m.differ(l, at, "%s: the cookie is kept until the browser is closed: see max_age", word)
		case "dynamic":
			dynamic = true
		case "attr":
			i++
			if key, value, _ := strings.Cut(l.Arg(i), "="); strings.EqualFold(key, "samesite") && slices.Contains([]string{"Lax", "Strict", "None"}, value) {
				c.SameSite = value
			} else {
				m.differ(l, at, "the attribute %s isn't sent", hint.Quote(l.Arg(i)))
			}
		case "indirect", "nocache", "httponly", "preserve", "postonly":
		default:
			m.fail(l, "unknown word %s%s", hint.Quote(word), hint.DidYouMean(word, []string{"insert", "prefix", "rewrite", "indirect", "nocache", "httponly", "secure", "domain", "maxidle", "maxlife", "dynamic", "attr", "preserve", "postonly"}))
			return false
		}
	}
	if other != "" && !insert {
		// The application sets the cookie itself.
		learn := new(config.Learn)
		learn.SetDefaults()
		learn.From, learn.Answer = keyPart(requestkey.ParseToken, "cookie:"+name), keyPart(requestkey.ParseAnswer, "cookie:"+name)
		if pool.Affinity.Learn = learn; learn.From == nil {
			m.refuse(l, "bad name of a cookie %s", hint.Quote(name))
			pool.Affinity.Learn = nil
			return false
		}
		m.locate(at.Key("learn"), l)
		m.differ(l, at.Key("learn"), "the cookie of the application stays as it is, and holdfast keeps in memory which backend has set it")
		return true
	}
	if !insert {
		m.fail(l, "cookie wants insert, prefix or rewrite")
		return false
	}
	m.cookieNames(be, pool, l, list, dynamic, c, at)
	pool.Affinity.Cookie = c
	m.locate(at.Key("cookie"), l)
	m.carry(l, at.Key("cookie"))
	if c.SameSite == "None" && c.Secure == "never" {
		c.Secure = "always"
		m.differ(l, at, "browsers accept SameSite=None only with Secure, which is added")
	}
	return true
}

// cookieNames makes the names of backends the values of the cookie, as far as that is
// possible.
func (m *imp) cookieNames(be *proxy, pool *config.Pool, l *syntax.Line, list []*server, dynamic bool, c *config.Cookie, at config.Path) {
	texts := []string{"the cookie has SameSite=Lax and HttpOnly"}
	if c.SameSite != "Lax" {
		texts = []string{"the cookie has HttpOnly"}
	}
	if slices.Contains(l.Args(2), "httponly") && c.SameSite != "Lax" {
		texts = nil
	}
	if dynamic {
		texts = append(texts, "its value is the name of the backend, so that each client gets a backend anew")
		if k := be.one["dynamic-cookie-key"]; k != nil {
			m.skip(k, "the value of the cookie is the name of the backend")
		}
	}
	if slices.Contains(l.Args(2), "indirect") {
		texts = append(texts, "backends get the cookie, too")
	}
	if slices.Contains(l.Args(2), "nocache") {
		texts = append(texts, "no Cache-Control is added: have backends send it where a cache is in front")
	}
	values := map[string]string{}
	renamed, without := false, false
	for _, s := range list {
		value, has := s.words["cookie"]
		switch {
		case !has && !dynamic:
			without = true
		case has && values[value] != "":
			m.differ(s.line, "", "it has the value of the cookie of another server, and gets one of its own")
		case has && value != "" && config.CheckName(value) == nil && !strings.ContainsAny(value, " \",;\\"):
			values[value] = s.name
		}
	}
	for i := range pool.Backends {
		b := &pool.Backends[i]
		for value, name := range values {
			if name == b.Name && value != name && !slices.ContainsFunc(pool.Backends, func(o config.Backend) bool { return o.Name == value }) {
				b.Name, renamed = value, true
				break
			}
		}
	}
	if renamed {
		texts = append(texts, "backends have the values of the cookie as their names")
	}
	if without {
		texts = append(texts, "servers without cookie have their name as its value")
	}
	if pool.DNS != nil && pool.Backends == nil {
		c.Value = "signed"
	}
	if len(texts) > 0 {
		m.differ(l, at.Key("cookie"), "%s", strings.Join(texts, "; "))
	}
}

// stick sets affinity by what is learned.
func (m *imp) stick(be *proxy, pool *config.Pool, at config.Path) {
	learn := &config.Learn{}
	learn.SetDefaults()
	for _, l := range be.sticks {
		words, cond := splitCond(l.Args(2))
		kind := l.Arg(1)
		if kind == "store-request" || kind == "match" || kind == "on" {
			kind = "on"
		}
		if len(words) == 0 || kind != "on" && kind != "store-response" {
			m.fail(l, "stick wants on, match, store-request or store-response, and an expression")
			continue
		}
		e, err := parseSample(words[0])
		if err != nil {
			m.fail(l, "%v", err)
			continue
		}
		if len(cond) > 0 {
			m.differ(l, at.Key("learn"), "it holds for all requests")
		}
		if kind == "store-response" {
			m.stickAnswer(l, &e, learn, at)
			continue
		}
		m.stickRequest(be, l, &e, learn, at)
	}
	if len(learn.From) == 0 {
		return
	}
	if be.tcp() {
		learn.Answer = nil
	}
	if len(learn.Answer) > 0 && slices.Contains(learn.From, requestkey.ClientIP) {
		learn.From = slices.DeleteFunc(learn.From, func(p requestkey.Part) bool { return p == requestkey.ClientIP })
		m.differ(be.sticks[0], at.Key("learn"), "clients are known by what answers have in them, and not by their address, too")
	}
	m.stickTable(be, learn, at)
	pool.Affinity.Learn = learn
	m.locate(at.Key("learn"), be.sticks[0])
}

func (m *imp) stickAnswer(l *syntax.Line, e *sample, learn *config.Learn, at config.Path) {
	var parts []requestkey.Part
	switch name := e.name; name {
	case "res.cook", "scook", "set-cookie", "res.cookie":
		parts = keyPart(requestkey.ParseAnswer, "cookie:"+e.arg(0))
	case "res.hdr", "shdr", "res.fhdr":
		parts = keyPart(requestkey.ParseAnswer, "header:"+e.arg(0))
	}
	if len(parts) == 0 || len(e.conv) > 0 {
		m.refuse(l, "a cookie or a field of the answer is learned, as it is")
		return
	}
	learn.Answer = addParts(learn.Answer, parts)
	m.carry(l, at.Key("learn"))
}

func addParts(list, more []requestkey.Part) []requestkey.Part {
	for _, p := range more {
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

func (m *imp) stickRequest(be *proxy, l *syntax.Line, e *sample, learn *config.Learn, at config.Path) {
	var parts []requestkey.Part
	switch {
	case e.name == "src":
		parts = []requestkey.Part{requestkey.ClientIP}
		if len(e.conv) > 0 {
			m.differ(l, at.Key("learn"), "the whole address counts")
		}
	case be.tcp():
		m.refuse(l, "with mode tcp, only the client's address is known")
		return
	case e.name == "req.cook":
		parts = keyPart(requestkey.ParseToken, "cookie:"+e.arg(0))
	case e.name == "req.hdr":
		parts = keyPart(requestkey.ParseToken, "header:"+e.arg(0))
	case e.name == "url_param":
		parts = keyPart(requestkey.ParseToken, "query:"+e.arg(0))
	}
	if n, ok := e.segment(); ok {
		parts = keyPart(requestkey.ParseToken, "path:"+string(rune('0'+min(n, 9))))
	}
	if len(parts) == 0 {
		m.refuse(l, "clients are known by their address, a cookie, a field, a parameter or a segment of the path")
		return
	}
	learn.From = addParts(learn.From, parts)
	m.carry(l, at.Key("learn"))
	if i := slices.Index(l.Args(0), "table"); i > 0 && l.Arg(i+1) != be.name {
		m.differ(l, at.Key("learn"), "pools don't share what they learn")
	}
}

// stickTable sets the bounds of what is learned.
func (m *imp) stickTable(be *proxy, learn *config.Learn, at config.Path) {
	l := be.one["stick-table"]
	for i, word := range be.sticks[0].Args(0) {
		if word == "table" {
			if other := m.tableLine(be.sticks[0].Arg(i + 1)); other != nil {
				l = other
			}
		}
	}
	if l == nil {
		m.fail(be.sticks[0], "there is no stick-table")
		return
	}
	learn.Expire = 24 * time.Hour
	found := false
	for i, word := range l.Args(0) {
		switch word {
		case "expire":
			if d, err := parseTime(l.Arg(i+1), time.Millisecond); err == nil {
				learn.Expire, found = min(max(d, time.Second), maxTimeout), true
			}
		case "size":
			if n, err := parseSize(l.Arg(i + 1)); err == nil {
				learn.Max = min(max(n, 1), 10_000_000)
			}
		case "peers":
			m.differ(l, at.Key("learn"), "balancers don't share what they have learned: use a cookie, or balance by a hash")
		}
	}
	if !found {
		m.differ(l, at.Key("learn"), "what isn't used for a day is forgotten")
	}
	m.carry(l, at.Key("learn"))
}
