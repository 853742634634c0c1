package alb

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// group makes the pool of a target group, the first time. It is nil if it can't be.
func (v *converter) group(arn string, at config.Place) *config.Pool {
	g, ok := v.groupOf[arn]
	if !ok {
		v.r.Refuse(at, "TargetGroupArn "+arn, "this target group isn't in the files: add the output of aws elbv2 describe-target-groups")
		return nil
	}
	name := g.Str("TargetGroupName")
	for i := range v.c.Pools {
		if v.c.Pools[i].Name == name {
			return &v.c.Pools[i]
		}
	}
	if v.names["group "+arn] {
		return nil // refused before
	}
	v.names["group "+arn] = true
	directive := "TargetGroup " + name
	p := config.PoolPath(name)
	refuse := func(key, format string, args ...any) *config.Pool {
		v.r.Refuse(g.at(key), directive, format, args...)
		return nil
	}
	switch kind := g.Str("TargetType"); kind {
	case "lambda":
		return refuse("TargetType", "holdfast can't call functions: give the function a URL of its own, or keep the load balancer for it")
	case "alb":
		return refuse("TargetType", "the target is a load balancer: import that one")
	}
	pool := config.NewPool(name)
	pool.Balance = "round_robin"
	// A load balancer sends to all targets if none is healthy.
	pool.Health.MinHealthy.Count = 1
	switch protocol := g.Str("Protocol"); protocol {
	case "HTTP", "TCP":
		v.r.Carry(g.at("TargetGroupName"), directive, p)
	case "HTTPS", "TLS":
		pool.TLS = &config.PoolTLS{InsecureSkipVerify: true}
		v.r.Differ(g.at("TargetGroupName"), directive, p.Key("tls"), "the targets' certificates aren't verified, as before: give their authority as ca, and leave insecure_skip_verify out")
	default:
		return refuse("Protocol", "holdfast has no %s", hint.Cut(protocol))
	}
	switch version := g.Str("ProtocolVersion"); version {
	case "GRPC":
		return refuse("ProtocolVersion", "holdfast speaks HTTP/1.1 with backends, and gRPC needs HTTP/2: use a listener with mode: tcp or tls-passthrough")
	case "HTTP2":
		v.r.Differ(g.at("ProtocolVersion"), "ProtocolVersion HTTP2", "", "holdfast speaks HTTP/1.1 with backends; WebSockets need it")
	}
	v.targetsOf(g, &pool, p)
	v.health(g, &pool, p)
	settings := v.settings[arn]
	if settings == nil {
		v.r.Differ(g.at("TargetGroupArn"), directive, "", "its attributes aren't in the files: holdfast's defaults are used; add the output of aws elbv2 describe-target-group-attributes, in a file with %s in its name", name)
	}
	for _, key := range sortedKeys(settings) {
		if apply, known := groupAttributes[key]; known {
			apply(v, &pool, p, settings[key])
		} else {
			a := settings[key]
			v.r.Differ(a.at("Key"), attribute(a), "", "unknown attribute: it is left out")
		}
	}
	v.r.Locate(p, g.at("TargetGroupName"))
	v.c.Pools = append(v.c.Pools, pool)
	return &v.c.Pools[len(v.c.Pools)-1]
}

func sortedKeys(m map[string]object) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return m[a].Line*10000 + m[a].Col - m[b].Line*10000 - m[b].Col })
	return keys
}

