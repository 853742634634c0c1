package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// located is a value and where it stands. It is not ok if it was not given or
// reported as wrong.
type located[T any] struct {
	value T
	at    place
	ok    bool
}

// draft is a configuration whose single values were checked, not yet how they
// go together.
type draft struct {
	at        place
	config    Config // all but listeners, routes, pools and admin
	listeners []listenerDraft
	routes    []routeDraft
	pools     []poolDraft
	admin     located[address]
	// badRoutes and badPools: some could not be read at all, so that what
	// follows from their absence is not to be reported. The same goes for
	// sections that are misspelt.
	badRoutes, badPools bool
	misspelt            []string
}

type listenerDraft struct {
	at      place
	name    located[string]
	address located[address]
}

type routeDraft struct {
	at    place
	match Match
	pool  located[string]
}

func newDraft(at place) *draft {
	return &draft{at: at, config: Defaults()}
}

// address checks s with one of the functions for listeners, backends or admin.
func (r *report) address(s string, at place, check func(string) (address, error)) located[address] {
	a, err := check(s)
	if err != nil {
		r.fail(at, "%v", err)
		return located[address]{at: at}
	}
	return located[address]{a, at, true}
}

// maxName bounds names, in bytes: they stand in every log line and metric. An
// address fits: a host of 253, a colon and a port.
const maxName = 260

func (r *report) checkName(name located[string]) located[string] {
	switch {
	case name.value == "":
		r.fail(name.at, "the name is empty")
	case len(name.value) > maxName:
		r.fail(name.at, "the name %s is longer than %d bytes", quote(name.value), maxName)
	case strings.ContainsFunc(name.value, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }):
		r.fail(name.at, "the name %s has spaces or invisible characters in it", quote(name.value))
	default:
		return name
	}
	name.ok = false
	return name
}

// check looks at how the parts of a draft go together and builds the Config.
// That is of use only if nothing was reported, now or before.
func (r *report) check(d *draft) *Config {
	c := d.config
	taken := make(ports)
	c.Listeners = r.checkListeners(d.listeners, taken)
	if d.admin.ok {
		r.checkPort(taken, "admin address", d.admin)
		c.Admin.Address = d.admin.value.String()
	}
	for _, p := range d.pools {
		c.Pools = append(c.Pools, r.checkPool(p))
	}
	c.Routes = r.checkRoutes(d)
	return &c
}

func (r *report) checkListeners(drafts []listenerDraft, taken ports) (listeners []Listener) {
	names := make(map[string]place)
	for _, l := range drafts {
		free := l.address.ok && r.checkPort(taken, "listener address", l.address)
		name := l.name
		if !name.ok && free {
			name = located[string]{l.address.value.String(), l.address.at, true}
		}
		r.checkUnique(names, "listener name", name)
		listeners = append(listeners, Listener{name.value, l.address.value.String(), l.at.Pos})
	}
	return listeners
}

// checkUnique adds s to seen and tells whether it is good and new there.
func (r *report) checkUnique(seen map[string]place, what string, s located[string]) bool {
	if !s.ok {
		return false
	}
	if before, ok := seen[s.value]; ok {
		r.fail(s.at, "duplicate %s %s (first %s)", what, quote(s.value), before.earlier())
		return false
	}
	seen[s.value] = s.at
	return true
}

func (r *report) checkRoutes(d *draft) (routes []Route) {
	if len(d.routes) == 0 && !d.badRoutes && !slices.Contains(d.misspelt, "routes") && len(d.pools) > 1 {
		r.fail(d.pools[1].name.at, "several pools but no routes: say under routes which requests go to which pool")
	}
	var pools []string
	unused := make(map[string]place)
	for _, p := range d.pools {
		pools = append(pools, p.name.value)
		unused[p.name.value] = p.name.at
	}
	known := maps.Clone(unused)
	poolsKnown := len(pools) > 0 && !d.badPools

	seen := make(coverage)
	for _, route := range d.routes {
		routes = append(routes, Route{route.match, route.pool.value, route.at.Pos})
		if _, ok := known[route.pool.value]; !ok && route.pool.ok && poolsKnown && !r.full() {
			r.fail(route.pool.at, "unknown pool %s%s", quote(route.pool.value), orList(route.pool.value, pools))
		}
		if earlier, covered := seen.add(route.match, route.at); covered {
			r.warn(route.at, "this route never matches: the one on line %d takes all its requests", earlier.Line)
			continue
		}
		delete(unused, route.pool.value)
	}
	for _, p := range d.pools {
		if _, ok := unused[p.name.value]; ok && len(routes) > 0 {
			r.warn(p.name.at, "no route leads to the pool %s", quote(p.name.value))
		}
	}
	return routes
}

// orList proposes the pool that was meant, or else names those there are.
func orList(word string, pools []string) string {
	if near := didYouMean(word, pools); near != "" {
		return near
	}
	const most = 8
	quoted := make([]string, min(len(pools), most))
	for i := range quoted {
		quoted[i] = quote(pools[i])
	}
	list := strings.Join(quoted, ", ")
	if more := len(pools) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return " (the pools are " + list + ")"
}
