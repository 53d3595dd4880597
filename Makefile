# make run      set up, then serve on http://localhost:8080 (PORT=9000 for another port)
# make test     set up, then run every test, those in the browser included
# make setup    only the set-up: a virtual environment in .venv
# make demo     set up, then render a spoken sentence to demo.mp4
# make bench    measure speed and latency
# make lint     check the style

PORT ?= 8080
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.set-up

# What tests and benchmarks use beyond Python packages: a browser, and voices to speak to the avatar with.
TEST_PACKAGES := chromium ffmpeg flite espeak-ng libespeak-ng1 festival festvox-kallpc16k libgl1 libegl1

.PHONY: run test setup demo bench lint test-packages drawing

run: setup drawing
	@exec $(PYTHON) server.py --port $(PORT)

test: setup test-packages
	$(PYTHON) -m pytest

setup: $(READY)

demo: setup
	@rm -f demo.mp4
	$(PYTHON) server.py render --audio docs/demo.opus --character ada --out demo.mp4

bench: setup test-packages
	$(PYTHON) -m ops.bench

lint: setup
	$(PYTHON) -m ruff check .

# Done once, and again when the dependencies change.
$(READY): pyproject.toml
	@./ops/setup.sh $(VENV)
	@touch $@

# What the designer draws with needs two system libraries, which a desktop has and a small server may not.
drawing: setup
	@$(PYTHON) -c "import skia" 2>/dev/null || ./ops/packages.sh libgl1 libegl1 || echo "All else works without them."

test-packages:
	@./ops/packages.sh $(TEST_PACKAGES)
