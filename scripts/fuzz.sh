#!/usr/bin/env bash
# Runs each fuzz target for FUZZTIME (default 10000x), even if another has failed.
# Each failure is a line "fuzz: ..." at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# A number of runs instead of a time: at the end of a time, the fuzzer sometimes
# fails with just "context deadline exceeded".
time=${FUZZTIME:-10000x}
failures=()

list=$(go test -list '^Fuzz' ./...) || failures+=("listing the targets")
targets=$(awk '/^Fuzz/ { name[n++] = $1 } /^ok/ { for (i = 0; i < n; i++) print $2, name[i]; n = 0 }' <<<"$list")
[ -n "$targets" ] || failures+=("finding a target")

while read -r package target; do
	[ -n "$target" ] || continue
	echo "fuzz $package $target"
	# The default for minimizing, a minute for every input found, would take
	# longer than the fuzzing.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5x "$package" </dev/null ||
		failures+=("$package $target")
done <<<"$targets"

for failure in "${failures[@]}"; do
	echo "fuzz: $failure failed"
done
[ ${#failures[@]} -eq 0 ]
