#!/usr/bin/env python3
"""Runs every test there is and prints one table: what ran on what, at which level of proof, and what was left out.

    tools/test_all.py [--fast] [--only STAGE,...]

Needs what `tools/setup.sh test` installs, and nothing but Python's own library. Each stage writes build/test-logs/STAGE.log.
Levels: A runs natively; B is cross-built or emulated and its numbers are checked (README.md, "What is supported")."""

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "test-logs"
VENV = BUILD / "venv"
PYTHON = VENV / "bin" / "python"
QEMU_ARM = "qemu-aarch64-static"
QEMU_X86 = "qemu-x86_64-static"
FUZZ_SECONDS = 40
MOST_SECONDS = 2400  # for one command; the sanitizers' build on a slow machine is the longest


class StageFailed(Exception):
    """A build or a tool failed, so that there is nothing to count."""


@dataclasses.dataclass
class Row:
    """One line of the table. A row that ran nothing is a failure."""
    target: str
    level: str
    passed: int = 0
    failed: int = 0
    skipped: dict = dataclasses.field(default_factory=dict)  # reason -> count
    note: str = ""  # why the row has no numbers, when that is not the tests' fault

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        for reason, number in other.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + number


class Stage:
    """A log file, a clock and rows."""

    def __init__(self, name):
        self.name = name
        self.log_path = LOGS / f"{name}.log"
        self.rows = []
        self.seconds = 0.0
        self.results = BUILD / "test-results" / name
        shutil.rmtree(self.results, ignore_errors=True)
        self.results.mkdir(parents=True)

    def run(self, *command, env=None, check=True):
        environment = dict(os.environ, **(env or {}))
        with open(self.log_path, "a", encoding="utf-8") as log:
            print("$", *command, file=log, flush=True)
            try:
                code = subprocess.run([str(part) for part in command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                      stderr=subprocess.STDOUT, env=environment, timeout=MOST_SECONDS).returncode
            except subprocess.TimeoutExpired:
                print(f"stopped after {MOST_SECONDS} s", file=log, flush=True)
                code = 124
        if check and code != 0:
            raise StageFailed(f"exit {code} of: {' '.join(map(str, command))}")
        return code

    def build(self, preset, *settings, targets=()):
        # A build folder that `make build` made has no tests in it yet.
        self.run("cmake", "--preset", preset, "-DMINKE_TESTS=ON", *settings)
        self.run("cmake", "--build", BUILD / preset, *(["--target", *targets] if targets else []))

    def unit_tests(self, preset, target, level, labels, rooms=(), prefix=(), env=None):
        """GoogleTest programs of one build, of all rooms or those named, counted test by test from their XML reports. Each
        program runs as two halves and two processes run at a time, so that both cores have work to the end."""
        reports = self.results / re.sub(r"\W+", "-", target)
        reports.mkdir(exist_ok=True)
        slow = "slow" in labels
        waiting = [(program, half) for program in sorted((BUILD / preset / "rooms").glob("*/minke_*_test"))
                   if (not rooms or program.parent.name in rooms) and (slow or not program.name.endswith("_slow_test"))
                   for half in range(2)]
        waiting.sort(key=lambda job: job[0].parent.name not in LONG_ROOMS)
        row = Row(target, level)

        def work():
            while True:
                try:
                    program, half = waiting.pop(0)
                except IndexError:
                    return
                report = reports / f"{program.name}-{half}.xml"
                code = self.run(*prefix, program, check=False,
                                env={**vocabulary_environment(), **(env or {}), "GTEST_OUTPUT": f"xml:{report}",
                                     "GTEST_BRIEF": "1", "GTEST_TOTAL_SHARDS": "2", "GTEST_SHARD_INDEX": str(half)})
                half_row = Row(target, level)
                if report.exists():
                    count(cases_of(report), half_row)
                if code != 0 and half_row.failed == 0:
                    half_row.failed = 1  # the program died before it could write its report
                row.add(half_row)

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.rows.append(row)

    def pytest(self, target, level, *arguments, env=None):
        report = self.results / (re.sub(r"\W+", "-", target) + ".xml")
        code = self.run(PYTHON, "-m", "pytest", "-q", "-n", 2, "--dist", "loadgroup", f"--junitxml={report}", *arguments, check=False,
                        env={"PYTHONDONTWRITEBYTECODE": "1", **vocabulary_environment(), **(env or {})})
        row = Row(target, level)
        if report.exists():
            count(cases_of(report), row)
        if code not in (0, 5) and row.failed == 0:
            row.failed = 1
        self.rows.append(row)
        return report


def cases_of(report):
    return ElementTree.parse(report).iter("testcase")


def count(cases, row):
    for case in cases:
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            row.failed += 1
        elif skipped is not None or case.get("status") == "notrun":
            text = (skipped.get("message") if skipped is not None else None) or "disabled"
            reason = text.strip().splitlines()[-1].strip() if text.strip() else "no reason given"
            row.skipped[reason] = row.skipped.get(reason, 0) + 1
        else:
            row.passed += 1


def vocabulary_environment():
    folder = BUILD / "testdata"
    return {"TEST_MINKE_VOCAB_DIR": str(folder)} if folder.exists() else {}


class PythonPackages:
    """The tests' own virtual environment and the vocabularies, fetched while the compilers work."""

    def __init__(self, interop):
        self.stage = Stage("python")
        self.error = None
        self.interop = interop
        self.thread = threading.Thread(target=self._fetch)
        self.thread.start()

    def _fetch(self):
        begin = time.monotonic()
        try:
            # Debian's own Python: another one first in PATH may come without venv.
            python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
            if not PYTHON.exists():
                self.stage.run(python, "-m", "venv", "--clear", VENV)
            self._install("requirements.txt")
            self.stage.run(PYTHON, ROOT / "tools" / "fetch_vocabularies.py")
            if self.interop:
                self._install("requirements-interop.txt")
        except StageFailed as error:
            self.error = error
        self.stage.seconds = time.monotonic() - begin

    def _install(self, name):
        wanted = (ROOT / "tests" / name).read_text(encoding="utf-8")
        done = VENV / name  # a copy of what has been installed
        if done.exists() and done.read_text(encoding="utf-8") == wanted:
            return
        self.stage.run(PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", "-r",
                       ROOT / "tests" / name)
        done.write_text(wanted, encoding="utf-8")

    def wait(self):
        self.thread.join()
        if self.error:
            raise self.error


def release(stage, options):
    stage.build("release", "-DMINKE_BENCH=ON")
    options.packages.wait()
    stage.unit_tests("release", "unit tests, g++ 12", "A", "fast" if options.fast else "fast|slow")


# Which rooms a build tests: time is short, and each build is there for one question. The release and address+undefined
# builds compile and test all of them, with g++ and with clang.
CLANG_ROOMS = ["kernels", "model"]  # where another optimiser could change a bit
LONG_ROOMS = ["model", "engine"]  # started first
THREAD_ROOMS = ["base", "model", "engine", "train"]  # the others start no threads; kernels run in the tasks of these
ARM_ROOMS = ["base", "tensor", "kernels", "text", "model"]


# Where tests run ten times slower, equal bytes are compared on the case v32 alone; its prompt crosses a page and the top-k.
# Plain loops in double prove nothing more there.
ONE_CASE_OF_BYTES = "-*CentralDifferences/*:" + ":".join(f"*ChangeNoBit/{case}*" for case in ("v2", "v3_", "v32_", "glm"))


def programs(rooms):
    return [f"minke_{room}_test" for room in rooms]


def clang(stage, options):
    stage.build("clang", targets=programs(CLANG_ROOMS))
    stage.unit_tests("clang", "unit tests, clang 19, kernels and model", "A", "fast", CLANG_ROOMS)


def asan(stage, options):
    stage.build("asan")
    stage.unit_tests("asan", "address+undefined sanitizers, clang 19", "A", "fast",
                     env={"GTEST_FILTER": ONE_CASE_OF_BYTES + ":*ModelShapes*", "UBSAN_OPTIONS": "print_stacktrace=1",
                          "ASAN_OPTIONS": "strict_string_checks=1:detect_stack_use_after_return=1"})


def tsan(stage, options):
    stage.build("tsan", targets=programs(THREAD_ROOMS))
    # g++ 12's runtime knows only the memory layout without much randomness.
    fixed = ["setarch", "-R"]
    if subprocess.run([*fixed, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        fixed = []
    stage.unit_tests("tsan", "thread sanitizer, rooms with threads", "A", "fast", THREAD_ROOMS, prefix=fixed,
                     env={"GTEST_FILTER": ONE_CASE_OF_BYTES})


# Tests of linear time say nothing there.
ARM_FILTER = ONE_CASE_OF_BYTES + ":*OneLongPiece*:*TakesTimeInProportion*:MatMulTiles.ModelShapes:IndexKeys.KeepTheSelection"

# Emulation costs a factor of twenty, so the cases are chosen. The CPU of today's Arm servers runs both kernel sets and
# every way of the golden cases. The old one is there for an instruction that it lacks: it runs the kernels whose
# results have one digest on all machines, GGUF's blocks, and a prompt as a whole, token by token and in mixed batches.
ARM_CPUS = {  # emulated CPU -> its best kernel set, rooms with unit tests, which of them, ways of the golden cases
    "cortex-a57": ("neon", ["kernels"], "SameBits*:KernelSet*:Blocks*", "test_golden and (whole or step or mixed)"),
    "neoverse-n1": ("neon_dotprod", ARM_ROOMS, ARM_FILTER, "test_golden"),
}


def aarch64(stage, options):
    stage.build("aarch64", targets=["minke", *programs(ARM_ROOMS)])
    for cpu, (kernel_set, rooms, tests, ways) in ARM_CPUS.items():
        stage.unit_tests("aarch64", f"aarch64 unit tests, {cpu}", "B", "fast", rooms,
                         prefix=[QEMU_ARM, "-cpu", cpu], env={"GTEST_FILTER": tests})
        stage.pytest(f"aarch64 golden, {kernel_set} on {cpu}", "B", "tests/golden_test.py", "-k", ways,
                     env={"TEST_MINKE_COMMAND": f"{QEMU_ARM} -cpu {cpu} {BUILD}/aarch64/minke", "TEST_MINKE_SETS": kernel_set})


def emulated(stage, options):
    """The release program on x86 CPUs that lack the newer instructions: one that leaked would end it."""
    for cpu, kernel_set in {"Nehalem": "sse42", "max": "avx2"}.items():
        stage.pytest(f"x86-64 golden, {kernel_set} on {cpu}", "B", "tests/golden_test.py", "-k", "test_golden and whole",
                     env={"TEST_MINKE_COMMAND": f"{QEMU_X86} -cpu {cpu} {BUILD}/release/minke", "TEST_MINKE_SETS": kernel_set})


def python(stage, options):
    report = stage.pytest("golden, interop and black-box tests", "A", "tests",
                          *(["-m", "not slow"] if options.fast else []))
    whole = stage.rows.pop()
    stage.rows += split_by_target(report, whole)


def split_by_target(report, whole):
    """One row a test file, and one a kernel set for the golden cases."""
    rows = {}
    if not report.exists():
        return [whole]
    for case in cases_of(report):
        module = case.get("classname", "").split(".")[-1] or case.get("name", "").split(".")[-1]
        kernel_set = re.search(r"isa=(\w+)", case.get("name", ""))
        target = f"golden, {kernel_set[1]}" if kernel_set else module
        row = rows.setdefault(target, Row(target, "A"))
        count([case], row)
    for row in rows.values():
        if row.target.startswith("golden, ") and row.passed + row.failed == 0:
            row.level, row.note = "C", "not run: " + "; ".join(row.skipped)
    total = sum(row.failed for row in rows.values())
    if whole.failed > total:
        rows["pytest"] = Row("pytest itself", "A", failed=whole.failed - total)
    return list(rows.values())


def fuzz(stage, options):
    """Every *_fuzz program for 40 seconds, two at a time, starting from the corpus kept in tests/fuzz."""
    if not (BUILD / "asan" / "build.ninja").exists() or options.only:
        stage.build("asan")
    targets = sorted(path for path in (BUILD / "asan" / "rooms").rglob("*_fuzz") if path.is_file())
    if not targets:
        raise StageFailed("no fuzz targets were built")
    waiting, running = list(targets), {}
    while waiting or running:
        while waiting and len(running) < 2:
            target = waiting.pop(0)
            running[target] = start_fuzzer(target)
        time.sleep(0.2)
        for target, process in list(running.items()):
            if process.poll() is not None:
                del running[target]
                stage.rows.append(judge_fuzzer(target, process.returncode))


def start_fuzzer(target):
    corpus = BUILD / "fuzz" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    command = [target, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10", "-rss_limit_mb=2560", "-print_final_stats=1",
               f"-artifact_prefix={corpus}-", corpus]
    kept = ROOT / "tests" / "fuzz" / target.name
    if kept.exists():
        command.append(kept)
    with open(LOGS / f"{target.name}.log", "w", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def judge_fuzzer(target, code):
    text = (LOGS / f"{target.name}.log").read_text(encoding="utf-8", errors="replace")
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    executed = int(runs[1]) if runs else 0
    row = Row(f"{target.name}, {executed} runs", "A")
    row.passed, row.failed = (1, 0) if code == 0 and executed > 0 else (0, 1)
    return row


STAGES = {"release": release, "clang": clang, "asan": asan, "tsan": tsan, "aarch64": aarch64, "emulated": emulated,
          "python": python, "fuzz": fuzz}
FAST = ["release", "python"]


def table(stages):
    rows = [row for stage in stages for row in stage.rows]
    width = max([len(row.target) for row in rows] + [6])
    print(f"\n{'target':<{width}}  level   run  skipped")
    for row in rows:
        ran = row.passed + row.failed
        skipped = "; ".join(f"{count} ({reason})" for reason, count in row.skipped.items()) or "0"
        failed = f"  {row.failed} FAILED" if row.failed else ""
        empty = "  RAN NOTHING" if ran == 0 and not row.note else ""
        print(f"{row.target:<{width}}  {row.level:<5}  {ran:>4}  {row.note or skipped}{failed}{empty}")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="the release build and the tests not marked slow")
    parser.add_argument("--only", default="", help="these stages, comma-separated: " + ", ".join(STAGES))
    parser.add_argument("--packages", action="store_true", help="only make build/venv and fetch the vocabularies")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else FAST if options.fast else list(STAGES)
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        parser.error(f"unknown stage {unknown[0]}; there are {', '.join(STAGES)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    for log in LOGS.glob("*.log"):
        log.unlink()

    begin = time.monotonic()
    if options.packages:
        PythonPackages(interop=False).wait()
        return 0
    options.packages = PythonPackages(interop="python" in names and not options.fast)
    stages = []
    for name in names:
        stage = Stage(name)
        stages.append(stage)
        stage_begin = time.monotonic()
        print(f"{name} ...", flush=True)
        try:
            if name in ("python", "aarch64", "emulated"):
                options.packages.wait()
            STAGES[name](stage, options)
        except StageFailed as error:
            stage.rows.append(Row(f"{name}: {error}", "A", failed=1))
        stage.seconds = time.monotonic() - stage_begin
        failed = sum(row.failed for row in stage.rows)
        passed = sum(row.passed for row in stage.rows)
        print(f"{name}: {passed} passed, {failed} failed in {stage.seconds:.0f} s", flush=True)
        if failed and stage.log_path.exists():
            print(f"--- end of {stage.log_path.relative_to(ROOT)}")
            print("\n".join(stage.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-60:]))
            print("---", flush=True)
    options.packages.thread.join()

    rows = table(stages)
    passed = sum(row.passed for row in rows)
    failed = sum(row.failed for row in rows) + sum(row.passed + row.failed == 0 and not row.note for row in rows)
    skipped = sum(sum(row.skipped.values()) for row in rows)
    print(f"\nTime: {(time.monotonic() - begin) / 60:.1f} minutes ("
          + ", ".join(f"{stage.name} {stage.seconds:.0f} s" for stage in [options.packages.stage, *stages]) + ")")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
