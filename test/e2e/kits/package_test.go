//go:build unix

package kits

import "testing"

func TestSocketIOPackage(t *testing.T) {
	t.Parallel()
	testPackage(t, socketIO)
}

func TestGraphQLPackage(t *testing.T) {
	t.Parallel()
	testPackage(t, graphQL)
}
