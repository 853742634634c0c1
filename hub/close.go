package hub

import (
	"context"
	"errors"
	"fmt"
)

// DisconnectError is the error of Next after Disconnect was called for the member.
type DisconnectError struct {
	Code   int    // WebSocket status code with which to close the connection
	Reason string // at most 123 bytes of UTF-8; the client can read it
}

func (e *DisconnectError) Error() string {
	return fmt.Sprintf("hub: member was disconnected with status %d %q", e.Code, e.Reason)
}

// CloseStatus returns the WebSocket status code and reason with which to close
// a connection after a method of this package returned err:
//
//   - 1000 (normal closure) for nil, ErrLeft and context.Canceled
//   - the code and reason of a *DisconnectError
//   - 1013 (try again later) for ErrSlow, ErrUnavailable and ErrFull
//   - 1001 (going away) for ErrClosed
//   - 1009 (message too big) for ErrTooLarge
//   - 1008 (policy violation) for ErrInvalid, ErrJoined and ErrTooManyRooms
//   - 1011 (internal error) for all others
func CloseStatus(err error) (code int, reason string) {
	var disconnected *DisconnectError
	switch {
	case err == nil, errors.Is(err, ErrLeft):
		return 1000, ""
	case errors.As(err, &disconnected):
		return disconnected.Code, disconnected.Reason
	case errors.Is(err, ErrSlow):
		return 1013, "too slow"
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrFull):
		return 1013, "try again later"
	case errors.Is(err, ErrClosed):
		return 1001, "going away"
	case errors.Is(err, ErrTooLarge):
		return 1009, "too large"
	case errors.Is(err, ErrInvalid):
		return 1008, "invalid name or id"
	case errors.Is(err, ErrJoined):
		return 1008, "already in the room"
	case errors.Is(err, ErrTooManyRooms):
		return 1008, "too many rooms"
	case errors.Is(err, context.Canceled): // last, because ErrUnavailable may wrap it
		return 1000, ""
	}
	return 1011, "internal error"
}
