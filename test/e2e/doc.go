// Package e2e tests the built binary as a user runs it: real processes, real
// sockets, configuration files, signals. TestMain builds the binary once.
//
// Some peers are programs of others, so that no mistake of ours is shared by
// both ends: Node's ws on either side, and Chromium for the demo's page.
// scripts/setup-tests.sh installs what these tests need; without it they fail.
//
// HOLDFAST_E2E_RACE=1 builds the binary with the race detector.
package e2e
