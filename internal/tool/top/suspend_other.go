//go:build !unix

package top

// canSuspend is false: consoles of Windows have no job control.
func canSuspend() bool { return false }
