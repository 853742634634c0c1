//go:build !linux

package bench

import "time"

// precisely runs f with sleeps as exact as the system's timers.
func precisely(f func(pacer)) { f(pacer{sleep: time.Sleep}) }
