#!/bin/bash
# Installs, uses, upgrades and removes holdfast as its documentation says, in a copy of a
# system that is thrown away. It runs in namespaces of its own.
#
# usage: install.sh ROOT OLD.deb NEW.deb
set -euo pipefail

root=$1 old=$(realpath "$2") new=$(realpath "$3")
current=
step() {
	[ -z "$current" ] || echo "ok: $current"
	current=$1
}
trap 'status=$?; [ $status -eq 0 ] || echo "failed: $current (line $LINENO)"; exit $status' EXIT
fail() {
	echo "$1"
	exit 1
}

# A layer over the system takes all changes. It is in memory, apart from that system.
work=$(mktemp -d)
mount -t tmpfs none "$work"
mkdir "$work"/{upper,work,root}
mount -t overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" none "$work/root"
cd "$work/root"
mkdir -p proc dev run tmp
mount -t proc none proc
mount --rbind /dev dev
mount -t tmpfs none run
mount -t tmpfs none tmp
ip link set lo up
cp "$old" tmp/old.deb
cp "$new" tmp/new.deb
# No service may be started, and systemd isn't here.
printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
in_root() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot . "$@"; }

step "install"
in_root dpkg -i /tmp/old.deb
[ "$(in_root holdfast version | cut -d' ' -f1)" = holdfast ] || fail "the program doesn't run"
[ "$(in_root stat -c '%U:%G %a' /etc/holdfast/holdfast.yaml)" = "root:holdfast 640" ] || fail "the configuration: $(in_root stat -c '%U:%G %a' /etc/holdfast/holdfast.yaml)"
[ "$(in_root stat -c '%U:%G %a' /usr/bin/holdfast)" = "root:root 755" ]
in_root getent passwd holdfast | grep -q ':/var/lib/holdfast:.*nologin$' || fail "no user holdfast"
[ -s usr/share/man/man1/holdfast.1.gz ] && [ -s usr/share/bash-completion/completions/holdfast ]

step "the example as it is"
in_root holdfast check -c /etc/holdfast/holdfast.yaml

step "edit the example"
for port in 3001 3002; do
	(exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . holdfast bench-server --listen 127.0.0.1:$port) >/dev/null 2>&1 &
	server=$! # the last
done
sed -i 's/":8080"/":80"/; s/server1/chat1/; s/tcp: true/tcp: true, interval: 1s, timeout: 500ms/' etc/holdfast/holdfast.yaml
echo 'shutdown: {delay: 0}' >>etc/holdfast/holdfast.yaml
in_root holdfast check -c /etc/holdfast/holdfast.yaml

# as_service becomes a command, with the rights that holdfast.service gives it.
as_service() {
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . setpriv --reuid holdfast --regid holdfast --clear-groups --no-new-privs \
		--bounding-set -all,+net_bind_service --inh-caps -all,+net_bind_service --ambient-caps -all,+net_bind_service \
		env RUNTIME_DIRECTORY=/run/holdfast STATE_DIRECTORY=/var/lib/holdfast "$@"
}
start() {
	in_root install -d -o holdfast -g holdfast -m 755 /run/holdfast
	in_root install -d -o holdfast -g holdfast -m 750 /var/lib/holdfast
	: >tmp/log
	as_service holdfast run -c /etc/holdfast/holdfast.yaml 2>>tmp/log &
	balancer=$!
	until grep -q '"msg":"started"' tmp/log; do
		kill -0 $balancer 2>/dev/null || fail "it doesn't start: $(cat tmp/log)"
		sleep 0.05
	done
}

step "start, as the user holdfast, on port 80"
start
[ "$(in_root stat -c %U /proc/$balancer)" = holdfast ] || fail "it doesn't run as the user holdfast"

step "talk through it"
in_root holdfast bench ws://127.0.0.1:80/echo --sessions 4 --rate 50 --duration 1s >tmp/bench || fail "$(cat tmp/bench)"

step "status"
in_root holdfast status >tmp/status
grep -q chat1 tmp/status || fail "$(cat tmp/status)"

# await waits until the output of a command has a text.
await() {
	local text=$1 output
	shift
	for _ in $(seq 600); do
		output=$(in_root "$@" || true)
		! grep -q "$text" <<<"$output" || return 0
		sleep 0.1
	done
	fail "no $text in: $output"
}

step "drain a backend while 1,000 sessions talk"
in_root holdfast bench ws://127.0.0.1:80/echo --sessions 1000 --ramp 1000/s --rate 500/s --duration 5m >tmp/bench 2>&1 &
talkers=$!
await '"active": *1000' holdfast status --output json
in_root holdfast drain app/chat1 --timeout 2s --wait >/dev/null
in_root holdfast status >tmp/status
grep chat1 tmp/status | grep -q drain || fail "$(cat tmp/status)"
in_root holdfast undrain app/chat1 >/dev/null
await 'chat1 .* up ' holdfast status

step "find one session and close it"
id=$(in_root holdfast sessions --backend app/server2 --limit 1 --output json | grep -o '"id": *"[A-Z0-9]*"' | head -1 | grep -o '[A-Z0-9]\{20\}') || fail "no session on server2"
in_root holdfast close "$id" --reason "signed out" --yes >/dev/null
await . sh -c "grep 'session closed' /tmp/log | grep $id"
kill $talkers
wait $talkers || true

step "read why a backend is down"
kill $server
await 'server2 .* down.*refused' holdfast status

step "change the log level"
in_root holdfast log debug >/dev/null
await debug holdfast log

step "upgrade, with the edited configuration"
in_root dpkg -i /tmp/new.deb </dev/null
[ "$(in_root dpkg-query -W -f '${Version}' holdfast)" = 1.2.4 ]
grep -q chat1 etc/holdfast/holdfast.yaml || fail "the configuration is another one"
[ "$(in_root stat -c '%U:%G %a' /etc/holdfast/holdfast.yaml)" = "root:holdfast 640" ]
kill -0 $balancer || fail "the upgrade has stopped the balancer"

step "stop and start"
kill -TERM $balancer
wait $balancer || fail "the exit status is $?: $(tail -5 tmp/log)"
start
in_root holdfast status >/dev/null
kill -TERM $balancer
wait $balancer

step "remove"
in_root dpkg -r holdfast
[ ! -e usr/bin/holdfast ] && [ -e etc/holdfast/holdfast.yaml ] || fail "remove leaves the program, or takes the configuration"

step "purge"
in_root dpkg -P holdfast
[ ! -e etc/holdfast ] && [ ! -e var/lib/holdfast ] || fail "left: $(ls etc/holdfast var/lib/holdfast 2>&1)"
left=$(find usr/bin usr/lib usr/share -name '*holdfast*' | head)
[ -z "$left" ] || fail "left: $left"

echo "ok: $current"
