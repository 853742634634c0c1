// Package proxied has the end-to-end tests of the PROXY protocol and of unix sockets.
package proxied
