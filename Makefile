# The commands of the project; `make` alone prints them.
#
# Everything is built in the release configuration only: what the tests run is what ships, and a
# machine compiles the dependencies once. `swift test` asks for @testable imports unless told
# not to, which would give every module other flags, hence a second compile of them all.

SWIFT ?= swift
PEER_LAB ?= ../shared/lab
FORMATTED := Package.swift Sources Tests Fuzz
# Read by pytest: more of its options, such as `make interop PYTEST="-k ranges -x"`.
PYTEST ?=
# Read by bench-peers.py: its options, such as BENCH="--rounds 3 --peers nginx".
BENCH ?=

.DEFAULT_GOAL := help
.PHONY: help run build clients test interop interop-keystone test-barbican tempest tempest-keys tempest-keys-rbac torture fuzz measure bench-peers \
	format lint clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, then serve an empty cloud in the foreground and say what to try
	@scripts/run.sh

build: ## the release binary: .build/release/ambrotype
	@scripts/install-debian.sh $(shell cat scripts/packages-build.txt)
	@scripts/require-swift.sh $(SWIFT)
	$(SWIFT) build -c release --product ambrotype

clients: ## the OpenStack clients, in .venv/interop/bin
	@scripts/venv.sh interop Tests/Interop/requirements.txt

test: ## everything CI runs: the Swift tests, then the interop tests
	@SWIFT="$(SWIFT)" scripts/test.sh

interop: build clients ## the interop tests alone, with an upload of 8 GiB
	@scripts/install-debian.sh $(shell cat scripts/packages-test.txt)
	INTEROP_LARGE_GIB=8 .venv/interop/bin/python -m pytest Tests/Interop $(PYTEST)

interop-keystone: build clients ## the client tests with a real Keystone (PEER_LAB=directory of its scripts)
	@scripts/install-debian.sh $(shell cat scripts/packages-test.txt)
	@PEER_LAB="$(PEER_LAB)" scripts/interop-keystone.sh $(PYTEST)

test-barbican: build clients ## keys with a real Barbican and Keystone (PEER_LAB=directory of its scripts)
	@scripts/install-debian.sh $(shell cat scripts/packages-test.txt)
	@PEER_LAB="$(PEER_LAB)" SWIFT="$(SWIFT)" scripts/contract-barbican.sh
	@PEER_LAB="$(PEER_LAB)" scripts/test-barbican.sh $(PYTEST)

torture: build clients ## hours of crashes, faults and races: the figures of docs/measurements.md
	@scripts/install-debian.sh $(shell cat scripts/packages-test.txt)
	@SWIFT="$(SWIFT)" scripts/torture.sh

tempest: build ## tempest's image suite; fails when a test of docs/tempest-passing.txt does
	@scripts/venv.sh tempest Tests/Interop/requirements-tempest.txt
	@.venv/tempest/bin/python scripts/tempest.py

tempest-keys tempest-keys-rbac: build ## the key manager's suites of tempest: its API, and who may do what
	@scripts/venv.sh tempest Tests/Interop/requirements-tempest.txt
	@.venv/tempest/bin/python scripts/tempest.py --suite $(@:tempest-%=%)

fuzz: ## an hour of libFuzzer on the parsers of disk image formats (FUZZ_SECONDS for another time)
	@scripts/install-debian.sh $(shell cat scripts/packages-test.txt)
	@scripts/fuzz.sh

measure: build clients ## the numbers of docs/measurements.md
	@scripts/install-debian.sh curl wrk
	@.venv/interop/bin/python scripts/measure.py

bench-peers: build clients ## this server, a real Glance and nginx, in turns (PEER_LAB=directory of its scripts, lab up)
	@scripts/install-debian.sh nginx-light
	@PEER_LAB="$(PEER_LAB)" .venv/interop/bin/python scripts/bench-peers.py $(BENCH)
	@.venv/interop/bin/python scripts/plot-lists.py .run/peers/peers.json .run/peers/lists.svg

format: ## format the Swift sources in place
	$(SWIFT) format format --in-place --parallel --recursive $(FORMATTED)

lint: ## check the format of the Swift sources
	$(SWIFT) format lint --strict --parallel --recursive $(FORMATTED)

clean: ## remove what was built, and the data of make run
	rm -rf .build .venv .run
