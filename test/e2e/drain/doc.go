// Package drain has the end-to-end tests of drains: sessions that are moved
// or closed in time, restarts one after the other, and servers that use the
// package backend.
package drain
