// Package e2e tests the built binary as a user runs it: real processes, real
// sockets, configuration files, signals. The tests are in folders by subject;
// internal/kit has what they share.
//
// Some peers are programs of others, so that no mistake of ours is shared by
// both ends: Node's ws on either side, and Chromium for the pages.
// scripts/setup-tests.sh installs what these tests need; without it they fail.
//
// HOLDFAST_E2E_BINARY is the path of a balancer to test; without it, each
// package builds one. HOLDFAST_E2E_RACE=1 builds with the race detector.
package e2e

import _ "embed"

// Continuity has the names of the tests that measure something, one a line.
// make bench-continuity runs them.
//
//go:embed continuity.txt
var Continuity string
