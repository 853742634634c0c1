package haproxy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// target is what requests for a backend come to. The pool is nil if it has no servers.
type target struct {
	pool *config.Pool
	used bool
}

// target makes the pool of a backend, once.
func (m *imp) target(be *proxy) *target {
	if t := m.pools[be.name]; t != nil {
		return t
	}
	t := &target{}
	m.pools[be.name] = t
	path := config.PoolPath(be.name)
	list := m.servers(be)
	pool := config.NewPool(be.name)
	m.backendsOf(be, &pool, list, path)
	if len(pool.Backends) == 0 && pool.DNS == nil {
		m.differ(be.head, "", "it has no servers that are used, so that its requests get 503")
		return t
	}
	m.locate(path, be.head)
	m.carry(be.head, path)
	m.carry(be.one["mode"], "")
	t.pool = &pool
	if !m.balance(be, &pool, path) {
		pool.Balance, pool.Hash = "round_robin", config.Hash{}
	}
	m.checks(be, &pool, list, path)
	m.serverTLS(be, &pool, list, path)
	m.proxyProtocol(&pool, list, path)
	m.affinity(be, &pool, list, path)
	m.retryOn(be, &pool, path)
	if backups := len(pool.Backends) - config.Primaries(pool.Backends); backups > 1 && be.option("allbackups") == nil {
		m.differ(be.head, "", "all %d backups are used, not just the first", backups)
	}
	if l := be.option("allbackups"); l != nil {
		m.carry(l, path)
	}
	if l := be.option("abortonclose"); l != nil {
		m.config.HTTP.AbortOnClose = true
		m.carry(l, "http.abort_on_close")
	}
	return t
}

// keyPart makes a part of a hash key or token.
func keyPart(parse func(string) (requestkey.Part, error), text string) []requestkey.Part {
	p, err := parse(text)
	if err != nil {
		return nil
	}
	return []requestkey.Part{p}
}

const (
	otherHash = "which backend a key gets may be another one than with HAProxy, and stays the same"
	lessMoves = "when a backend comes or goes, only its own keys get another one, as with hash-type consistent"
)

// balance sets the algorithm of a pool.
func (m *imp) balance(be *proxy, pool *config.Pool, path config.Path) bool {
	pool.Balance = "round_robin" // HAProxy's default
	l := be.one["balance"]
	if l == nil {
		return true
	}
	at := path.Key("balance")
	word, _, _ := strings.Cut(l.Arg(1), "(")
	switch word {
	case "", "roundrobin", "static-rr":
		m.carry(l, at)
		return true
	case "leastconn":
		pool.Balance = "least_conn"
		m.carry(l, at)
		return true
	case "first":
		pool.Balance = "first"
		m.carry(l, at)
		return true
	case "random":
		if pool.Balance = "p2c"; l.Arg(1) == "random(1)" {
			pool.Balance = "random"
		}
		m.carry(l, at)
		return true
	}
	return m.balanceHash(be, pool, path, word)
}

func (m *imp) balanceHash(be *proxy, pool *config.Pool, path config.Path, word string) bool {
	l := be.one["balance"]
	pool.Balance = "hash"
	key, missing := &pool.Hash.Key, "a request without it goes to the backend with the fewest sessions"
	e, err := parseSample(l.Arg(1))
	switch {
	case be.tcp() && word != "source":
		m.differ(l, "", "with mode tcp there are no requests to look at: round robin is used, as HAProxy does")
		return false
	case word == "source":
		*key, missing = []requestkey.Part{requestkey.ClientIP}, ""
	case word == "uri":
		m.balanceURI(be, pool)
		missing = ""
	case word == "url_param":
		*key = keyPart(requestkey.Parse, "query:"+l.Arg(2))
		if l.Arg(3) != "" {
			missing += ", and bodies aren't searched"
		}
	case word == "hdr" && err == nil:
		*key = keyPart(requestkey.Parse, "header:"+e.arg(0))
		if slices.Contains(l.Args(2), "use_domain_only") {
			missing += ", and the whole value counts"
		}
	case word == "hash":
		if e, err := parseSample(l.Arg(2)); err == nil {
			*key = m.hashKey(&e)
		}
	case word == "rdp-cookie":
		m.refuse(l, "RDP cookies aren't known here: use balance source")
		return false
	default:
		m.fail(l, "unknown algorithm %s%s", hint.Quote(word), hint.DidYouMean(word, []string{"roundrobin", "static-rr", "leastconn", "first", "source", "uri", "url_param", "hdr", "random", "hash"}))
		return false
	}
	if len(*key) == 0 {
		m.refuse(l, "this part of a request isn't hashed here")
		return false
	}
	texts := []string{otherHash}
	kind := be.one["hash-type"]
	if kind == nil || kind.Arg(1) != "consistent" {
		texts = append(texts, lessMoves)
	}
	if missing != "" {
		texts = append(texts, missing)
	}
	m.differ(l, path.Key("hash"), "%s", strings.Join(texts, "; "))
	if kind != nil && kind.Arg(1) == "consistent" {
		m.carry(kind, path.Key("hash"))
	} else if kind != nil {
		m.differ(kind, path.Key("hash"), "%s", lessMoves)
	}
	m.bound(be, pool, path)
	return true
}

// bound sets the bound of a hash.
func (m *imp) bound(be *proxy, pool *config.Pool, path config.Path) {
	l := be.one["hash-balance-factor"]
	if l == nil {
		return
	}
	n, err := strconv.Atoi(l.Arg(1))
	switch {
	case err != nil || n < 0 || n > 0 && n <= 100:
		m.fail(l, "hash-balance-factor is 0, or more than 100")
		return
	case n == 0:
	case n < 105:
		pool.Hash.Bound = 1.05
		m.differ(l, path.Key("hash").Key("bound"), "105 is the least")
	case n > 1000:
		pool.Hash.Bound = 10
		m.differ(l, path.Key("hash").Key("bound"), "1000 is the most")
	default:
		pool.Hash.Bound = float64(n) / 100
	}
	m.carry(l, path.Key("hash").Key("bound"))
}

