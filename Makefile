# Short words for the scripts that CI runs as well. "make" alone lists them.

.DEFAULT_GOAL := help
.PHONY: help run up down web test lint docker-up k6-smoke replay chaos bench

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|'

run: ## one process, nothing kept, at http://localhost:8080
	scripts/web && go run ./app

up: ## the whole cluster on this machine, in the background
	scripts/up -d

down: ## stop it
	scripts/down

web: ## build the page, the ring and the SDK
	scripts/web

test: ## everything
	scripts/test

lint: ## golangci-lint and shellcheck
	scripts/lint

docker-up: ## the whole cluster in containers
	docker compose up --build --wait

k6-smoke: ## a little of everything, with k6 (wants a running cluster)
	k6=$$(scripts/install-k6) && "$$k6" run loadtest/smoke.js

replay: ## a recorded conversation, checked for loss and order (wants a running cluster)
	go run ./loadtest/replay

chaos: ## every fault, with a conversation under way (a quarter of an hour)
	scripts/chaos

bench: ## chatring beside a floor and beside others, in a table (twenty minutes, on a quiet machine)
	scripts/bench
