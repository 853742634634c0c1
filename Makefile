# "make test" runs everything that CI runs, and first installs what that needs. It
# is the same as scripts/test.sh, which doesn't need make. The other targets are
# its parts. They install nothing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Number of runs of each fuzz target.
export FUZZTIME ?= 2000x

.PHONY: build test lint race e2e kube fuzz clean

build:
	CGO_ENABLED=0 go build -trimpath -o bin/holdfast ./cmd/holdfast

test:
	@scripts/test.sh

lint:
	@scripts/lint.sh

# Of race, e2e and kube, PACKAGES='...' RUN=PATTERN runs only these tests of these packages.
race:
	go test -race -timeout 60m $${PACKAGES:+-count=1 -run "$${RUN:-.}"} $${PACKAGES:-$$(go list ./... | grep -v /test/e2e)}

# Not cached, since these tests test the binary. Without -race, which would need
# several times the memory and the time. All packages test the same binary. They
# mostly wait, so two run in parallel even on two processors. At last the nested modules:
# packaging/, which installs packages and runs the image, and bench/hub with small sizes.
e2e:
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	go build $${HOLDFAST_E2E_RACE:+-race} -o "$$dir/holdfast" ./cmd/holdfast; \
	status=0; export HOLDFAST_E2E_BINARY=$$dir/holdfast; \
	go test -count=1 -p 2 -parallel 3 -timeout 60m $${PACKAGES:+-run "$${RUN:-.}"} $${PACKAGES:-./test/e2e/...} || status=$$?; \
	[ -z "$${PACKAGES:-}" ] || exit $$status; \
	(cd packaging; go vet ./... && go test -count=1 ./...) || status=$$?; \
	(cd bench/hub; go test -count=1 .) || status=$$?; \
	exit $$status

# The nested module. Its tests start an API server for each package that needs one, and
# share the program that they test. go test would check a part of what go vet has checked.
# All is compiled without cgo, as that program is, so that nothing is compiled twice.
# Nobody debugs the test binaries, and without debug information they are linked faster.
# Two run in parallel: make test runs those of e2e at the same time, and starved API servers
# give up.
kube:
	@cd kubernetes; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; status=0; export CGO_ENABLED=0; \
	go vet ./... || status=$$?; \
	go build -ldflags='-s -w' -o "$$dir/holdfast-kubernetes" ./cmd/holdfast-kubernetes; \
	HOLDFAST_LAB_BUILT=$$dir go test -vet=off -ldflags='-s -w' -p 2 -timeout 60m $${PACKAGES:+-count=1 -run "$${RUN:-.}"} $${PACKAGES:-./...} || status=$$?; \
	exit $$status

# Runs the conformance suite of the Gateway API, and writes its report.
.PHONY: conformance
conformance:
	cd kubernetes && go test -count=1 -timeout 30m ./test/conformance -update

fuzz:
	@scripts/fuzz.sh

clean:
	rm -rf bin

# Makes the container image of holdfast for Kubernetes, for two architectures:
# bin/holdfast-kubernetes.tar. It needs no Docker.
.PHONY: image
image:
	for arch in amd64 arm64; do \
		(cd kubernetes && CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags "-s -w" -o ../bin/$$arch/holdfast-kubernetes ./cmd/holdfast-kubernetes) || exit 1; \
	done
	go run ./scripts/image -o bin/holdfast-kubernetes.tar $(if $(VERSION),-version $(VERSION)) amd64=bin/amd64/holdfast-kubernetes arm64=bin/arm64/holdfast-kubernetes

# Makes the website of docs/: bin/site. The pages need no server.
.PHONY: site
site:
	go run ./scripts/site -o bin/site $(if $(VERSION),-version $(VERSION))

# Makes the files of a release in dist/: archives, packages, an image, lists of what is in
# them, and checksums; see docs/install.md. The same source gives the same bytes, which
# release-twice checks. Each takes some minutes.
.PHONY: release release-twice
release:
	go run -C packaging ./release -source .. -o ../dist $(if $(VERSION),-version $(VERSION))

release-twice: release
	@dir=$$(mktemp -d); trap 'git worktree remove --force "$$dir/source"; rm -rf "$$dir"' EXIT; \
	git worktree add --quiet --detach "$$dir/source" HEAD; \
	cd packaging; GOCACHE=$$dir/cache go run ./release -source "$$dir/source" -o "$$dir/dist" $(if $(VERSION),-version $(VERSION)); \
	diff -r ../dist "$$dir/dist"; echo "release-twice: the same bytes"

# Installs the .deb in a new Debian, the smallest one, and uses, upgrades and removes it. make
# e2e does the same in a copy of this machine. It needs root, a network and mmdebstrap.
.PHONY: install-test
install-test:
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	mmdebstrap --variant=minbase stable "$$dir/root"; \
	cd packaging; HOLDFAST_ROOT=$$dir/root go test -count=1 -v -run TestInstall ./release

# Measures holdfast, nginx and HAProxy, and writes docs/performance.md. It takes
# about 15 minutes on an idle machine. BENCHFLAGS="-rounds 1 -out -" is quicker.
.PHONY: bench
bench: build
	bench/install.sh
	go run ./bench $(BENCHFLAGS)

# Measures the package hub beside centrifuge, with a Redis server of its own, and writes the
# table into docs/hub.md. It takes about ten minutes on an idle machine.
# BENCHFLAGS="-rounds 1 -out -" is quicker.
.PHONY: bench-hub
bench-hub:
	go build -C bench/hub -trimpath -o ../../bin/bench-hub .
	bin/bench-hub $(BENCHFLAGS)

# Measures what 500 good sessions notice of attacks, such as 5,000 slow clients, and
# prints the figures beside their targets. It takes about two minutes on an idle
# machine. Figures that miss their targets don't fail a test.
.PHONY: bench-attack
bench-attack:
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; figures=$$dir/figures; touch "$$figures"; status=0; \
	go build -o "$$dir/holdfast" ./cmd/holdfast; \
	HOLDFAST_E2E_BINARY=$$dir/holdfast HOLDFAST_E2E_FIGURES=$$figures go test -count=1 -parallel 1 -timeout 20m ./test/e2e/attack || status=$$?; \
	cat "$$figures"; \
	exit $$status

# Measures what happens to sessions when servers are drained, killed and flooded
# with handshakes, and prints the figures beside their targets. It takes about ten
# minutes on an idle machine. Figures that miss their targets don't fail a test.
# CONTINUITY=TestHelloStorm measures what that test does alone: a storm of TLS
# handshakes.
CONTINUITY ?= $(shell paste -sd'|' test/e2e/continuity.txt)
.PHONY: bench-continuity
bench-continuity:
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; figures=$$dir/figures; touch "$$figures"; status=0; \
	go build -o "$$dir/holdfast" ./cmd/holdfast; \
	HOLDFAST_E2E_BINARY=$$dir/holdfast HOLDFAST_E2E_FIGURES=$$figures go test -count=1 -p 1 -parallel 1 -timeout 60m \
		-run "^($(CONTINUITY))\$$" ./test/e2e/... || status=$$?; \
	cat "$$figures"; \
	go test -count=1 -v -run '^(TestCollectorIsNotKeptWaiting|TestIdleLoopsUseNoCPU)$$' ./internal/sock/eventloop \
		| grep -E 'target|FAIL' || status=$$?; \
	exit $$status
