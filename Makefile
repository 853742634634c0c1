# make test runs all that CI runs. What it needs beyond Go (Node, Chromium) is
# installed by scripts/setup-tests.sh.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# A number of runs, not a time: at the end of a time the fuzzer sometimes fails
# with "context deadline exceeded" and nothing else.
FUZZTIME ?= 10000x

.PHONY: build test lint race e2e fuzz clean

build:
	CGO_ENABLED=0 go build -trimpath -o bin/holdfast ./cmd/holdfast

test: lint race e2e fuzz

# The tests are vetted for the other systems too, so that they compile there.
lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	GOOS=darwin go vet ./...
	GOOS=windows go vet ./...
	for os in linux darwin windows; do GOOS=$$os CGO_ENABLED=0 go build -o /dev/null ./cmd/holdfast; done

race:
	go test -race -timeout 15m $$(go list ./... | grep -v /test/e2e)

# Not cached, since the binary is what is tested, and without -race: thousands of sessions against the clock.
e2e:
	go test -count=1 -timeout 20m ./test/e2e/...

# Each fuzz target for FUZZTIME. Minimizing is bounded: its default, a minute
# for every input found, would take longer than the fuzzing.
fuzz:
	@go test -list '^Fuzz' ./... \
	| awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, name[i]; n = 0 }' \
	| while read -r package target; do \
		echo "fuzz $$package $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "$$package"; \
	done

clean:
	rm -rf bin

# holdfast beside nginx and HAProxy, into docs/performance.md: some 15 minutes
# on a machine that does nothing else. BENCHFLAGS="-rounds 1 -out -" is quicker.
.PHONY: bench
bench: build
	bench/install.sh
	go run ./bench $(BENCHFLAGS)
