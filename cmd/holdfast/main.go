// Command holdfast is a load balancer for WebSockets. Run "holdfast --help" for
// its commands, which are in internal/cli.
package main

import (
	"os"

	"github.com/holdfast-ws/holdfast/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
