// Command holdfast-kubernetes is the load balancer as a controller of Kubernetes: it
// serves the Ingresses and Gateways of a cluster. Run "holdfast-kubernetes --help" for its
// flags, which are in internal/command.
package main

import (
	"os"

	// An image without a system has no authorities of its own to verify servers by.
	_ "golang.org/x/crypto/x509roots/fallback"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/command"
)

func main() { os.Exit(command.Main(os.Args[1:], os.Stdout, os.Stderr)) }
