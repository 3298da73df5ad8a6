# What is measured, built and tested, and how: `make help` lists the targets.

GO          ?= go
FUZZTIME    ?= 30s
FOR         ?= 2m
SEED        ?=
VERSION     ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The packages whose tests make mutants tries.
PKG         ?= $(wildcard ./internal/gate ./internal/forward ./internal/upstream ./internal/hostname) .

# What make check builds beside the platform that it runs on: words of 32 bits, and
# another system than Linux. By a profile, all packages would be compiled twice.
CROSS       := linux/386 darwin/arm64

# What make dist builds for, and the tar for that.
PLATFORMS   := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
TAR         ?= tar

GOBUILD = CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X main.version=$(VERSION)"

# packages returns those whose tests have a line that matches.
packages = $(sort $(dir $(shell grep -rl --include='*_test.go' '$(1)' .)))

.DEFAULT_GOAL := build
.PHONY: build test check bench pgo fuzz mutants soak demo man picture dist docker clean help

build: ## Build bin/parachute (the default)
	$(GOBUILD) -o bin/parachute ./cmd/parachute

# Never with -trimpath: the tests' assertions find their messages by file name.
# The detector has each program sleep for a second at its end, lest one of its
# threads has something to report, and there are as many programs as packages.
# The second pass is over the server of the binary, the first over that of net/http.
# The race detector allocates, so claims about allocations are behind
# //go:build !race and are named ...Allocat...; the third pass is theirs. The
# fourth is for system calls that the detector does not know (call_linux.go); the
# last is of a module of its own.
test: ## Run all tests with the race detector (needs a C compiler), then the allocation claims without it, then those against a real CA
	GORACE='atexit_sleep_ms=0' $(GO) test -race ./...
	GORACE='atexit_sleep_ms=0' PROXYTEST_SERVER=http1 $(GO) test -race . ./internal/forward
	$(GO) test -run Allocat $(call packages,^//go:build !race)
	$(GO) test ./internal/socket ./internal/upstream ./internal/http1
	cd internal/e2e && $(GO) test -race ./...

check: ## Check formatting, go vet, staticcheck, the layout of the tree, and that it builds for other platforms
	@echo 'gofmt -l .'; files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not formatted:"; echo "$$files"; exit 1; }
	$(GO) vet ./...
	cd internal/e2e && $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd internal/e2e && $(GO) run $(STATICCHECK) ./...
	$(foreach platform,$(CROSS),GOOS=$(word 1,$(subst /, ,$(platform))) GOARCH=$(word 2,$(subst /, ,$(platform))) CGO_ENABLED=0 $(GO) build -pgo=off ./... && ) true
	$(GO) test ./internal/layout

bench: ## Run the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem $(call packages,^func Benchmark)

# go build finds the profile by its name and place, and compiles by it.
pgo: ## Renew the profile that the binary is compiled by, from the load of BenchmarkProxy
	$(GO) test -run '^$$' -bench Proxy -benchtime 2000000x -o bin/server.test -cpuprofile cmd/parachute/default.pgo ./cmd/parachute/internal/server

fuzz: ## Fuzz each fuzz target for FUZZTIME (30s), one after another
	@grep -rHo --include='*_test.go' '^func Fuzz[[:alnum:]_]*' . | sed 's|/[^/]*:func | |' | sort | \
	while read -r dir name; do \
		echo "$(GO) test -run '^$$' -fuzz '^$$name\$$' -fuzztime $(FUZZTIME) $$dir"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; \
	done

mutants: ## Break the code of PKG, one expression at a time, and report which breaks its tests do not notice (up to an hour a package)
	.ci/mutants $(PKG)

soak: build ## Shake the proxy FOR some time (2m), and check that nothing is lost which the documents promise; SEED repeats what was done
	cd internal/e2e && $(GO) build -o ../../bin/soak ./soak
	bin/soak --for $(FOR) $(if $(SEED),--seed $(SEED))

demo: build ## Deploy back and forth under load, then leave the proxy up to play with
	$(GOBUILD) -o bin/ ./examples/backend ./examples/demo
	@bin/demo

man: build ## Write the manual page, bin/man/parachute.1
	@mkdir -p bin/man
	bin/parachute man >bin/man/parachute.1

picture: build ## Renew the pictures in docs/, of a deploy and of the page, from real ones (needs Linux, curl and chromium)
	$(GOBUILD) -o bin/ ./examples/backend ./examples/picture
	bin/picture -columns 116 -o docs/deploy.svg -title 'A deploy in a terminal, and one that fails' sh docs/picture.sh
	bin/picture -columns 136 -o docs/takeback.svg -title 'A deploy that takes itself back' sh docs/takeback.sh
	sh docs/page.sh

# The same commit and the same Go give the same bytes, wherever and whenever they
# are built: nothing in them is of the folder, the clock, the user or the
# environment. Without a git repository there is no commit, which -buildvcs minds.
GORELEASE = GOFLAGS= GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0 CGO_ENABLED=0 \
	$(GO) build -trimpath -buildvcs=true -ldflags "-buildid= -X main.version=$(VERSION)"

dist: ## Build the archives of a release for Linux and macOS into bin/dist, each time the same (needs git and GNU tar)
	@$(TAR) --version 2>/dev/null | grep -q GNU || { echo "make dist needs GNU tar: name it as in make dist TAR=gtar" >&2; exit 1; }
	rm -rf bin/dist
	$(GORELEASE) -o bin/dist/ ./cmd/parachute
	bin/dist/parachute man >bin/dist/parachute.1
	@set -e; time=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)}; \
	for platform in $(PLATFORMS); do \
		os=$${platform%/*}; arch=$${platform#*/}; name=parachute_$(VERSION)_$${os}_$$arch; dir=bin/dist/$$name; \
		echo "bin/dist/$$name.tar.gz"; \
		mkdir -p $$dir/completion; \
		GOOS=$$os GOARCH=$$arch $(GORELEASE) -o $$dir/ ./cmd/parachute; \
		cp README.md LICENSE CHANGELOG.md bin/dist/parachute.1 $$dir; \
		cp cmd/parachute/completion/parachute.bash cmd/parachute/completion/parachute.fish $$dir/completion; \
		cp cmd/parachute/completion/parachute.zsh $$dir/completion/_parachute; \
		$(TAR) -C bin/dist --format=ustar --sort=name --mtime=@$$time --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
			-I 'gzip -9n' -cf bin/dist/$$name.tar.gz $$name; \
		rm -r $$dir; \
	done
	@rm bin/dist/parachute bin/dist/parachute.1
	@cd bin/dist && { command -v sha256sum >/dev/null && sha256sum *.tar.gz || shasum -a 256 *.tar.gz; } >SHA256SUMS
	@cat bin/dist/SHA256SUMS

docker: ## Build the image parachute, and parachute-kamal to stand in for Kamal's (needs Docker)
	docker build --build-arg VERSION=$(VERSION) --tag parachute .
	docker build --build-arg VERSION=$(VERSION) --target kamal --tag parachute-kamal .

clean: ## Remove what was built
	rm -rf bin

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1:/p' Makefile | while IFS=: read -r target text; do printf '  make %-8s %s\n' "$$target" "$$text"; done
