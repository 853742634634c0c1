//go:build !unix

package wsconn

// writeOnce writes nothing, which leaves everything to the goroutine.
func (a *asyncConn) writeOnce(uintptr) bool { return true }
