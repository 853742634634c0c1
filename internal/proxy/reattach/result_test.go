package reattach

import (
	"errors"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
)

// TestMoveWords has the word for every error with which a session is not moved.
func TestMoveWords(t *testing.T) {
	tested := map[string]bool{}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, "moved"},
		{errOff, "off"},
		{errNotSaved, "not_kept"},
		{balance.ErrBalanced, "not_needed"},
		{balance.ErrNoBackend, "no_backend"},
		{balance.ErrFull, "pool_full"},
		{relay.Retryable{Err: balance.ErrFull}, "pool_full"},
		{failure.New(failure.Unreachable, "test"), "unreachable"},
		{failure.New(failure.ConnectTimeout, "test"), "unreachable"},
		{failure.New(failure.NoResources, "test"), "unreachable"},
		{failure.New(failure.BackendTLS, "test"), "tls_failed"},
		{failure.New(failure.Silent, "test"), "silent"},
		{failure.New(failure.AnswerTimeout, "test"), "silent"},
		{failure.New(failure.Broken, "test"), "broken"},
		{failure.New(failure.Declined, "test"), "refused"},
		{errDifferent, "different"},
		{errNoControl, "different"},
		{relay.ErrRejected, "rejected"},
		{relay.ErrMoveWaited, "waited"},
		{relay.ErrTakenBack, "taken_back"},
		{relay.ErrMoveTimeout, "timeout"},
		{relay.ErrNoBoundary, "no_boundary"},
		{relay.ErrMessageCut, "message_cut"},
		{relay.ErrMoveOver, "client_gone"},
		{errInternal, "internal_error"},
		{errors.New("a bug"), "internal_error"},
		{overload.ErrStopping, "internal_error"}, // that can't end a move
	} {
		if got := resultOf(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
		tested[tt.want] = true
	}
	for _, result := range Results() {
		if !tested[result] {
			t.Errorf("the result %q isn't tested here", result)
		}
	}
}
