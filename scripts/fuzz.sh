#!/usr/bin/env bash
# Runs each fuzz target for FUZZTIME (default 2000x), even if another has failed.
# Each failure is a line "fuzz: ..." at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# A number of runs instead of a time: at the end of a time, the fuzzer sometimes
# fails with just "context deadline exceeded".
time=${FUZZTIME:-2000x}
failures=()

packages=$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -r -n1 dirname | sort -u)
[ -n "$packages" ] || failures+=("finding a target")
built=$(mktemp -d) || exit 1
trap 'rm -rf "$built"' EXIT

for package in $packages; do
	# One test binary for all targets of a package; go test would link one for each.
	path=$(cd "$package" && go test -c -fuzz . -o "$built/fuzz.test" && go list) || {
		failures+=("$package: building it")
		continue
	}
	for target in $(cd "$package" && "$built/fuzz.test" -test.list '^Fuzz'); do
		echo "fuzz $path $target"
		# The default for minimizing, a minute for every input found, would take
		# longer than the fuzzing.
		(cd "$package" && "$built/fuzz.test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" -test.fuzzminimizetime 5x \
			-test.fuzzcachedir "$(go env GOCACHE)/fuzz/$path" </dev/null) ||
			failures+=("$path $target")
	done
done

for failure in "${failures[@]}"; do
	echo "fuzz: $failure failed"
done
[ ${#failures[@]} -eq 0 ]
