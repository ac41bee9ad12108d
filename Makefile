# minke: the commands that people type. CMake does the building (CMakePresets.json), tools/test_all.py the testing.
#   make run     installs what is missing, builds, asks the built-in model a question
#   make test    installs what the tests need, runs them all
.PHONY: run build test test-fast bench fuzz format clean

MINKE := build/release/minke
# A held-out question. Its thinking is longer than the model's index_topk of 32, so that the indexer
# has something to choose.
QUESTION := How do I make 48 from 3 5 9?

run: build
	$(MINKE) run nano "$(QUESTION)" --think --temp 0.6 --seed 1
	@if [ -t 0 ] && [ -t 1 ]; then exec $(MINKE) chat nano; fi

build:
	tools/setup.sh build
	tools/build.sh

test:
	tools/setup.sh test
	tools/test_all.py

test-fast:
	tools/setup.sh test
	tools/test_all.py --fast

bench:
	tools/setup.sh test
	tools/bench.sh

fuzz:
	tools/setup.sh test
	tools/test_all.py --only fuzz

format:
	tools/setup.sh format
	clang-format-19 -i $$(git ls-files '*.cc' '*.h')

clean:
	rm -rf build
