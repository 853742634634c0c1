// Package tls has the end-to-end tests of TLS between clients and the balancer.
package tls
