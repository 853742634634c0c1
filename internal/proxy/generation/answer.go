package generation

import (
	"fmt"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Answer is what a route answers all requests that it admits. It is immutable.
type Answer struct {
	Status            int
	Body, ContentType string
	// Location makes a redirect of it; nil is none. Its groups are those of Regex, and Path
	// is what a path has before its rest.
	Location *headeredit.Location
	Regex    pattern.Regex
	Path     pattern.Path
}

// Error is the answer to a request as an error that ends it: a *failure.Error. path is the
// request's, and from what variables stand for.
func (a *Answer) Error(from headeredit.Source, path []byte) error {
	e := &failure.Error{Code: failure.Responded, Reason: fmt.Sprintf("the route answers it with %d", a.Status),
		Refusal: &failure.Refusal{Status: a.Status, Message: a.Body, ContentType: a.ContentType}}
	if a.Location == nil {
		return e
	}
	var groups pattern.Groups
	if a.Location.Groups() > 0 {
		var ok bool
		if groups, ok = pattern.CapturedByAll(a.Regex, path); !ok {
			return route.ErrBadPath
		}
	}
	if a.Location.UsesRest() {
		rest, matches, ok := a.Path.Rest(path)
		if !matches || !ok {
			return route.ErrBadPath
		}
		groups[0] = rest
	}
	to, ok := a.Location.Append(nil, from, func(n int) []byte { return groups[n] })
	if !ok {
		return route.ErrBadPath
	}
	e.Code, e.Reason = failure.Redirected, fmt.Sprintf("the route redirects it with %d", a.Status)
	e.Refusal = &failure.Refusal{Status: a.Status, Message: "What you asked for is at another URL, see Location.", Header: [][2]string{{"Location", string(to)}}}
	return e
}
