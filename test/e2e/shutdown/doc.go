// Package shutdown has the end-to-end tests of the balancer's own end:
// delay, closes spread over time, and a second signal.
package shutdown
