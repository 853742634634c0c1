#!/bin/sh
# Builds the kube-apiserver, etcd and controllers that the tests of the module
# kubernetes run on (kubernetes/lab/server), once, into a folder of the user's cache.
# Its name comes from the sources and from the version of Go; kubernetes/lab computes
# the same. The first build downloads 564 MB and takes about nine minutes of a
# processor. If the programs are there, it does nothing.
set -eu
cd "$(dirname "$0")/../kubernetes/lab/server"

hash=$({
	cat go.mod go.sum
	export LC_ALL=C
	cat ./*.go
	go env GOVERSION
} | sha256sum | cut -d ' ' -f 1)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast-test/kube
[ ! -e "$cache/$hash/kube-apiserver" ] || exit 0

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
mkdir -p "$cache"
new=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$new"' EXIT INT TERM
chmod 755 "$new"
package=k8s.io/component-base/version
CGO_ENABLED=0 go build -trimpath -o "$new/kube-apiserver" -ldflags "-s -w \
	-X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}" .
ln -s kube-apiserver "$new/etcd"
ln -s kube-apiserver "$new/kube-controllers"
# Another build may have been faster. Its result is the same.
mv -T "$new" "$cache/$hash" 2>/dev/null || [ -e "$cache/$hash/kube-apiserver" ]
