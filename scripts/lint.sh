#!/usr/bin/env bash
# Checks formatting, vet and builds for all systems, even if another check has
# failed. Each failure is a line "lint: ..." at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failures=()
check() {
	local what=$1
	shift
	"$@" || failures+=("$what")
}

formatted() {
	local files
	files=$(gofmt -l $(git ls-files '*.go')) || return
	[ -z "$files" ] || {
		echo "not formatted, run gofmt -w on:"
		echo "$files"
		return 1
	}
}

check gofmt formatted
# This also vets the tests for the other systems, so that they compile there.
for os in linux darwin windows; do
	check "go vet for $os" env GOOS=$os go vet ./...
	check "build for $os" env GOOS=$os CGO_ENABLED=0 go build -o /dev/null ./cmd/holdfast
done

# What is only for Linux differs between processors, too. Nothing else does.
packages=$(git ls-files 'internal/*_linux.go' | xargs -r -n1 dirname | sort -u | sed 's|^|./|')
# shellcheck disable=SC2086 # several words
check "build for linux on arm64" env GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build $packages

check "go vet without the demo" go vet -tags nodemo ./internal/cli ./cmd/holdfast

# A nested module. make e2e tests it.
check "go vet of bench/hub" env -C bench/hub go vet ./...

for failure in "${failures[@]}"; do
	echo "lint: $failure failed"
done
[ ${#failures[@]} -eq 0 ]
