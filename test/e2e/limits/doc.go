// Package limits has the end-to-end tests of what one client and one listener may
// have.
package limits
