package ingress

import (
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	importing "github.com/holdfast-ws/holdfast/internal/config/importer/ingress"
)

// maxRounds bounds how often the configuration is checked: each time finds up to 200
// errors, and closes what has them.
const maxRounds = 50

// check makes the configuration valid, as far as Ingresses are at fault. Requests of a
// route with an error are answered with 503: without the route, they could get to another
// one, which may be open. A route whose conditions are wrong is left out; the importer has
// closed paths that can't be matched, so that is one by header fields, of which there is
// another one without them.
func (v *translator) check(b *importing.Built) {
	var places config.Source = &v.report
	for range maxRounds {
		var found config.Report
		config.Check(b.Config, places, &found)
		errs := found.Errors()
		if len(errs) == 0 {
			return
		}
		drop := map[int]bool{}
		fixed := false
		for _, e := range errs {
			if i, match, ok := routeOf(e.Path); ok && i < len(b.Config.Routes) {
				fixed = true
				if drop[i] = drop[i] || match; match {
					v.tellError(b.Routes[i], e, "its requests go by the other rules of the path")
				} else {
					v.tellError(b.Routes[i], e, "the path answers 503")
					b.Config.Routes[i] = importing.Unavailable(b.Config.Routes[i].Match)
				}
			} else if i := slices.IndexFunc(b.Config.Pools, func(p config.Pool) bool { return within(e.Path, config.PoolPath(p.Name)) }); i >= 0 {
				v.tellError(b.Pools[i].Origin, e, "paths that lead there answer 503")
				fixed = true
				closePool(b, i)
			}
		}
		if len(drop) > 0 {
			dropRoutes(b, drop)
			places = nil // which go by the numbers of routes
		}
		if !fixed {
			return // the program finds it, too
		}
	}
}

// closePool closes the routes to a pool, and removes it.
func closePool(b *importing.Built, i int) {
	name := b.Config.Pools[i].Name
	for j := range b.Config.Routes {
		r := &b.Config.Routes[j]
		if r.Pool == name || slices.ContainsFunc(r.Split, func(p config.SplitPart) bool { return p.Pool == name }) {
			*r = importing.Unavailable(r.Match)
		}
	}
	b.Config.Pools, b.Pools = slices.Delete(b.Config.Pools, i, i+1), slices.Delete(b.Pools, i, i+1)
}

func dropRoutes(b *importing.Built, drop map[int]bool) {
	n := 0
	for i := range b.Config.Routes {
		if !drop[i] {
			b.Config.Routes[n], b.Routes[n] = b.Config.Routes[i], b.Routes[i]
			n++
		}
	}
	b.Config.Routes, b.Routes = b.Config.Routes[:n], b.Routes[:n]
}

// routeOf is the route that a path is about, and whether it is about its conditions.
func routeOf(p config.Path) (i int, match, ok bool) {
	rest, ok := strings.CutPrefix(string(p), "routes[")
	number, rest, closed := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	return i, within(config.Path(strings.TrimPrefix(rest, ".")), "match"), ok && closed && err == nil
}

// within reports whether p is section, or something in it.
func within(p, section config.Path) bool {
	rest, ok := strings.CutPrefix(string(p), string(section))
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// tellError tells the owner of something that has an error, and what that means.
func (v *translator) tellError(from importing.Origin, e config.Error, effect string) {
	if from.Ingress == nil {
		return
	}
	s := v.byFile[from.Ingress.File]
	if key := (told{s, e.Msg}); v.told[key] {
		return
	} else {
		v.told[key] = true
	}
	message := e.Msg
	if name := s.annotations[e.Line]; name != "" && e.File == from.Ingress.File {
		message = strings.TrimPrefix(name, importing.AnnotationPrefix) + ": " + message
	}
	v.event(s, true, InvalidConfiguration, message+"; until then, "+effect)
}
