//go:build !unix

package httpproxy

import (
	"io"
	"net"
)

// waitForReset can't tell a client that has gone from one that waits for its
// answer here, and takes it for gone.
func waitForReset(net.Conn) error { return io.EOF }
