# What is done to this source. `make test lint` must pass before a commit; `make ci` is what the server runs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
TOOLS := -modfile=internal/lint/tools.mod
# Packages with goroutines of their own: those that the race detector runs on.
RACE := ./hotlog/... ./segments/... ./manifest/... ./subscriptions/... ./engine/... ./flightsrv/... \
	./internal/blob ./internal/config ./internal/server ./internal/shell ./internal/testkit
COUNT ?= 10
BENCH ?= .
REF ?= main
N ?= 5000
SEED ?=
FUZZTIME ?= 60s

.PHONY: all build test race assert simd fmt lint vuln dist clients demo bench benchcmp golden trees differential nightly rewrite ci clean
all: build test lint

build:
	go build -o bin/kalamflight .

test:
	go test ./...

# -short: some tests do less, as everything is slower. Of internal/endtoend only what cancels no stream: the ADBC driver
# (1.12.0) races with itself when a caller does.
race:
	go test -race -short -timeout 20m $(RACE)
	go test -race -short -timeout 20m -run 'Crashes|Hostile|TPCH|UseCases' ./internal/endtoend

# arrow-go checks its own reference counts under this tag.
assert:
	go test -tags assert ./segments/... ./engine/... ./flightsrv/...

# The kernels that use AVX2 in a build with Go's experiment, beside the usual ones.
simd:
	GOEXPERIMENT=simd go test -run 'TestVectorRange|TestWide' ./engine/expr

fmt:
	go run ./internal/lint/wrap $$(git ls-files '*.go')

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted" >&2; exit 1; }
	go vet ./...
	go tool $(TOOLS) staticcheck ./...
	go test -count=1 ./internal/lint

# Known vulnerabilities in what the binary calls. The list comes from vuln.go.dev, or from a copy: GOVULNDB=file:///path make vuln
vuln:
	go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 $(if $(GOVULNDB),-db '$(GOVULNDB)') ./...

# Archives for others, in dist: make dist TARGETS="linux/amd64 linux/arm64"
dist:
	packaging/dist $(TARGETS)

# Stock clients against servers of this source: Python, Java, npm, usql, and Rust where there is cargo.
clients:
	clients/run

demo:
	go run . demo --once

bench:
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

# Both sides of a change, interleaved, as benchstat compares them: make benchcmp REF=main BENCH=Scan
benchcmp:
	bench/compare '$(REF)' '$(BENCH)' '$(COUNT)'

# Our parse trees beside PostgreSQL's, over the statements of tests and random expressions.
trees:
	cd bench/peers/trees && go run . -n '$(N)' $(if $(SEED),-seed '$(SEED)')

# The answers in engine/testdata beside those of DuckDB.
golden:
	cd bench/peers && go run ./golden

# Random queries against DuckDB over the same rows: make differential N=200000 SEED=7
differential:
	cd bench/peers && go run ./differential -n '$(N)' $(if $(SEED),-seed '$(SEED)')

# What takes longer than a push may: every fuzz target, one after the other, and the long tests.
nightly:
	bench/nightly '$(FUZZTIME)'

# Renews golden files; the diff is reviewed like code.
rewrite:
	go test $$(grep -rl 'cockroachdb/datadriven' --include='*_test.go' . | xargs -n1 dirname | sort -u) -args -rewrite

ci:
	.ci/run

clean:
	rm -rf bin dist clients/python/.venv clients/jdbc/target clients/npm/node_modules clients/.cache
