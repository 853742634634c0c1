// Package reattach has the end-to-end tests of sessions that go on with
// another backend, after a drain, a loss, or a rebalancing.
package reattach
