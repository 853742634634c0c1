//go:build !unix

package wsconn

// writeOnce leaves everything to the goroutine.
func (a *asyncConn) writeOnce(uintptr) bool { return true }
