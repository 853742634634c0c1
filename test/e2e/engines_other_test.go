//go:build unix && !linux

package e2e

var engines = []string{"portable"}
