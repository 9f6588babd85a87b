# Every command says what it is doing; make help lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := bin/tulifo
# The real servers that tests run on.
SERVERS := postgres redis rabbitmq mongo minio
SOURCES := $(shell find app cmd event gateway infrastructure platform services -type f -not -name '*_test.go' 2>/dev/null)

.PHONY: help up test check checks soak bench mutants generate build tour clean

help: ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

up: build ## set up and run everything on this machine (ARGS="--demo --port-base 10000")
	@./$(BIN) up $(ARGS)

build: $(BIN) ## build the one binary

$(BIN): go.mod go.sum $(SOURCES)
	@tools/need go
	@echo "Building $(BIN)."
	@go build -trimpath -o $(BIN) ./cmd/tulifo

test: ## set up and run all tests, with the race detector, on real servers
	@tools/need go cc npm $(SERVERS)
	@tools/test

check: test checks ## the only gate: all tests, and all that checks does

checks: build ## format, vet, lint, modules, scripts
	@tools/check

tour: build ## walk the main job on the platform that runs here
	@./$(BIN) tour $(ARGS)

SOAK ?= 10m

soak: ## all samples of the tests that take some, then fuzz every parser and crash everything under load (SOAK=10m for each)
	@tools/need go npm $(SERVERS)
	@go build -o .cache/testrun ./platform/servertest/testrun
	@TULIFO_SOAK=1 .cache/testrun go test -count=1 -timeout 0 -v $$(grep -rl --include='*_test.go' '"tulifo/platform/soak"' platform services | xargs -n1 dirname | sort -u | sed 's|^|./|')
	@grep -ro --include='*_test.go' '^func Fuzz[A-Za-z]*' gateway platform services | sed 's|/[^/]*:func | |' | while read -r package target; do \
		go test ./$$package -run '^$$' -fuzz "^$$target$$" -fuzztime $(SOAK) || exit 1; done
	@TULIFO_SOAK=1 .cache/testrun go test -run '^Test(Crash|OpenAPIFuzz)' -count=1 -timeout 0 -v ./app -soak=$(SOAK)

bench: build ## measure beside nginx, Caddy, RabbitMQ, pgbench and Express, and write docs/benchmarks.md (ARGS="-only read,slots": those alone, unwritten)
	@tools/need go npm pgbench nginx caddy redis rabbitmq mongo
	@go build -o .cache/bench ./bench
	@.cache/bench $(ARGS)

mutants: ## plant bugs, one at a time, and show that the tests catch each (ARGS="-only csv-formulas")
	@tools/need go npm $(SERVERS)
	@go build -o .cache/testrun ./platform/servertest/testrun
	@.cache/testrun go run ./internal/mutants $(ARGS)

generate: ## write the generated documents under docs/
	@tools/generate

clean: ## delete what was built here
	@rm -rf bin .cache
