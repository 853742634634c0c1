#!/usr/bin/env bash
# Runs everything that CI runs, on any machine with Go or apt. It installs what is
# missing and then runs each part, even if another part has failed. All failures
# are listed at the end, and the exit status is 1. A few failed tests are run again,
# alone: those that pass then are listed as flaky, and don't count.
#
# usage: scripts/test.sh [PART...]    lint, race, e2e, kube, fuzz; all without an argument
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
trap 'exit 130' INT

scripts/setup-tests.sh || exit 1

[ $# -gt 0 ] || set -- lint race e2e kube fuzz
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT

# run runs a part, with its output in a file of its own, too.
run() {
	local part=$1 began=$SECONDS result=ok
	make --no-print-directory "$part" 2>&1 | tee "$logs/$part.log" || {
		result=FAILED
		touch "$logs/$part.failed"
	}
	printf '%-6s %-6s %4d s\n' "$part" "$result" $((SECONDS - began)) >>"$logs/summary"
}

# failed_tests reads what a part has printed, and prints a line for each package with failed
# tests: its path and a pattern for them. It prints nothing if more than three tests have
# failed, or if something is wrong that isn't a test, or that no test or program may do even
# once.
failed_tests() {
	awk '
	/^--- FAIL: / { tests = tests (tests == "" ? "" : "|") $3; n++ }
	/WARNING: DATA RACE|panic: |fatal error: / || /^(# |vet:)/ || /^FAIL\t.*(failed\]|\/packaging\/|\/bench\/hub)/ { other = 1 }
	/^FAIL\t/ {
		if (tests == "") other = 1
		list = list $2 " ^(" tests ")$\n"
		tests = ""
	}
	END { if (n <= 3 && !other) printf "%s", list }'
}

# passes_alone runs the failed tests of a part once more. Tests of real processes may fail
# when the machine has no time for them. It is false if one fails again.
passes_alone() {
	local part=$1 package pattern
	failed_tests <"$logs/$part.log" >"$logs/$part.again"
	[ -s "$logs/$part.again" ] || return 1
	while read -r package pattern; do
		printf '\n== %s again: %s in %s\n' "$part" "$pattern" "$package"
		PACKAGES=$package RUN=$pattern make --no-print-directory "$part" </dev/null || return 1
	done <"$logs/$part.again"
}

# The tests of e2e and kube mostly wait, so they run at the same time if both are to run.
# The output of kube follows that of e2e.
beside=
for part; do
	if [ "$part" = e2e ] && [[ " $* " == *" kube "* ]] && [ ! -e "$logs/kube.log" ]; then
		run kube >"$logs/beside" &
		beside=kube
	fi
	printf '\n== %s\n' "$part"
	if [ "$part" = "$beside" ]; then
		wait
		cat "$logs/beside"
	else
		run "$part"
	fi
done

for part; do
	[ -e "$logs/$part.failed" ] && passes_alone "$part" || continue
	mv "$logs/$part.failed" "$logs/$part.flaky"
	sed -i "s/^\($part *\) FAILED/\1 flaky /" "$logs/summary"
done

printf '\n== summary\n'
cat "$logs/summary"
status=0
for part; do
	if [ -e "$logs/$part.flaky" ]; then
		printf '\n%s is flaky; alone, these passed:\n' "$part"
	elif [ -e "$logs/$part.failed" ]; then
		status=1
		printf '\n%s failed:\n' "$part"
	else
		continue
	fi
	# The lines with which go test and the scripts of the parts report a failure,
	# or else the last lines. The details are above.
	grep -E '^ *--- FAIL|^(FAIL|panic:|fatal error:|WARNING: DATA RACE|lint:|fuzz:|make:)' "$logs/$part.log" |
		grep -v '^fuzz: elapsed' | awk '!seen[$0]++' ||
		tail -n 5 "$logs/$part.log"
done
exit $status
