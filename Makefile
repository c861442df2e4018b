# Keyfleet's commands. `make` alone lists them; what they do is in crates/dev-stack and scripts/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# Queries are checked against .sqlx, so that no build needs a database.
export SQLX_OFFLINE := true
export STACK_DIR ?= .dev

target := $(or $(CARGO_TARGET_DIR),target)
# A stack of its own, whatever real estate the caller's shell points at.
alone := env -u AWS_ENDPOINT_URL_KMS -u AWS_ENDPOINT_URL_STS -u DATABASE_URL -u AMQP_URL
# Always the whole workspace: features unify per selection, and another selection builds much anew.
build := cargo build --workspace --bins

.PHONY: help demo test fuzz chaos sabotage upgrade bench lint up down restart clean
help:
	@echo 'make demo               see a bulk job run and one stopped midway; nothing stays'
	@echo 'make test               run every test'
	@echo 'make fuzz CASES=10000   try the API by its OpenAPI document, with so many requests at least'
	@echo 'make chaos RUNS=20 SEED=1   break whole stacks by chance, and count broken promises'
	@echo '                        (PAUSES=1 instead: how long work pauses when one thing breaks)'
	@echo 'make sabotage           break one promise after the other on purpose, and see that chaos notices (RUNS=10 SEED=1)'
	@echo 'make upgrade FROM=HEAD~1   a rolling restart from an older version to this one, while clients use it'
	@echo 'make bench NAME=...     measure: engine cancel latency idle scale pace fair api soak; without NAME all, in brief'
	@echo '                        (FULL=1 the whole matrix; CONTENDERS=1 engine against the queue apalis-postgres too)'
	@echo 'make lint               check format and lints'
	@echo 'make up                 start a stack that stays; its settings are in $(STACK_DIR)/stack.env'
	@echo '                        (WORKERS=2 SCHEDULERS=2 GATEWAYS=1 KEYFLEET_QUOTA=aws STACK_DIR=.dev)'
	@echo 'make restart NAME=...   start one part anew, dead or alive: kms-worker-1, postgres, ...'
	@echo 'make down               stop the stack, keep its data'
	@echo 'make clean              stop the stack, remove its data'

demo:
	@$(alone) scripts/install-servers compiler servers
	@$(alone) $(build)
	@$(alone) $(target)/debug/dev-stack demo

test:
	@$(alone) scripts/install-servers compiler servers python client
	@deploy/check
	@$(alone) $(build) --tests
	@moto=$$(scripts/install-moto) && schemathesis=$$(scripts/install-schemathesis) && \
	  $(alone) MOTO_SERVER="$$moto" SCHEMATHESIS="$$schemathesis" $(target)/debug/dev-stack with-servers -- cargo test --workspace

# The document has more than thirty calls, and each gets a little more than its share of the cases.
fuzz:
	@$(alone) scripts/install-servers compiler servers python
	@$(alone) $(build) --tests
	@schemathesis=$$(scripts/install-schemathesis) && \
	  $(alone) SCHEMATHESIS="$$schemathesis" FUZZ_SEED="$${FUZZ_SEED:-$$RANDOM}" FUZZ_CASES_PER_CALL=$$(($(or $(CASES),10000) / 25)) \
	  $(target)/debug/dev-stack with-servers -- cargo test --workspace --test fuzz -- --nocapture

# One seed more for each run; a seed that broke something is run again with RUNS=1 SEED=...
chaos:
	@$(alone) scripts/install-servers compiler servers clocks
	@$(alone) $(build)
	@$(alone) $(target)/debug/dev-stack sweep-after -- \
	  $(target)/debug/chaos --runs $(or $(RUNS),1) --seed $(or $(SEED),1) $(if $(PAUSES),--pauses)

sabotage:
	@$(alone) scripts/install-servers compiler servers
	@$(alone) RUNS=$(RUNS) SEED=$(SEED) scripts/sabotage $(NAME)

upgrade:
	@$(alone) scripts/install-servers compiler servers
	@$(alone) $(build)
	@$(alone) RUNS=$(RUNS) SEED=$(SEED) scripts/upgrade $(or $(FROM),$(error From which version? For example: make upgrade FROM=HEAD~1))

# Whatever it starts ends with it, also when it fails or is interrupted.
bench:
	@$(alone) scripts/install-servers compiler servers
	@$(alone) $(build) --release $(if $(CONTENDERS),--features load-tests/apalis)
	@$(alone) $(target)/release/dev-stack sweep-after -- \
	  $(target)/release/load-tests $(or $(NAME),all) $(if $(FULL),--extent full)

lint:
	@scripts/install-servers compiler
	cargo fmt --all --check
	@for patch in end-to-end/sabotage/*.patch; do git apply --check $$patch; done
	cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; \
	  else echo 'cargo-deny is not installed: licences and advisories are not checked.'; fi

up:
	@scripts/install-servers compiler servers
	@$(build) --release
	@$(target)/release/dev-stack up

# These must work while the sources do not compile: they build only what is not there at all.
down restart clean: | $(target)/release/dev-stack
	@$(target)/release/dev-stack $@ $(if $(filter restart,$@),$(or $(NAME),$(error Which part? For example: make restart NAME=kms-worker-1)))

$(target)/release/dev-stack:
	@scripts/install-servers compiler
	@$(build) --release
