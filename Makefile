GO ?= go
BIN := bin

.PHONY: build demo test test-all race lint generate check-generate bench accuracy priors check-bench fuzz

build: ## the one binary, in bin/
	$(GO) build -o $(BIN)/quietile ./cmd/quietile

demo: ## the whole path on an embedded stack
	$(GO) run ./cmd/quietile demo

test:
	$(GO) test ./...

race: ## the packages with goroutines
	$(GO) test -race ./client/... ./cmd/... ./server/...
	$(GO) test -race -run 'Recorder|Snapshot' ./sketch

check-bench: ## the module of the benchmarks
	cd bench && $(GO) vet ./... && $(GO) test ./...

test-all: lint check-generate test race check-bench

$(BIN)/tools: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$(BIN)/tools/ tool
	@touch $@

lint: $(BIN)/tools ## go vet, staticcheck and gofumpt
	$(GO) vet ./...
	$(BIN)/tools/staticcheck ./...
	@unformatted=$$(git ls-files '*.go' | grep -v '\.pb\.go$$' | xargs $(BIN)/tools/gofumpt -l); \
		if [ -n "$$unformatted" ]; then echo "gofumpt would change: $$unformatted"; exit 1; fi

generate: $(BIN)/tools ## the Go of proto/
	$(BIN)/tools/buf generate

check-generate: $(BIN)/tools ## that the committed Go of proto/ is what generate makes
	$(BIN)/tools/buf lint
	@dir=$$(mktemp -d) && trap 'rm -r "$$dir"' EXIT && \
		$(BIN)/tools/buf generate --output "$$dir" && \
		diff -r --exclude='*.proto' proto "$$dir/proto" && echo "the generated Go is up to date"

bench: ## the sketches beside their peers, in one run: prints and writes a part of docs/benchmarks.md and its pictures
	cd bench && $(GO) run .

accuracy: ## private quantiles beside their peers, in one run: prints and writes the other part; half an hour
	cd bench && $(GO) run ./accuracy

priors: ## what priors are worth: prints and writes docs/priors.md; a quarter of an hour
	cd bench && $(GO) run ./priors

fuzz: ## every fuzz target for a little while
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime 20s $$package || exit 1; \
		done; \
	done
