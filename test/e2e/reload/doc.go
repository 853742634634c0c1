// Package reload has the end-to-end tests of reloads of the configuration
// while sessions are open.
package reload
