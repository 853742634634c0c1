//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyReopen sends the signals for opening the log file again to c.
func notifyReopen(c chan<- os.Signal) { signal.Notify(c, syscall.SIGUSR1) }
