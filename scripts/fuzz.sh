#!/usr/bin/env bash
# Runs each fuzz target for FUZZTIME (default 2000x), even if another has failed.
# The failures are the lines "fuzz: ..." at the end.
#
# A package for each processor at the same time: linking and the runs that find out what
# the known inputs cover use one each.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# A number of runs instead of a time: at the end of a time, the fuzzer sometimes
# fails with just "context deadline exceeded".
time=${FUZZTIME:-2000x}
built=$(mktemp -d) || exit 1
trap 'rm -rf "$built"' EXIT
failed=$built/failed
touch "$failed"

packages=$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -r -n1 dirname | sort -u)
[ -n "$packages" ] || echo "finding a target failed" >>"$failed"

# fuzz runs the targets of a package. Its second argument is a name for its files.
fuzz() {
	local package=$1 binary=$built/$2.test path target
	# One test binary for all targets of a package; go test would link one for each.
	path=$(cd "$package" && go test -c -fuzz . -o "$binary" && go list) || {
		echo "$package: building it failed" >>"$failed"
		return
	}
	for target in $(cd "$package" && "$binary" -test.list '^Fuzz'); do
		echo "fuzz $path $target"
		# The default for minimizing, a minute for every input found, would take
		# longer than the fuzzing.
		(cd "$package" && "$binary" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" -test.fuzzminimizetime 5x \
			-test.parallel 1 -test.fuzzcachedir "$(go env GOCACHE)/fuzz/$path" </dev/null) >"$built/$2.output" 2>&1 || {
			echo "$path $target failed" >>"$failed"
			# What it found, too: the next run finds something else.
			grep -v '^fuzz: elapsed' "$built/$2.output" | tail -n 20 | cut -c -1000 >>"$failed"
		}
		cat "$built/$2.output"
	done
	rm -f "$binary"
}

number=0
for package in $packages; do
	number=$((number + 1))
	[ $number -le "$(nproc 2>/dev/null || echo 2)" ] || wait -n 2>/dev/null || wait # the latter for old versions of bash
	{
		fuzz "$package" $number >"$built/$number.log" 2>&1
		cat "$built/$number.log"
	} &
done
wait

sed 's/^/fuzz: /' "$failed"
[ ! -s "$failed" ]
