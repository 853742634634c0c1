// Package discovery has the end-to-end tests of backends from DNS and from a
// watched file.
package discovery
