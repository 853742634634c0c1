// Package soak has the end-to-end test that does everything at once for a long time
// and looks for what is left behind.
package soak
