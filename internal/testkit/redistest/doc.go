// Package redistest starts a redis-server for a test, which needs the program:
// scripts/setup-tests.sh installs it.
package redistest
