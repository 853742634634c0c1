package program

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/stage/listener"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// reason is that of events about what was left out.
const reason = "InvalidConfiguration"

// faulty collects the parts that errors are about, by their index.
type faulty struct {
	listeners, pools map[int]string // what is wrong
	routes           map[int]string
	match            map[int]bool      // of routes: the match itself is wrong
	certificates     map[[2]int]string // by listener and certificate
}

// leaveOut leaves out what is at fault for err, each with an Event for its owner. It
// reports whether there was something.
func (p *parts) leaveOut(err error) bool {
	f := faulty{listeners: map[int]string{}, pools: map[int]string{}, routes: map[int]string{}, match: map[int]bool{}, certificates: map[[2]int]string{}}
	for _, e := range errorsOf(err) {
		p.blame(&f, e)
	}
	p.blameAddress(&f, err)
	if len(f.listeners)+len(f.pools)+len(f.routes)+len(f.certificates) == 0 {
		return false
	}
	removed := map[string]bool{} // pools
	p.pools = without(p.pools, f.pools, func(one *translate.Pool, why string) {
		removed[one.Name] = true
		p.tell(one.Owner, "the backends of "+strconv.Quote(one.Name), why)
	})
	// Of two pools with one name, the first stays.
	for i := range p.pools {
		delete(removed, p.pools[i].Name)
	}
	for i := range p.listeners {
		l := &p.listeners[i]
		if l.Pool != "" && removed[l.Pool] {
			f.listeners[i] = "its backends can't be used"
		}
		l.Split = refuseParts(l.Split, removed)
	}
	p.removeCertificates(f.certificates)
	gone := map[string]bool{} // listeners
	p.listeners = without(p.listeners, f.listeners, func(one *translate.Listener, why string) {
		gone[one.Name] = true
		p.tell(one.Owner, "the listener "+strconv.Quote(one.Name), why)
	})
	for i := range p.listeners {
		delete(gone, p.listeners[i].Name)
	}
	p.refuse(&f, removed)
	p.routes = slices.DeleteFunc(p.routes, func(r route) bool { return gone[r.Match.Listener] })
	return true
}

// removeCertificates removes certificates that can't be used. If none of a listener can,
// one is left, so that the next error is about the listener.
func (p *parts) removeCertificates(faults map[[2]int]string) {
	for i := range p.listeners {
		l := &p.listeners[i]
		if l.TLS == nil {
			continue
		}
		var kept []config.Certificate
		for j, certificate := range l.TLS.Certificates {
			why, bad := faults[[2]int{i, j}]
			if !bad || len(kept) == 0 && j == len(l.TLS.Certificates)-1 {
				kept = append(kept, certificate)
				continue
			}
			what := "a certificate"
			if certificate.Data != nil {
				what += " of " + certificate.Data.Name
			}
			p.tell(l.Owner, what, why)
		}
		tls := *l.TLS
		tls.Certificates = kept
		l.TLS = &tls
	}
}

// without returns list without the items of which faults has the index.
func without[T any](list []T, faults map[int]string, removed func(one *T, why string)) []T {
	kept := make([]T, 0, len(list))
	for i := range list {
		if why, bad := faults[i]; bad {
			removed(&list[i], why)
		} else {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// refuse lets the routes that are at fault answer 500, so that their requests don't go
// where another route leads, perhaps past what guards them. Those whose match is wrong
// are removed.
func (p *parts) refuse(f *faulty, removed map[string]bool) {
	kept := p.routes[:0:0]
	for i, r := range p.routes {
		why, bad := f.routes[i]
		if bad {
			rule := "rule " + strconv.Itoa(r.Owner.Rule)
			if r.Owner.RuleName != "" {
				rule += " " + strconv.Quote(r.Owner.RuleName)
			}
			p.tell(r.Owner, rule, why)
		}
		switch {
		case bad && (f.match[i] || r.refused):
			continue
		case bad || r.Pool != "" && removed[r.Pool]:
			refused := config.Route{Match: r.Match, Respond: respond(500)}
			if r.Opaque() { // the only way to refuse a connection
				refused.Respond, refused.Split = nil, config.Split{{Weight: 1, Respond: respond(500)}}
			}
			r.Route.Route, r.refused = refused, true
		}
		r.Split = refuseParts(r.Split, removed)
		kept = append(kept, r)
	}
	p.routes = kept
}

// refuseParts lets the parts of a split answer 500 that lead to pools that were removed,
// so that the others get no more than their share.
func refuseParts(split config.Split, removed map[string]bool) config.Split {
	var changed config.Split
	for i, part := range split {
		if part.Pool == "" || !removed[part.Pool] {
			continue
		}
		if changed == nil {
			changed = slices.Clone(split)
		}
		changed[i] = config.SplitPart{Weight: part.Weight, Respond: respond(500)}
	}
	if changed == nil {
		return split
	}
	return changed
}

func (p *parts) tell(o translate.Owner, what, why string) {
	if o.Object == nil {
		return
	}
	p.events = append(p.events, translate.Event{Object: o.Object, Warning: true, Reason: reason, Message: fmt.Sprintf("%s can't be used and was left out: %s", what, why)})
}

// blame finds the part that an error is about.
func (p *parts) blame(f *faulty, e config.Error) {
	if i, rest, ok := index(e.Path, "routes"); ok && i < len(p.routes) {
		f.routes[i] = e.Msg
		f.match[i] = f.match[i] || rest == ".match" || strings.HasPrefix(rest, ".match.")
		return
	}
	if i, rest, ok := index(e.Path, "listeners"); ok && i < len(p.listeners) {
		tls := p.listeners[i].TLS
		// Other certificates of the listener may be those of other users.
		if j, _, ok := index(config.Path(rest), ".tls.certificates"); ok && tls != nil && j < len(tls.Certificates) && len(tls.Certificates) > 1 {
			f.certificates[[2]int{i, j}] = e.Msg
			return
		}
		f.listeners[i] = e.Msg
		return
	}
	if i, _, ok := index(e.Path, "pools"); ok && i < len(p.pools) {
		f.pools[i] = e.Msg
		return
	}
	for i := range p.pools {
		if rest, ok := strings.CutPrefix(string(e.Path), string(config.PoolPath(p.pools[i].Name))); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			f.pools[i] = e.Msg
		}
	}
}

// owns reports whether a path is that of a part.
func (p *parts) owns(path config.Path) bool {
	for _, section := range []string{"routes", "listeners", "pools"} {
		if path == config.Path(section) || strings.HasPrefix(string(path), section+"[") || strings.HasPrefix(string(path), section+".") {
			return true
		}
	}
	return false
}

// blameAddress finds the listener whose address can't be opened. One that is no object's,
// such as that of all Ingresses, is never left out: a replica without it is no use.
func (p *parts) blameAddress(f *faulty, err error) {
	var e *listener.OpenError
	if !errors.As(err, &e) {
		return
	}
	for i := range p.listeners {
		if p.listeners[i].Name == e.Listener && p.listeners[i].Owner.Object != nil {
			f.listeners[i] = e.Err.Error()
		}
	}
}

// index returns the number in a path such as routes[12].match.host, and what follows it.
func index(path config.Path, section string) (i int, rest string, ok bool) {
	after, ok := strings.CutPrefix(string(path), section+"[")
	if !ok {
		return 0, "", false
	}
	number, rest, ok := strings.Cut(after, "]")
	if !ok {
		return 0, "", false
	}
	i, err := strconv.Atoi(number)
	return i, rest, err == nil && i >= 0
}
