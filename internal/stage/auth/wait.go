package auth

import (
	"errors"
	"os"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
)

// waited classifies an error of a Waiter.
func waited(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failure.New(failure.AuthUnavailable, "there was no answer in time")
	}
	return failure.Wrap(failure.ClientGone, err)
}

// maxShown bounds a claim that is shown with a session, in bytes: every such session
// keeps it. Longer ones are left out.
const maxShown = 256

func sessionClaims(g *Grant, names []string) claims.Claims {
	var b []byte
	for name, value := range g.Claims.Only(names).All() {
		if len(value) <= maxShown {
			b = claims.Append(b, name, value)
		}
	}
	return claims.Claims(b)
}