// balanceURI makes the key of balance uri.
func (m *imp) balanceURI(be *proxy, pool *config.Pool) {
	l := be.one["balance"]
	pool.Hash.Key = keyPart(requestkey.Parse, "path")
	for i, word := range l.Args(0) {
		switch word {
		case "whole":
			pool.Hash.Key = keyPart(requestkey.Parse, "uri")
		case "depth":
			n, _ := strconv.Atoi(l.Arg(i + 1))
			pool.Hash.Key = nil
			for segment := 1; segment <= min(n, 8); segment++ {
				pool.Hash.Key = append(pool.Hash.Key, keyPart(requestkey.Parse, "path:"+strconv.Itoa(segment))...)
			}
		case "len":
			m.differ(l, "", "the whole path is hashed, whatever its length")
		}
	}
}

// hashKey is an expression as a part of a request; nil if it is none.
func (m *imp) hashKey(e *sample) []requestkey.Part {
	if n, ok := e.segment(); ok {
		return keyPart(requestkey.Parse, "path:"+strconv.Itoa(n))
	}
	if _, ok := e.onlyCase(); !ok && !e.isHost() {
		return nil
	}
	switch e.name {
	case "src":
		return []requestkey.Part{requestkey.ClientIP}
	case "req.hdr":
		return keyPart(requestkey.Parse, "header:"+e.arg(0))
	case "req.cook":
		return keyPart(requestkey.Parse, "cookie:"+e.arg(0))
	case "url_param":
		return keyPart(requestkey.Parse, "query:"+e.arg(0))
	case "path":
		return keyPart(requestkey.Parse, "path")
	case "url", "pathq":
		return keyPart(requestkey.Parse, "uri")
	}
	return nil
}

// serverTLS sets how backends are reached by TLS.
func (m *imp) serverTLS(be *proxy, pool *config.Pool, list []*server, path config.Path) {
	_, ssl := m.common(list, "ssl", "TLS", true)
	if ssl == nil {
		return
	}
	t := new(config.PoolTLS)
	pool.TLS = t
	m.locate(path.Key("tls"), ssl.line)
	verify, _ := m.common(list, "verify", "the verification of certificates", true)
	ca, _ := m.common(list, "ca-file", "ca-file", true)
	crt, _ := m.common(list, "crt", "the certificate", true)
	if g := m.global["ssl-server-verify"]; g != nil && verify == "" {
		verify = g.Arg(1)
		m.carry(g, path.Key("tls"))
	}
	switch {
	case verify == "none":
		t.InsecureSkipVerify = true
		m.differ(ssl.line, path.Key("tls"), "as with HAProxy, any server that answers in place of a backend is accepted: write verify required and ca-file")
		for _, s := range list {
			m.carry(s.line, "")
		}
	case ca != "" && !strings.HasPrefix(ca, "@"):
		t.CA = m.under("ca-base", ca)
	}
	if crt != "" {
		t.Cert = m.under("crt-base", crt)
		if key := t.Cert + ".key"; exists(key) {
			t.Key = key
		}
	}
	m.serverName(t, list, ssl, path)
}

func (m *imp) serverName(t *config.PoolTLS, list []*server, ssl *server, path config.Path) {
	sni, from := m.common(list, "sni", "sni", true)
	host, _ := m.common(list, "verifyhost", "verifyhost", true)
	if host == "" && from != nil {
		switch e, err := parseSample(sni); {
		case err == nil && e.name == "str":
			host = e.arg(0)
		case err != nil && hostport.CheckName(sni) == nil:
			host = sni
		default:
			m.differ(from.line, "", "backends are asked for the name of their own address, and not for that of the request: write sni str(NAME)")
		}
	}
	if t.ServerName = host; host == "" && !t.InsecureSkipVerify {
		m.differ(ssl.line, path.Key("tls"), "the certificate must have the name of the server's address: where it has another one, add sni str(NAME)")
	}
}

func (m *imp) proxyProtocol(pool *config.Pool, list []*server, path config.Path) {
	for _, word := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"} {
		if _, from := m.common(list, word, "the PROXY protocol", true); from != nil {
			pool.ProxyProtocol = "v2"
			if word == "send-proxy" {
				pool.ProxyProtocol = "v1"
			}
			m.locate(path.Key("proxy_protocol"), from.line)
		}
	}
}

// retryOn sets the statuses after which another backend is asked.
func (m *imp) retryOn(be *proxy, pool *config.Pool, path config.Path) {
	l := be.one["retry-on"]
	if l == nil {
		return
	}
	for _, word := range l.Args(1) {
		if n, err := strconv.Atoi(word); err == nil && n >= 400 && n <= 599 {
			pool.RetryOn = append(pool.RetryOn, config.StatusRange{From: n, To: n})
		}
	}
	if pool.RetryOn != nil {
		m.locate(path.Key("retry_on"), l)
		m.carry(l, path.Key("retry_on"))
		m.differ(l, "", "requests that may have changed something aren't repeated")
		return
	}
	m.skip(l, "%s, if they can't be reached or don't answer", ownRetries)
}

// tidy is a time that a check may take.
func tidy(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Truncate(time.Second)
	case d >= time.Second:
		return d.Truncate(100 * time.Millisecond)
	}
	return max(d.Truncate(time.Millisecond), time.Millisecond)
}
