#!/bin/sh
# Installs the Debian packages of nginx and HAProxy if they are missing, without
# starting their system services.
set -eu

missing=
for p in nginx haproxy; do
	[ -x "/usr/sbin/$p" ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "bench: the comparison needs$missing: run apt-get install$missing as root" >&2
	exit 1
fi

# Debian packages run policy-rc.d before they start a service. Exit status 101
# forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT INT TERM
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
