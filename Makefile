# Everything sets itself up: Go 1.26 is all a machine needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO      ?= go
MODULES := . examples bench
TOOLS   := $(CURDIR)/tools/go.mod
NODE    := bin/server-side
KEEP    ?=

.PHONY: help demo test lint unit sim bench bench-failover node clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: node ## five real nodes, real data, kill -9, the failover timed and shown (KEEP=1 leaves them running)
	@$(GO) build -o bin/demo ./internal/demo
	@bin/demo -node $(NODE) $(if $(KEEP),-keep)

node:
	@mkdir -p bin
	@$(GO) build -C examples -o $(CURDIR)/$(NODE) ./server-side

test: lint unit sim ## everything that must hold: formatting, vet, staticcheck, tests with the race detector, simulation

lint: ## gofmt, go vet and staticcheck in every module
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); if [ -n "$$out" ]; then echo "gofmt differs:"; echo "$$out"; exit 1; fi
	@for m in $(MODULES); do echo "vet and staticcheck: $$m"; (cd $$m && $(GO) vet ./... && $(GO) tool -modfile=$(TOOLS) staticcheck ./...) || exit 1; done

unit: ## go test -race in every module
	@for m in $(MODULES); do (cd $$m && $(GO) test -race -timeout 10m ./...) || exit 1; done

sim: ## 200 seeded runs of the whole cluster in virtual time (SEED=n for one of them)
	@$(GO) test -count=1 -timeout 10m -run 'TestSimulation|TestScripts' ./internal/sim $(if $(SEED),-args -seed $(SEED))

bench: node ## lookups, the planner, and the failover of real processes; writes bench/results
	@$(GO) test -run '^$$' -bench 'Lookup|Place|FailNode' -benchmem . ./ring ./rebalance/placement ./topology | tee bench/results/micro.txt
	@$(MAKE) --no-print-directory bench-failover

bench-failover: node ## 30 kills each, of a follower, of the leader, and SIGSTOP
	@$(GO) build -C bench -o $(CURDIR)/bin/failover ./failover
	@bin/failover -node $(NODE) | tee bench/results/failover.txt

clean: ## remove what was built
	@rm -rf bin
