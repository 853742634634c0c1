// Package pebble starts Pebble for a test: a certificate authority that speaks ACME. It
// is built from source when a test first needs it; go.mod in the folder module has its
// version.
package pebble
