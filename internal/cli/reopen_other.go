//go:build !unix

package cli

import "os"

// notifyReopen does nothing: there is no such signal. A reload opens the file, too.
func notifyReopen(chan<- os.Signal) {}
