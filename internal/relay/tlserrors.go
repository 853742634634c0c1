package relay

import (
	"errors"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// tlsErrors has, by slot, why the TLS of a side has failed. An entry exists from then to
// the end of the session, or to the end of its move to another backend.
type tlsErrors map[int32]string

// add notes err, with which side s of an open session is lost. It reports whether that is
// an error of TLS.
func (t *tlsErrors) add(slot int32, r *record, s session.Side, err error) bool {
	var failed *tlsrec.Error
	if r.cause != session.None || !errors.As(err, &failed) {
		return false
	}
	if *t == nil {
		*t = tlsErrors{}
	}
	(*t)[slot] = s.String() + ": " + strings.TrimPrefix(failed.Error(), "tls: ")
	return true
}

// take returns what was noted of a session, and deletes it.
func (t *tlsErrors) take(slot int32) string {
	text, ok := (*t)[slot]
	if ok {
		if delete(*t, slot); len(*t) == 0 {
			*t = nil // a map never gives memory back by itself
		}
	}
	return text
}
