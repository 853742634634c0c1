package ingress

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// addCanary finds the locations whose requests a canary gets.
func (v *converter) addCanary(byHost map[string]*server, c *conf) {
	add := func(l *location, b *Backend) {
		if v.Cluster != nil && !v.mayDivert(c, l, b) {
			return
		}
		if l.canary != nil {
			v.r.Differ(b.Place, "backend "+b.Service, "", "the Ingress %s is a canary of this path already: requests go there, as with ingress-nginx", l.canary.by.key())
			return
		}
		l.canary = &canaryOf{c, b}
	}
	if c.Default != nil {
		for _, l := range byHost[""].locations {
			if l.backend != nil {
				add(l, c.Default)
			}
		}
	}
	for _, rule := range c.Rules {
		for i := range rule.Paths {
			p := &rule.Paths[i]
			var primary *location
			if s := byHost[rule.Host]; s != nil {
				for _, l := range s.locations {
					if l.path == cmp.Or(p.Path, "/") && l.exact == (p.Type == exact) && l.backend != nil {
						primary = l
					}
				}
			}
			if primary == nil {
				v.r.Differ(p.Place, "path "+p.Path, "", "no other Ingress has this host and path, so that it gets no requests, as with ingress-nginx: leave canary out if it should")
				continue
			}
			add(primary, &p.Backend)
		}
	}
}

// targets adds the routes of a location to its pool, after those to its canary's.
func (v *converter) targets(l *location, r config.Route) {
	to, stable := l.canary, destination{pool: v.pool(l.by, l.backend)}
	if to == nil {
		v.withCORS(l, r, stable)
		return
	}
	k := to.by.canary
	if k.header == "" && k.cookie == "" && k.weight == 0 {
		v.r.Differ(to.backend.Place, "backend "+to.backend.Service, "", "it gets nothing: the canary has neither a header, a cookie nor a weight")
	}
	next := func() destination { return destination{pool: v.canaryPool(to)} }
	add := func(name, value string, d destination) {
		if d.isNone() && v.Cluster != nil {
			return // the others still have a pool
		}
		with := r
		with.Match.Header = append(slices.Clone(r.Match.Header), [2]string{name, value})
		before := len(v.c.Routes)
		v.diverted = to.by
		v.withCORS(l, with, d)
		v.diverted = nil
		if len(v.c.Routes) > before {
			to.by.routes = append(to.by.routes, config.Path("routes").Index(before))
		}
	}
	if k.header != "" {
		switch {
		case k.value != "":
			add(k.header, "~^"+regexp.QuoteMeta(k.value)+"$", next())
		case k.pattern != "":
			if _, err := regexp.Compile(k.pattern); err != nil {
				to.by.settings.refuse(to.by.annotation("canary-by-header-pattern"), "%v", err)
				break
			}
			add(k.header, "~"+k.pattern, next())
		default:
			add(k.header, "always", next())
			add(k.header, "never", stable)
		}
	}
	if k.cookie != "" {
		cookie := `~(^|;)\s*` + regexp.QuoteMeta(k.cookie) + `=%s\s*(;|$)`
		add("Cookie", fmt.Sprintf(cookie, "always"), next())
		add("Cookie", fmt.Sprintf(cookie, "never"), stable)
	}
	v.withCORS(l, r, v.byWeight(l, to, stable))
}

// canaryPool is the pool of a canary; "" if it can't be used.
func (v *converter) canaryPool(to *canaryOf) string {
	name := v.pool(to.by, to.backend)
	if v.Cluster != nil && to.by.closed() {
		return ""
	}
	return name
}

// byWeight is where requests go for which a canary has no rule.
func (v *converter) byWeight(l *location, to *canaryOf, stable destination) destination {
	k := to.by.canary
	if k.weight == 0 {
		return stable
	}
	if v.Cluster == nil && k.weight < k.total {
		if both, ok := v.split(l.by, l.backend, to); ok {
			return destination{pool: both}
		}
		return stable
	}
	next := v.canaryPool(to)
	switch {
	case next == "" && v.Cluster != nil || next == stable.pool:
		return stable
	case v.Cluster != nil && stable.isNone():
		return stable
	case k.weight >= k.total:
		return destination{pool: next}
	}
	part, rest := k.weight, k.total-k.weight
	for max(part, rest) > maxShare {
		part, rest = (part+1)/2, (rest+1)/2
	}
	return destination{split: config.Split{{Pool: stable.pool, Weight: rest}, {Pool: next, Weight: part}}}
}

// maxShare is the largest weight of a config.SplitPart.
const maxShare = 1_000_000
