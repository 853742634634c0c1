#!/usr/bin/env bash
# Runs the tests of what the event loops assume of Go's runtime and TLS of
# crypto/tls, and those of sockets and sessions, with other releases of Go.
# CONTRIBUTING.md says what is assumed. A release that fails doesn't keep the others from running.
#
# usage: scripts/go-versions.sh [VERSION...]
#
# VERSION is a value of GOTOOLCHAIN, as go1.27.0 or go1.28rc1; "oldest" is the
# release in go.mod, and "local" the go command on the PATH, as it is. Without a
# VERSION, oldest and local are tested. Releases that are missing are downloaded.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

[ $# -gt 0 ] || set -- oldest local
failures=()
for version; do
	toolchain=$version
	[ "$version" != oldest ] || toolchain=go$(awk '$1 == "go" { print $2 }' go.mod)
	export GOTOOLCHAIN=$toolchain
	printf '\n== %s: ' "$version"
	if ! go version; then
		failures+=("$version: getting the toolchain")
		continue
	fi
	go build ./... && go vet ./internal/sock/... ./internal/relay/... ./internal/tls/... ||
		failures+=("$version: build or vet")
	# One and several processors: the loops keep theirs while they wait.
	for processors in 1 4; do
		GOMAXPROCS=$processors go test -count=1 ./internal/sock/... ||
			failures+=("$version: internal/sock with GOMAXPROCS=$processors")
	done
	go test -count=1 ./internal/relay/... || failures+=("$version: internal/relay")
	go test -count=1 ./internal/tls/tlsconn ./internal/tls/tlsrec ||
		failures+=("$version: internal/tls")
done

echo
for failure in "${failures[@]}"; do
	echo "go-versions: $failure failed"
done
[ ${#failures[@]} -eq 0 ] && echo "go-versions: all passed"
