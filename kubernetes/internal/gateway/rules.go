package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// rule is a rule of an HTTPRoute.
type rule struct {
	route    *gwv1.HTTPRoute
	index    int
	name     string
	matches  []match
	actions  actions
	timeouts config.RouteTimeouts
	backends []backend

	affinity *config.Cookie
	retryOn  []config.StatusRange

	// wrong says what of the rule is not supported. Its requests are answered with 500: to
	// leave out what wasn't understood could let in whom it keeps out.
	wrong    verdict
	resolved verdict
}

func (r *rule) owner() translate.Owner {
	return translate.Owner{Object: r.route, Rule: r.index, RuleName: r.name}
}

// fail notes the first thing that is wrong.
func (r *rule) fail(reason gwv1.RouteConditionReason, format string, args ...any) {
	r.wrong = r.wrong.orElse(verdict{string(reason), fmt.Sprintf(format, args...)})
}

// compileRule reads a rule.
func (t *translator) compileRule(route *gwv1.HTTPRoute, index int) *rule {
	spec := &route.Spec.Rules[index]
	r := &rule{route: route, index: index, name: string(deref(spec.Name, ""))}
	matches := spec.Matches
	if len(matches) == 0 {
		matches = []gwv1.HTTPRouteMatch{{}}
	}
	for i := range matches {
		m, err := compileMatch(&matches[i])
		if err != nil {
			r.fail(gwv1.RouteReasonUnsupportedValue, "match %d: %s", i, plain(err))
			continue
		}
		r.matches = append(r.matches, m)
	}
	r.checkMatches()
	reason, err := r.actions.read(spec.Filters)
	if err != nil {
		r.fail(reason, "%s", plain(err))
	}
	if r.actions.missing != "" {
		r.resolved = verdict{string(gwv1.RouteReasonInvalidKind), r.actions.missing}
	}
	for i := range spec.BackendRefs {
		b := t.backend("HTTPRoute", route.Namespace, spec.BackendRefs[i].BackendRef)
		r.resolved = r.resolved.orElse(b.wrong)
		var own actions
		if reason, err := own.read(spec.BackendRefs[i].Filters); err != nil {
			r.fail(reason, "backendRef %d: %s", i, plain(err))
		} else if own.redirect != nil || own.rewrite != nil || own.cors != nil {
			r.fail(gwv1.RouteReasonUnsupportedValue, "backendRef %d: of the filters of a backendRef, RequestHeaderModifier and ResponseHeaderModifier are supported", i)
		}
		b.edits = own.edits
		r.backends = append(r.backends, b)
	}
	if err := r.readTimeouts(spec.Timeouts); err != nil {
		r.fail(gwv1.RouteReasonUnsupportedValue, "timeouts: %s", plain(err))
	}
	if err := r.readRetry(spec.Retry); err != nil {
		r.fail(gwv1.RouteReasonUnsupportedValue, "retry: %s", plain(err))
	}
	if err := r.readPersistence(spec.SessionPersistence); err != nil {
		r.fail(gwv1.RouteReasonUnsupportedValue, "sessionPersistence: %s", plain(err))
	}
	if r.wrong.ok() && !r.plain() {
		r.validate()
	}
	return r
}

// longest is how long a timeout is that is turned off.
const longest = 8760 * time.Hour

// readTimeouts reads timeouts, of which the shorter one holds: a request is mostly sent once.
// A WebSocket that has been opened isn't a request any more, and stays open.
func (r *rule) readTimeouts(spec *gwv1.HTTPRouteTimeouts) error {
	if spec == nil {
		return nil
	}
	var shortest time.Duration
	for _, given := range []*gwv1.Duration{spec.Request, spec.BackendRequest} {
		if given == nil {
			continue
		}
		d, err := time.ParseDuration(string(*given))
		switch {
		case err != nil || d < 0:
			return fmt.Errorf("bad duration %.64q", *given)
		case d == 0 || d > longest:
			d = longest
		}
		if shortest == 0 || d < shortest {
			shortest = d
		}
	}
	switch {
	case shortest == 0:
	case shortest == longest: // turned off
		r.timeouts.Response = &shortest
	default:
		r.timeouts.Request, r.timeouts.Response, r.timeouts.Handshake = &shortest, &shortest, &shortest
	}
	return nil
}

