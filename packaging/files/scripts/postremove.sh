#!/bin/sh
# After a removal. dpkg removes the configuration at "purge". The user stays, since files
# may belong to it.
set -e

if [ "$1" = purge ]; then
	rm -rf /var/lib/holdfast /var/log/holdfast
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
