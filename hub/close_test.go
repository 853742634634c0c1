package hub_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
)

func TestCloseStatus(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   int
		reason string
	}{
		{nil, 1000, ""},
		{hub.ErrLeft, 1000, ""},
		{context.Canceled, 1000, ""},
		{&hub.DisconnectError{Code: 4003, Reason: "banned"}, 4003, "banned"},
		{fmt.Errorf("delivering: %w", &hub.DisconnectError{Code: 1008}), 1008, ""},
		{hub.ErrSlow, 1013, "too slow"},
		{hub.ErrFull, 1013, "try again later"},
		{fmt.Errorf("%w: %w", hub.ErrUnavailable, context.Canceled), 1013, "try again later"},
		{hub.ErrClosed, 1001, "going away"},
		{hub.ErrTooLarge, 1009, "too large"},
		{hub.ErrInvalid, 1008, "invalid name or id"},
		{hub.ErrJoined, 1008, "already in the room"},
		{hub.ErrTooManyRooms, 1008, "too many rooms"},
		{&hub.RoomError{Room: "room", Err: hub.ErrSlow}, 1013, "too slow"},
		{context.DeadlineExceeded, 1011, "internal error"},
		{errors.New("another error"), 1011, "internal error"},
	} {
		if code, reason := hub.CloseStatus(c.err); code != c.code || reason != c.reason {
			t.Errorf("%v: %d %q, want %d %q", c.err, code, reason, c.code, c.reason)
		}
	}
}