// readRetry reads which answers make the balancer ask another backend, which it does twice at
// most and at once.
func (r *rule) readRetry(spec *gwv1.HTTPRouteRetry) error {
	if spec == nil {
		return nil
	}
	switch {
	case spec.Attempts != nil && *spec.Attempts != 2:
		return fmt.Errorf("attempts %d is not supported: 2 is, and the default", *spec.Attempts)
	case spec.Backoff != nil:
		return fmt.Errorf("backoff is not supported: another backend is asked at once")
	}
	for _, code := range spec.Codes {
		status, err := config.ParseFailedStatus(strconv.Itoa(int(code)))
		if err != nil {
			return err
		}
		r.retryOn = append(r.retryOn, status)
	}
	return nil
}

// readPersistence reads session persistence (GEP-1619).
func (r *rule) readPersistence(spec *gwv1.SessionPersistence) error {
	if spec == nil {
		return nil
	}
	if kind := deref(spec.Type, gwv1.CookieBasedSessionPersistence); kind != gwv1.CookieBasedSessionPersistence {
		return fmt.Errorf("the type %.64q is not supported: Cookie is", kind)
	}
	c := new(config.Cookie)
	c.SetDefaults()
	c.MaxAge = 0
	c.Name = deref(spec.SessionName, "holdfast-"+digest(r.id())[:12])
	lifetime := gwv1.SessionCookieLifetimeType
	if spec.CookieConfig != nil {
		lifetime = deref(spec.CookieConfig.LifetimeType, lifetime)
	}
	switch {
	case lifetime == gwv1.SessionCookieLifetimeType && spec.AbsoluteTimeout != nil:
		return fmt.Errorf("absoluteTimeout is supported only with cookieConfig.lifetimeType Permanent")
	case lifetime == gwv1.PermanentCookieLifetimeType && spec.AbsoluteTimeout == nil:
		return fmt.Errorf("lifetimeType Permanent needs absoluteTimeout")
	case lifetime == gwv1.PermanentCookieLifetimeType:
		d, err := time.ParseDuration(string(*spec.AbsoluteTimeout))
		if err != nil || d < time.Second {
			return fmt.Errorf("bad absoluteTimeout %.64q: it is at least 1s", *spec.AbsoluteTimeout)
		}
		c.MaxAge = min(d, longest).Truncate(time.Second)
	case lifetime != gwv1.SessionCookieLifetimeType:
		return fmt.Errorf("the lifetimeType %.64q is not supported", lifetime)
	}
	if err := checkCookie(c); err != nil {
		return err
	}
	r.affinity = c
	return nil
}

// checkCookie says what is wrong with a cookie. A rule that isn't served keeps its pools,
// which must be valid.
func checkCookie(c *config.Cookie) error {
	all, pool, cookie := config.Defaults(), config.NewPool("p"), *c
	pool.Feed, pool.Affinity.Cookie = translate.Feed("a", "a", 1), &cookie
	all.Listeners, all.Pools = []config.Listener{{Name: "a"}}, []config.Pool{pool}
	if err := all.Validate(); err != nil {
		return errors.New(plain(err))
	}
	return nil
}

// id names the rule, by its own name if it has one, or else by what makes its pools its own:
// its number changes when another rule is put before it, and its sessions would lose their
// pool.
func (r *rule) id() string {
	spec := &r.route.Spec.Rules[r.index]
	name := r.name
	for i := range r.route.Spec.Rules {
		if i != r.index && string(deref(r.route.Spec.Rules[i].Name, "")) == name {
			name = "" // it isn't its own
		}
	}
	if name == "" {
		var all strings.Builder
		for _, ref := range spec.BackendRefs {
			fmt.Fprintf(&all, "%q %q %d\n", deref(ref.Namespace, ""), ref.Name, deref(ref.Port, 0))
		}
		persistence, _ := json.Marshal(spec.SessionPersistence) // of plain values
		retry, _ := json.Marshal(spec.Retry)
		name = "rule-" + digest(all.String() + string(persistence) + string(retry))[:12]
	}
	return r.route.Namespace + "/" + r.route.Name + "/" + name
}

