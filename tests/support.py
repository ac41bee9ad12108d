"""Runs minke as a user would: arguments, files and pipes. TEST_MINKE_COMMAND replaces the program, for an emulator."""

import functools
import json
import math
import os
import pathlib
import re
import shlex
import subprocess

import numpy as np
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "data" / "golden"
NANO = ROOT / "tests" / "data" / "nano-hf"  # its README has what other implementations say of it
BUILT_IN = ROOT / "models" / "nano"
BUILD = ROOT / "build"
COMMAND = shlex.split(os.environ.get("TEST_MINKE_COMMAND", str(BUILD / "release" / "minke")))
STEP = re.compile(r"^(\d+)([-+*/])(\d+)=(\d+)$")
CASES = ["v2_lite", "v2_group", "v3_bf16_sharded", "v32", "v32_fp8", "v32_mtp", "glm_moe_dsa"]


def minke(*arguments, stdin=None, env=None, check=True, text=True, timeout=600, cwd=None):
    """One run of the program; fails the test with the program's own words when `check` and it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MINKE_")}
    environment.update(env or {})
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, text=text, env=environment, timeout=timeout, cwd=cwd,
        encoding="utf-8" if text else None)
    if check and result.returncode != 0:
        raise AssertionError(f"minke {' '.join(map(str, arguments))}: exit {result.returncode}: {result.stderr}")
    return result


@functools.cache
def kernel_sets():
    """{name: supported} as `minke doctor` reports; TEST_MINKE_SETS (comma-separated) narrows them, for an emulator."""
    report = json.loads(minke("doctor", "--json").stdout)
    sets = {entry["name"]: entry["supported"] for entry in report["kernels"]["built"]}
    wanted = os.environ.get("TEST_MINKE_SETS")
    if wanted:
        sets = {name: sets[name] for name in wanted.split(",")}
    assert any(sets.values()), report
    return sets


def score(tmp_path, model, ids, *flags, isa=None):
    """`minke score` on one prompt (an array) or several (a list of arrays); the result tensors by name."""
    source, target = tmp_path / "ids.safetensors", tmp_path / "out.safetensors"
    if isinstance(ids, list):
        tensors = {f"input_ids.{i}": np.asarray(prompt, np.int64) for i, prompt in enumerate(ids)}
    else:
        tensors = {"input_ids": np.asarray(ids, np.int64)}
    save_file(tensors, source)
    target.unlink(missing_ok=True)
    minke("score", model, "--ids", source, "--out", target, *flags, env={"MINKE_ISA": isa} if isa else None)
    return load_file(target)


def json_lines(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]  # splitlines() would cut at U+2028 as well


def pipe_json(*arguments, objects, timeout=600):
    """Sends one JSON object a line and returns the objects that come back, one for one."""
    stdin = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in objects)
    lines = minke(*arguments, stdin=stdin, timeout=timeout).stdout.removesuffix("\n").split("\n")
    assert len(lines) == len(objects), (len(lines), len(objects))
    return [json.loads(line) for line in lines]


def solves(numbers, target, answer):
    """Whether a countdown answer is right, told without the program: each step uses two numbers still there and is right; one number is left, the target."""
    left = list(numbers)
    for step in answer.strip().split(","):
        match = STEP.match(step)
        if not match:
            return False
        a, b, result = int(match[1]), int(match[3]), int(match[4])
        for number in (a, b):
            if number not in left:
                return False
            left.remove(number)
        exact = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else math.nan}[match[2]]
        if exact != result:
            return False
        left.append(result)
    return left == [target]


@functools.cache
def held_out_problems():
    """{id: problem}: problems that no training of the built-in models has seen."""
    lines = minke("make-data", "countdown", "--only-problems", "--split", "heldout", "--count", 4000).stdout.splitlines()
    return {problem["id"]: problem for problem in map(json.loads, lines)}


def held_out_problem(question):
    """(numbers, target) of a question, which has to be a held-out one. The target is the number that follows its word."""
    target = int(re.search(r"(?:make|get|reach|target:) (\d+)|= (\d+)$", question, re.IGNORECASE)[1])
    numbers = [int(number) for number in re.findall(r"\d+", question)]
    numbers.remove(target)
    assert f"{' '.join(map(str, sorted(numbers)))}={target}" in held_out_problems(), question
    return numbers, target
