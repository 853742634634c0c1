//go:build !linux

package relay

import "net"

// limitUnsent does nothing where there is no TCP_NOTSENT_LOWAT.
func (t *tuned) limitUnsent(net.Conn) {}
