// Package access has the end-to-end tests of who is admitted: origins, addresses,
// subprotocols, and routes by what a client is.
package access
