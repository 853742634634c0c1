#!/bin/sh
# After an installation or an upgrade, of a .deb ("configure") or an .rpm (1 or 2).
set -e

case "$1" in
configure | 1 | 2) ;;
*) exit 0 ;;
esac

if ! getent passwd holdfast >/dev/null; then
	if command -v systemd-sysusers >/dev/null; then
		systemd-sysusers holdfast.conf
	else
		useradd --system --user-group --home-dir /var/lib/holdfast --no-create-home --shell /usr/sbin/nologin holdfast
	fi
fi

# The file may have secrets.
chgrp holdfast /etc/holdfast/holdfast.yaml
chmod 0640 /etc/holdfast/holdfast.yaml

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	# A restart closes all sessions, so when to do it is for the operator to say.
	if systemctl -q is-active holdfast.service; then
		echo "holdfast still runs as the version before. To change that: systemctl restart holdfast"
	fi
fi
