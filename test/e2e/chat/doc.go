// Package chat has the end-to-end tests of the chat of examples/ and the
// demo: servers in Go and Node that share rooms through Redis, with people
// in Chromium.
package chat
