// Package layer4 has the end-to-end tests of connections that the balancer doesn't look
// into: TCP, TLS that is passed through, and other upgrades.
package layer4
