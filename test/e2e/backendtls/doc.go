// Package backendtls has the end-to-end tests of TLS between the balancer and its
// backends.
package backendtls
