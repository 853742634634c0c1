// Package sessions tests that one of many live sessions is found and closed, and that
// events tell of it, with the built binary.
package sessions
