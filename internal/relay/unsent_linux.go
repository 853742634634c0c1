package relay

import (
	"net"

	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// limitUnsent bounds what the kernel keeps unsent for a connection, see
// Tuning.Unsent.
func (t *tuned) limitUnsent(c net.Conn) {
	n := t.unsent.Load()
	tc, ok := below(c).(*net.TCPConn)
	if n == 0 || !ok {
		return
	}
	if raw, err := tc.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { eventloop.LimitUnsent(int32(fd), int(n)) })
	}
}

func (t *tuned) limitUnsentFD(fd int32) {
	if n := t.unsent.Load(); n != 0 {
		eventloop.LimitUnsent(fd, int(n))
	}
}
