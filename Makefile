# Everything sets itself up: Go 1.26 is all a machine needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO      ?= go
REPLAYS := internal/sim/replay
MODULES := . examples bench $(REPLAYS) $(wildcard $(REPLAYS)/standins/*)
TOOLS   := $(CURDIR)/tools/go.mod
NODE    := bin/server-side
KEEP    ?=
SEED    ?=
ONLY    ?=
SOAK    ?= 1h
SEEDS   ?= 1000
HISTORIES ?= 200
FUZZTIME  ?= 30s
FUZZ      ?= .
LABS    ?= 3
REPLAY   = $(or $(SEED),$(if $(findstring -,$(SEEDS)),$(SEEDS)))

.PHONY: help demo test lint unit sim histories replay fuzz jepsen bench-kv faults faults-long soak bench bench-quick bench-calm bench-moves bench-idle bench-failover node image compose-up compose-down clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: node ## five real nodes, real data, kill -9, the failover timed and shown (KEEP=1 leaves them running)
	@$(GO) build -o bin/demo ./internal/demo
	@bin/demo -node $(NODE) $(if $(KEEP),-keep)

node:
	@mkdir -p bin
	@CGO_ENABLED=0 $(GO) build -C examples -o $(CURDIR)/$(NODE) ./server-side

test: lint unit sim ## everything that must hold: formatting, vet, staticcheck, tests with the race detector, simulation

lint: ## gofmt, go vet and staticcheck in every module
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); if [ -n "$$out" ]; then echo "gofmt differs:"; echo "$$out"; exit 1; fi
	@for m in $(MODULES); do echo "vet and staticcheck: $$m"; (cd $$m && $(GO) vet ./... && $(GO) tool -modfile=$(TOOLS) staticcheck ./...) || exit 1; done

# It reads every module below this directory, and files instead of packages:
# without the tag purego it misses the assembly of the lease's clock.
.PHONY: gosec
gosec: ## gosec in every module, but for tests; an exception is #nosec with its rule and a reason; takes minutes to build at first
	@$(GO) run github.com/securego/gosec/v2/cmd/gosec@v2.30.0 -terse -color=false -tags purego -nosec-require-rules -nosec-require-justification ./...

unit: ## go test -race in every module
	@for m in $(filter-out $(REPLAYS),$(MODULES)); do (cd $$m && $(GO) test -race -timeout 10m ./...) || exit 1; done
	@cd $(REPLAYS) && $(GO) test -count=1 -race -timeout 10m ./... # its test builds the simulator, which the cache of results does not know of

sim: $(if $(REPLAY),replay,histories) ## 1,000 seeded histories of the whole cluster, and every order of events of leases; SEED=n or SEEDS=a-b replays exactly (ORDER=n, ORDERS=n: other orders of events)

histories:
	@$(GO) test -count=1 -timeout 15m -run 'TestSimulation|TestLossyNetworks|TestScripts' ./internal/sim -args -seeds $(SEEDS)
	@$(GO) test -count=1 -timeout 5m -run 'TestNoTwoPrimaries|TestEveryRuleIsNeeded' ./lease

replay:
	@$(GO) run -C $(REPLAYS) . -seeds $(REPLAY) $(if $(ORDER),-order $(ORDER)) $(if $(ORDERS),-orders $(ORDERS))

fuzz: ## every fuzz target for FUZZTIME (30s); what it finds goes into testdata/fuzz, which make test runs (FUZZ=regexp picks targets)
	@failed=; for m in . examples; do \
		go_list=$$(cd $$m && $(GO) test -list '^Fuzz' ./...) || { echo "$$go_list"; exit 1; }; \
		while read -r pkg name; do \
			echo "$$pkg $$name"; (cd $$m && $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$pkg </dev/null) || failed+=" $$name"; \
		done < <(echo "$$go_list" | awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, name[i]; n = 0 }' | grep -E '$(FUZZ)'); \
	done; if [ -n "$$failed" ]; then echo "these targets found something:$$failed"; exit 1; fi

jepsen: ## 200 histories of 20 s of real processes under faults, each linearizable; a client that breaks a rule is caught (HISTORIES=n, LABS=n clusters at a time)
	@cd examples && $(GO) run ./kvlab jepsen -store sync -histories $(HISTORIES) -labs $(LABS) -length 20s
	@cd examples && $(GO) run ./kvlab jepsen -store server-side -histories $$(( ($(HISTORIES) + 7) / 8 )) -labs $(LABS) -length 20s
	@cd examples && $(GO) run ./kvlab jepsen -store sync -histories 8 -length 20s -broken

faults: bin/faults ## a selection of faults on real processes on hosts of their own, in some minutes; needs root (ONLY=names, SEED=n); writes docs/faults.md
	@bin/faults -node $(NODE) -table docs/faults.md $(if $(ONLY),-only $(ONLY)) $(if $(SEED),-seed $(SEED))

faults-long: bin/faults ## the same with all faults
	@bin/faults -node $(NODE) -table docs/faults.md -long $(if $(SEED),-seed $(SEED))

soak: bin/faults ## an hour of random faults on five processes: nothing lost, all agree, nothing leaks; needs root (SOAK=10m, SEED=n); writes docs/faults.md
	@bin/faults -node $(NODE) -table docs/faults.md -soak $(SOAK) $(if $(SEED),-seed $(SEED))

bench-kv: ## operations per second and latency of the example stores against their bars; writes bench/results/kv.txt
	@set -o pipefail; cd examples && $(GO) run ./kvlab bench -store all | tee ../bench/results/kv.txt

.PHONY: loss
loss: ## 16 rounds of faults on real processes of async: what is missing afterwards, against what was reported (ROUNDS=n)
	@cd examples && $(GO) run ./kvlab loss -store async -histories $(or $(ROUNDS),16) -length 20s

COMPOSE = $(if $(shell docker compose version 2>/dev/null),docker compose,docker-compose) -p clusterkit -f examples/server-side/docker-compose.yml

image:
	@mkdir -p bin/image/data
	@CGO_ENABLED=0 $(GO) build -C examples -trimpath -ldflags='-s -w' -o $(CURDIR)/bin/image/server-side ./server-side
	@docker build -q -t clusterkit-server-side -f examples/server-side/Dockerfile bin/image

compose-up: image ## make certificates and keys, and start five server-side nodes in containers, with volumes, health checks and published ports
	@examples/server-side/secrets.sh bin/secrets
	@$(COMPOSE) up -d
	@for id in $$($(COMPOSE) ps -q); do for try in {1..120}; do \
		state=$$(docker inspect -f '{{.State.Health.Status}}' $$id); [ "$$state" = healthy ] && continue 2; sleep 0.5; \
	done; docker logs --tail 20 $$id; echo "a node is $$state after a minute; its log is above" >&2; exit 1; done
	@echo "five nodes are well: dashboards at http://localhost:8081/ui to :8085/ui, keys at http://localhost:8181 to :8185"
	@echo "  curl -X POST localhost:8181/kv/set -d '{\"key\":\"user:789\",\"value\":\"Jane Doe\"}'"
	@echo "  curl localhost:8185/kv/get?key=user:789"
	@echo "  curl -H \"Authorization: Bearer \$$(sed -n s/AUTH_TOKEN=//p bin/secrets/nodes.env)\" -X POST localhost:8081/nodes/node-3/drain"

compose-down: ## end these containers, and remove them, their volumes, their image and their keys
	@$(COMPOSE) down -v --rmi all
	@rm -rf bin/secrets

bench: bin/failover ## every bar of the README on this machine, in half an hour; writes bench/results
	@set -o pipefail; bin/failover -node $(NODE) -raw bench/results/micro.txt | tee bench/results/bars.txt

bench-quick: bin/failover ## the same with a few runs each, in three minutes; for development
	@bin/failover -node $(NODE) -kills 4 -stops 3 -joins 2 -moves 20 -idle 30s -calm 30s -rounds 10

bench-calm: bin/failover ## five minutes of two busy loops per core, during which nobody may be failed over
	@bin/failover -node $(NODE) -only calm

bench-moves: bin/failover ## how long a planned move of a primary keeps writes waiting
	@bin/failover -node $(NODE) -only moves

bench-idle: bin/failover ## what a node costs that has nothing to do
	@bin/failover -node $(NODE) -only idle

bench-failover: bin/failover ## 30 kills each, of a follower and of the leader, 30 SIGSTOPs, and the busy machine
	@bin/failover -node $(NODE) -only follower,leader,stops,calm

.PHONY: bin/failover bin/faults # go build knows what is up to date
bin/faults: node
	@$(GO) build -C examples -o $(CURDIR)/bin/faults ./faults

bin/failover: node
	@$(GO) build -C bench -o $(CURDIR)/bin/failover ./failover

clean: ## remove what was built
	@rm -rf bin