// targetsOf adds the backends.
func (v *converter) targetsOf(g object, pool *config.Pool, p config.Path) {
	name := g.Str("TargetGroupName")
	h, ok := v.targets[g.Str("TargetGroupArn")]
	if !ok {
		v.r.Refuse(g.at("TargetGroupName"), "TargetGroup "+name, "its targets aren't in the files: add the output of aws elbv2 describe-target-health, in a file with %s in its name", name)
		return
	}
	seen := map[hostport.Address]bool{}
	for _, item := range h.All("TargetHealthDescriptions") {
		o := object{item, h.file}
		id, port := item.Str("Target", "Id"), item.Num("Target", "Port")
		if port == 0 {
			port = g.Num("Port")
		}
		directive := fmt.Sprintf("Target %s:%d", id, port)
		at := o.at("Target", "Id")
		if state := item.Str("TargetHealth", "State"); state == "draining" {
			v.r.Skip(at, directive, "it is draining")
			continue
		}
		host := id
		if strings.HasPrefix(id, "i-") {
			if host = v.instances[id]; host == "" {
				v.r.Refuse(at, directive, "the address of this instance isn't in the files: add the output of aws ec2 describe-instances")
				continue
			}
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		address, err := hostport.ParseBackend(fmt.Sprintf("%s:%d", host, port))
		if err != nil {
			v.r.Refuse(at, directive, "%v", err)
			continue
		}
		if seen[address] {
			v.r.Skip(at, directive, "it is there twice")
			continue
		}
		seen[address] = true
		b := config.Backend{Address: address}
		if host != id && strings.HasPrefix(id, "i-") {
			b.Name = fmt.Sprintf("%s:%d", id, port)
		}
		v.r.Carry(at, directive, p.Key("backends").Index(len(pool.Backends)))
		pool.Backends = append(pool.Backends, b)
	}
}

// health reads how targets are checked.
func (v *converter) health(g object, pool *config.Pool, p config.Path) {
	at := p.Key("health")
	if e := g.Get("HealthCheckEnabled"); e != nil && e.Text == "false" {
		v.r.Skip(g.at("HealthCheckEnabled"), "HealthCheckEnabled false", "handshakes that fail take out a backend for a while (health: {max_fails: ...})")
		return
	}
	protocol, path := g.Str("HealthCheckProtocol"), g.Str("HealthCheckPath")
	directive := "HealthCheck " + protocol + " " + path
	h := &pool.Health
	switch protocol {
	case "TCP":
		h.TCP = true
	case "HTTP", "HTTPS":
		h.HTTP = new(config.HTTPCheck)
		h.HTTP.SetDefaults()
		if h.HTTP.Path = path; path == "" {
			h.HTTP.Path = "/"
		}
		if codes := g.Str("Matcher", "HttpCode"); codes != "" {
			v.matcher(g, codes, h.HTTP, at.Key("http").Key("expect"))
		}
	case "":
		return
	default:
		v.r.Differ(g.at("HealthCheckProtocol"), directive, at, "holdfast has no checks of this kind: only the outcome of handshakes counts")
		return
	}
	if n := g.Num("HealthCheckPort"); n > 0 && n != g.Num("Port") {
		h.Port = n
	}
	set := func(key string, to *time.Duration) {
		if n := g.Num(key); n > 0 {
			*to = time.Duration(n) * time.Second
		}
	}
	set("HealthCheckIntervalSeconds", &h.Interval)
	set("HealthCheckTimeoutSeconds", &h.Timeout)
	if n := g.Num("UnhealthyThresholdCount"); n > 0 {
		h.Fall = n
	}
	if n := g.Num("HealthyThresholdCount"); n > 0 {
		h.Rise = n
	}
	text := ""
	if h.Timeout >= h.Interval {
		h.Timeout = h.Interval - time.Second/2
		text = "a check must end before the next one begins: the timeout is half a second shorter than the interval"
	}
	if secure := protocol == "HTTPS"; protocol != "TCP" && secure != (pool.TLS != nil) {
		text = "checks go to backends as sessions do, with or without TLS: check the port and the path"
	}
	if text != "" {
		v.r.Differ(g.at("HealthCheckProtocol"), directive, at, "%s", text)
		return
	}
	v.r.Carry(g.at("HealthCheckProtocol"), directive, at)
}

// matcher reads statuses such as "200,202" and "200-299". 503 always means that a backend
// is draining.
func (v *converter) matcher(g object, codes string, c *config.HTTPCheck, p config.Path) {
	var all []config.StatusRange
	drains := false
	for code := range strings.SplitSeq(codes, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(code), "-")
		if !isRange {
			last = first
		}
		var r config.StatusRange
		if _, err := fmt.Sscanf(first+" "+last, "%d %d", &r.From, &r.To); err != nil || r.From < 200 || r.To > 599 || r.From > r.To {
			v.r.Differ(g.at("Matcher"), "Matcher "+codes, p, "%s isn't a status or a range: it is left out", hint.Quote(code))
			continue
		}
		if r.From > 503 || r.To < 503 {
			all = append(all, r)
			continue
		}
		drains = true
		if r.From < 503 {
			all = append(all, config.StatusRange{From: r.From, To: 502})
		}
		if r.To > 503 {
			all = append(all, config.StatusRange{From: 504, To: r.To})
		}
	}
	switch {
	case len(all) == 0:
		v.r.Differ(g.at("Matcher"), "Matcher "+codes, p, "200 is expected: 503 always says that a backend is draining")
	case drains:
		c.Expect = all
		v.r.Differ(g.at("Matcher"), "Matcher "+codes, p, "503 always says that a backend is draining")
	default:
		c.Expect = all
		v.r.Carry(g.at("Matcher"), "Matcher "+codes, p)
	}
}

// stickiness reads what brings clients back to their target.
func stickiness(v *converter, pool *config.Pool, p config.Path, a object) {
	of := func(key string) string {
		for _, s := range v.settings {
			if s["stickiness.type"].Node == a.Node {
				return s[key].str("Value")
			}
		}
		return ""
	}
	if of("stickiness.enabled") != "true" {
		v.r.Skip(a.at("Key"), attribute(a), "stickiness is off")
		return
	}
	at := p.Key("affinity")
	switch kind := a.Str("Value"); kind {
	case "lb_cookie":
		c := new(config.Cookie)
		c.SetDefaults()
		c.Name = "AWSALB"
		if d, ok := seconds(of("stickiness.lb_cookie.duration_seconds"), time.Second); ok {
			c.MaxAge = d
		}
		pool.Affinity.Cookie = c
		v.r.Differ(a.at("Key"), attribute(a), at.Key("cookie"), "a cookie of the same name, but of holdfast's: clients get another target once; there is no AWSALBCORS, for pages of other sites write same_site: None")
	case "app_cookie":
		name := of("stickiness.app_cookie.cookie_name")
		from, err := requestkey.ParseToken("cookie:" + name)
		answer, err2 := requestkey.ParseAnswer("cookie:" + name)
		if err != nil || err2 != nil {
			v.bad(a)
			return
		}
		l := new(config.Learn)
		l.SetDefaults()
		l.From, l.Answer = []requestkey.Part{from}, []requestkey.Part{answer}
		if d, ok := seconds(of("stickiness.app_cookie.duration_seconds"), time.Second); ok {
			l.Expire = d
		}
		pool.Affinity.Learn = l
		v.r.Differ(a.at("Key"), attribute(a), at.Key("learn"), "the table of cookies and backends is in memory: after a restart, and by another holdfast, clients get another target once")
	case "source_ip", "source_ip_dest_ip", "source_ip_dest_ip_proto":
		pool.Balance, pool.Hash.Key = "hash", []requestkey.Part{requestkey.ClientIP}
		v.r.Differ(a.at("Key"), attribute(a), p.Key("hash"), "the same address gets the same target, but another one than before, once")
	default:
		v.bad(a)
	}
}
