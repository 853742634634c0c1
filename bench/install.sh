#!/bin/sh
# Installs nginx and HAProxy from the Debian packages where they are missing.
# Their system services are not started.
set -eu

missing=
for p in nginx haproxy; do
	[ -x "/usr/sbin/$p" ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "bench: to compare with them, install$missing (as root: apt-get install$missing)" >&2
	exit 1
fi

# policy-rc.d is what Debian's packages ask before they start a service; 101
# forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT INT TERM
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
