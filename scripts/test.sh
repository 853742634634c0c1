#!/usr/bin/env bash
# Runs everything that CI runs, on any machine with Go or apt. It installs what is
# missing and then runs each part, even if another part has failed. All failures
# are listed at the end, and the exit status is 1.
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

printf '\n== summary\n'
cat "$logs/summary"
status=0
for part; do
	[ -e "$logs/$part.failed" ] || continue
	status=1
	printf '\n%s failed:\n' "$part"
	# The lines with which go test and the scripts of the parts report a failure,
	# or else the last lines. The details are above.
	grep -E '^ *--- FAIL|^(FAIL|panic:|fatal error:|WARNING: DATA RACE|lint:|fuzz:|make:)' "$logs/$part.log" |
		grep -v '^fuzz: elapsed' | awk '!seen[$0]++' ||
		tail -n 5 "$logs/$part.log"
done
exit $status
