#!/bin/sh
# Installs what the tests need beside Go: Node.js with the packages of
# test/e2e/node and of the examples in Node, Chromium, and the Redis server that
# tests start for themselves. On a machine that has all of it, it does nothing
# and is quick.
set -eu
cd "$(dirname "$0")/.."

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing=
command -v node >/dev/null && command -v npm >/dev/null || missing="nodejs npm"
command -v chromium >/dev/null || missing="$missing chromium"
command -v redis-server >/dev/null || missing="$missing redis-server"
if [ -n "$missing" ]; then
	if ! command -v apt-get >/dev/null; then
		echo "setup-tests: install these yourself, there is no apt-get here: $missing" >&2
		exit 1
	fi
	as_root apt-get update
	# shellcheck disable=SC2086 # several words
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi

for directory in test/e2e/node examples/node-chat examples/minimal; do
	(
		cd "$directory"
		if ! cmp -s package-lock.json node_modules/.installed-lock.json; then
			npm ci
			cp package-lock.json node_modules/.installed-lock.json
		fi
	)
done