// variant is that of the pools of r on a Gateway.
func (r *rule) variant(g *gateway) variant {
	v := variant{cert: g.clientCert, affinity: r.affinity, retryOn: r.retryOn}
	if v.affinity != nil || v.retryOn != nil {
		v.name = r.id()
	}
	return v
}

// checkMatches leaves out matches that the rules of the configuration refuse, such as one
// by a header that no route can look at.
func (r *rule) checkMatches() {
	check := func(matches []match) error {
		c := config.Defaults()
		c.Listeners = []config.Listener{{Name: "a"}}
		for i := range matches {
			c.Routes = append(c.Routes, config.Route{Match: matches[i].Match, Respond: status(500)})
		}
		return c.Validate()
	}
	named := slices.ContainsFunc(r.matches, func(m match) bool { return m.Method != nil || m.Header != nil || m.Query != nil })
	if !named || check(r.matches) == nil { // a path alone has been checked
		return
	}
	r.matches = slices.DeleteFunc(r.matches, func(m match) bool {
		err := check([]match{m})
		if err != nil {
			r.fail(gwv1.RouteReasonUnsupportedValue, "%s", plain(err))
		}
		return err != nil
	})
}

// plain reports whether the rule only sends requests to backends, which most do.
func (r *rule) plain() bool {
	return r.actions.redirect == nil && r.actions.rewrite == nil && r.actions.cors == nil && !r.actions.some() && r.affinity == nil && r.retryOn == nil &&
		r.timeouts == config.RouteTimeouts{} && !slices.ContainsFunc(r.backends, func(b backend) bool { return b.edits.some() })
}

// validate checks all that a user wrote by the rules of the configuration, so that no rule
// of one user makes the whole configuration wrong.
func (r *rule) validate() {
	if len(r.matches) == 0 {
		return
	}
	c := config.Defaults()
	c.Listeners = []config.Listener{{Name: "a"}}
	pool := config.NewPool("p")
	pool.Feed = translate.Feed("a", "a", 1)
	if r.affinity != nil {
		cookie := *r.affinity
		pool.Affinity.Cookie = &cookie
	}
	pool.RetryOn = r.retryOn
	var split config.Split
	for i := range max(1, len(r.backends)) {
		pool.Name = "p" + strconv.Itoa(i)
		c.Pools = append(c.Pools, pool)
		part := config.SplitPart{Pool: pool.Name, Weight: 1}
		if i < len(r.backends) {
			part.RequestHeaders, part.ResponseHeaders = r.backends[i].edits.request, r.backends[i].edits.response
		}
		split = append(split, part)
	}
	for i := range r.matches {
		c.Routes = append(c.Routes, r.routes(i, "a", func() (string, config.Split) { return "", split }, "http", 80)...)
	}
	if err := c.Validate(); err != nil {
		r.fail(gwv1.RouteReasonUnsupportedValue, "%s", plain(err))
	}
}

func status(code int) *config.Respond {
	respond := new(config.Respond)
	respond.SetDefaults()
	respond.Status = code
	return respond
}

// whatIsWrong is why some rules are not served as they are; ok if there is none. all says
// that this is so for every rule.
func whatIsWrong(rules []*rule) (why verdict, all bool) {
	var messages []string
	all = true
	for _, r := range rules {
		if r.wrong.ok() {
			all = false
			continue
		}
		why = why.orElse(r.wrong)
		messages = append(messages, fmt.Sprintf("rule %d: %s", r.index, r.wrong.message))
	}
	why.message = strings.Join(messages, "; ")
	return why, all
}
