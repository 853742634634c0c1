//go:build !linux

package bench

import "time"

// withPrecisePacer runs f with a pacer as precise as the system's timers.
func withPrecisePacer(f func(pacer)) { f(pacer{sleep: time.Sleep}) }
