# `make` lists the targets. Everything that is built is cached by content under ~/.cache/xdit-operator and in Docker.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST := $(BIN)/pytest -q --durations=5
export XDIT_KUBECONFIG ?= $(HOME)/.cache/xdit-operator/kubeconfig
# kubectl and kind of the cluster's version come first; `make cluster` puts them there
export PATH := $(HOME)/.cache/xdit-operator/tools:$(PATH)
CLUSTER := KUBECONFIG=$(XDIT_KUBECONFIG)

.PHONY: help venv check unit parity kill cluster cluster-down images image-cuda deploy integration e2e test demo generate lock clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

venv: ## .venv with everything pinned (cold about 90 s)
	@tests/venv

check: venv ## the inner loop: lint, types, unit tests (under a minute)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -n 2 tests/unit

parity: venv ## real xDiT ranks on CPU: every family in every mode gives the same picture
	$(PYTEST) tests/parity

kill: venv ## real supervisors: what they make of ranks that die, and 200 prompts while a process is killed every few seconds
	$(PYTEST) -n 2 tests/kill

cluster: ## a real kind cluster and its kubeconfig
	tests/cluster/up

cluster-down: ## remove it; caches stay
	tests/cluster/down

images: ## the operator's image and the workers' CPU image
	tests/images/build operator runtime-cpu

image-cuda: ## the workers' CUDA image (5.5 GB)
	tests/images/build runtime-cuda

deploy: cluster images ## load the images into the cluster and install the operator
	tests/cluster/load xdit-operator:dev xdit-runtime:cpu-dev
	$(CLUSTER) kubectl apply --server-side -k manifests/overlays/dev
	$(CLUSTER) kubectl -n xdit-system patch deployment xdit-operator --type=merge -p \
	  '{"spec":{"template":{"metadata":{"annotations":{"xdit.dev/image-id":"'$$(docker image inspect -f '{{.Id}}' xdit-operator:dev)'"}}}}}'
	$(CLUSTER) kubectl -n xdit-system rollout status deployment/xdit-operator --timeout=120s

integration: venv deploy ## the operator against the real API server
	$(CLUSTER) $(PYTEST) -n 3 tests/cluster tests/integration --ignore tests/integration/test_operator_restarts.py
	$(CLUSTER) $(PYTEST) tests/integration/test_operator_restarts.py

e2e: venv deploy ## real workers in real pods
	$(CLUSTER) $(PYTEST) -n 2 --dist loadfile tests/e2e

test: check parity kill integration e2e image-cuda ## everything (cold about 50 minutes, warm 25)
	$(PYTEST) tests/images

demo: venv deploy ## a sample job, followed to its pictures in ./demo-output
	$(CLUSTER) $(BIN)/python tests/demo/demo.py

generate: venv ## the CRD and the reference pages from crds/xdit_api
	$(BIN)/xdit-crd crds/xdit.dev_xditinferences.yaml
	$(BIN)/python -m xdit_api.reference docs

lock: ## requirements/*.txt from pyproject.toml
	requirements/lock

clean: ## what was built in this checkout
	rm -rf .venv build dist demo-output diagnostics .mypy_cache .ruff_cache .pytest_cache *.egg-info
