#!/bin/sh
# Before a removal, of a .deb ("remove") or an .rpm (0), and not before an upgrade.
set -e

case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl --quiet disable --now holdfast.socket holdfast.service || true
	fi
	;;
esac
