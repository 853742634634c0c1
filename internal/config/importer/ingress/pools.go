package ingress

import (
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// target is where a backend of an Ingress is found.
type target struct {
	name     string // in DNS
	port     int
	headless bool
	known    bool // the Service is in the file, or it isn't needed
	external bool
}

// find looks up a backend. ok is false if that was reported as an error.
func (v *converter) find(c *conf, b *Backend) (t target, ok bool) {
	if v.Cluster != nil {
		return v.clusterTarget(c, b)
	}
	directive := fmt.Sprintf("backend %s", b.Service)
	s := v.services[c.Namespace+"/"+b.Service]
	t = target{name: fmt.Sprintf("%s.%s.svc.%s", b.Service, c.Namespace, v.ClusterDomain), port: b.Port.Number}
	if s == nil {
		if t.port == 0 {
			v.r.Refuse(b.Place, directive, "the port %s has a name, and the Service isn't in the file: add the Service, or write the port's number", hint.Quote(b.Port.Name))
			return t, false
		}
		return t, true
	}
	v.used["Service "+s.key()] = true
	t.known, t.headless = true, s.Headless
	if s.ExternalName != "" {
		t.name, t.external = s.ExternalName, true
		if t.port != 0 {
			return t, true
		}
	}
	var names []string
	for _, p := range s.Ports {
		if b.Port.Name != "" && p.Name == b.Port.Name || b.Port.Number != 0 && p.Number == b.Port.Number {
			t.port = p.Number
			if s.Headless && p.Target.Number != 0 {
				t.port = p.Target.Number
			} else if s.Headless && p.Target.Name != "" {
				v.r.Refuse(b.Place, directive, "the Service is headless, so that its pods are reached at the port %s, whose number isn't in the file: write it as targetPort of the Service", hint.Quote(p.Target.Name))
				return t, false
			}
			return t, true
		}
		names = append(names, p.Name)
	}
	v.r.Refuse(b.Place, directive, "the Service has no port %s%s", hint.Quote(b.Port.String()), hint.DidYouMean(b.Port.String(), names))
	return t, false
}

// pool returns the name of the pool for a backend, which it makes the first time. Ingresses
// whose annotations agree share one, as they share an upstream in ingress-nginx.
//
// It is "" if there is none, which was reported.
func (v *converter) pool(c *conf, b *Backend) string {
	t, ok := v.find(c, b)
	if !ok {
		return ""
	}
	p := v.newPool(c)
	if v.Cluster == nil || t.external {
		p.DNS = &config.DNS{Name: t.name, Port: t.port}
		port := p.DNS.Port
		p.DNS.SetDefaults()
		p.DNS.Type, p.DNS.Port = "a", port
	}
	if v.Cluster != nil {
		from := PoolOrigin{Origin: originOf(c, b.Place), Port: t.port}
		if !t.external {
			from.Service = b.Service
		}
		return v.add(c, clusterPoolName(c, b.Service, t.port), p, from)
	}
	name := v.add(c, fmt.Sprintf("%s-%s-%d", c.Namespace, b.Service, t.port), p, PoolOrigin{})
	v.noteBackend(c, b, t, name)
	return name
}

// newPool is a pool as the annotations of an Ingress say, without backends.
func (v *converter) newPool(c *conf) config.Pool {
	p := config.NewPool("")
	p.Balance = "round_robin"
	if c.balance != "" {
		p.Balance = c.balance
	}
	if c.hash != nil {
		p.Balance, p.Hash.Key = "hash", c.hash
	}
	if c.cookie != nil {
		cookie := *c.cookie
		if v.Cluster != nil {
			cookie.Secret = v.Cluster.CookieSecret
		}
		p.Affinity.Cookie = &cookie
	}
	p.RetryOn = c.retryOn
	if t := c.tls; t != nil && v.Cluster != nil {
		p.TLS = v.clusterTLS(c)
	} else if t != nil {
		p.TLS = &config.PoolTLS{ServerName: t.name, InsecureSkipVerify: !t.verify}
		if t.secret != "" {
			namespace, name, _ := strings.Cut(t.secret, "/")
			base := v.file(namespace, name)
			how := []string{}
			if t.verify {
				p.TLS.CA = base + "-ca.crt"
				how = append(how, "ca.crt", p.TLS.CA)
			}
			// Of a Secret that isn't in the file, only what is surely in it is used.
			if s := v.secrets[t.secret]; s == nil && !t.verify || s != nil && has(s, "tls.crt") {
				p.TLS.Cert, p.TLS.Key = base+".crt", base+".key"
				how = append(how, "tls.crt", p.TLS.Cert, "tls.key", p.TLS.Key)
			}
			if key := "Secret " + t.secret; !v.noted[key] && len(how) > 0 {
				v.noted[key] = true
				v.r.Differ(c.annotation("proxy-ssl-secret").Place, key, "", "holdfast reads these from files: %s", v.howToGet(namespace, name, how...))
			}
		}
	}
	return p
}

func has(s *Secret, key string) bool {
	for _, k := range s.Keys {
		if k == key {
			return true
		}
	}
	return false
}

// add adds a pool, unless the same is there already, and returns its name.
func (v *converter) add(c *conf, name string, p config.Pool, from PoolOrigin) string {
	signature := signatureOf(&p)
	for n := 1; ; n++ {
		p.Name = name
		if n > 1 {
			p.Name = fmt.Sprintf("%s-%d", name, n)
		}
		before, taken := v.signatures[p.Name]
		if taken && before != signature {
			continue
		}
		if !taken {
			v.signatures[p.Name] = signature
			v.c.Pools = append(v.c.Pools, p)
			v.poolOrigins = append(v.poolOrigins, from)
		}
		at := config.PoolPath(p.Name)
		for _, known := range c.pools {
			if known == at {
				return p.Name
			}
		}
		c.pools = append(c.pools, at)
		return p.Name
	}
}

func signatureOf(p *config.Pool) string {
	s := fmt.Sprint(p.Balance, p.Hash.Key, p.RetryOn)
	if p.DNS != nil {
		s += fmt.Sprint(p.DNS.Name, p.DNS.Port)
	}
	for _, b := range p.Backends {
		s += fmt.Sprint(b.Address, b.Weight)
	}
	if p.Affinity.Cookie != nil {
		s += fmt.Sprintf("%+v", *p.Affinity.Cookie)
	}
	if p.TLS != nil {
		s += fmt.Sprintf("%+v", *p.TLS)
	}
	return s
}

// noteBackend says what a backend became: once for each, though aliases and canaries need
// it several times, and with the whole text once for each Service.
func (v *converter) noteBackend(c *conf, b *Backend, t target, pool string) {
	at := config.PoolPath(pool).Key("dns")
	directive := fmt.Sprintf("backend %s:%d", b.Service, t.port)
	key, place := directive+c.Namespace, fmt.Sprint(b.Place)
	if v.noted[place] {
		return
	}
	v.noted[place] = true
	sticky := ""
	if c.cookie != nil || c.hash != nil {
		sticky = ", and affinity has no effect"
	}
	switch {
	case v.noted[key] || t.headless || t.external:
		v.r.Carry(b.Place, directive, at)
	case t.known:
		v.r.Differ(b.Place, directive, at, "the Service has a cluster IP: Kubernetes chooses the pod of each connection, not holdfast%s: make it headless (clusterIP: None)", sticky)
	default:
		v.r.Differ(b.Place, directive, at, "the Service isn't in the file: if it is headless, holdfast finds its pods (they must listen on this port); if it has a cluster IP, Kubernetes chooses the pod of each connection%s", sticky)
	}
	v.noted[key] = true
}

// split is a pool in which a canary gets a part of the sessions. Only Services that are
// reached by one address each can have weights.
func (v *converter) split(c *conf, stable *Backend, to *canaryOf) (string, bool) {
	a, okA := v.find(c, stable)
	b, okB := v.find(to.by, to.backend)
	weight := to.by.annotation("canary-weight")
	if !okA || !okB {
		return "", false
	}
	if a.headless || b.headless {
		to.by.settings.refuse(weight, "weights are for addresses, and a headless Service has as many as it has pods: use a canary by header or by cookie, or Services with a cluster IP")
		return "", false
	}
	part, rest := to.by.canary.weight, to.by.canary.total-to.by.canary.weight
	for max(part, rest) > 256 { // the largest weight
		part, rest = (part+1)/2, (rest+1)/2
	}
	p := v.newPool(c)
	for _, side := range []struct {
		target
		weight int
	}{{a, rest}, {b, part}} {
		address, err := hostport.ParseBackend(fmt.Sprintf("%s:%d", side.name, side.port))
		if err != nil {
			v.r.Refuse(stable.Place, "backend "+stable.Service, "%v", err)
			return "", false
		}
		p.Backends = append(p.Backends, config.Backend{Address: address, Weight: side.weight})
	}
	name := v.add(c, fmt.Sprintf("%s-%s-%d-canary", c.Namespace, stable.Service, a.port), p, PoolOrigin{})
	if at := config.PoolPath(name); len(to.by.pools) == 0 || to.by.pools[len(to.by.pools)-1] != at {
		to.by.pools = append(to.by.pools, at)
	}
	v.r.Differ(to.backend.Place, "backend "+to.backend.Service, config.PoolPath(name).Key("backends"), "the Services share a pool: Kubernetes chooses the pod behind each")
	return name, true
}
