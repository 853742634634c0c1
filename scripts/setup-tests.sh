#!/bin/sh
# Installs what the tests need: Go, gcc for the race detector, make, Node.js with
# the packages of test/e2e/node, the kits and the examples in Node, Chromium, OpenSSL, curl, ip,
# the tools of systemd, and the servers that tests start: Redis, nginx, HAProxy and
# Prometheus; builds Pebble, a NATS server and the API server of Kubernetes. No service is started. If
# everything is there, it does nothing.
set -eu
cd "$(dirname "$0")/.."

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing=
need() { # need PROGRAM PACKAGE...
	command -v "$1" >/dev/null && return
	shift
	missing="$missing $*"
}
need go golang-go # any version that can download the one in go.mod
need gcc gcc libc6-dev
need make make
need git git
need node nodejs
need npm npm
# Its headless shell has no windows and needs a fraction of the CPU time. Some systems have
# only the whole browser.
shell=chromium-headless-shell
if ! command -v $shell >/dev/null && { ! command -v chromium >/dev/null || apt-cache show $shell >/dev/null 2>&1; }; then
	missing="$missing $shell"
fi
need openssl openssl
need curl curl
need redis-server redis-server
need ip iproute2
need zsh zsh # with fish and bash, for the completion of commands
need fish fish
need groff groff-base # checks the man pages
need rpm rpm # reads the packages for other systems
need promtool prometheus
need systemd-analyze systemd # its tools, not its services
need /usr/sbin/nginx nginx # its folder isn't on the PATH of every user
need /usr/sbin/haproxy haproxy
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
if [ -n "$missing" ]; then
	if ! command -v apt-get >/dev/null; then
		echo "setup-tests: install these yourself, there is no apt-get here:$missing" >&2
		exit 1
	fi
	# Packages of servers ask this program whether they may start them. 101 is no.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap 'as_root rm -f $policy' EXIT INT TERM
		printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin $policy
	fi
	as_root apt-get update -q
	apt-cache show $shell >/dev/null 2>&1 || missing=$(echo "$missing" | sed "s/$shell/chromium/")
	# shellcheck disable=SC2086 # several words
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing
fi

# Go 1.21 and later download the version in go.mod by themselves.
if ! go list -m >/dev/null; then
	echo "setup-tests: this Go ($(go env GOVERSION)) is too old: install the version in go.mod (https://go.dev/dl), or allow Go to download it with GOTOOLCHAIN=auto" >&2
	exit 1
fi

# Tests of ACME run this certificate authority. Go keeps it in its build cache.
(cd internal/testkit/pebble/module && go tool -n pebble >/dev/null)

# Tests of frameworks run this server.
(cd test/e2e/frameworks/nats && go tool -n nats-server >/dev/null)

# Tests of the module kubernetes run on this API server.
scripts/setup-kubernetes.sh

for directory in test/e2e/node kits/client kits/socketio kits/graphql-ws examples/node-chat examples/minimal examples/socketio; do
	(
		cd "$directory"
		if ! cmp -s package-lock.json node_modules/.installed-lock.json; then
			npm ci
			cp package-lock.json node_modules/.installed-lock.json
		fi
	)
done
