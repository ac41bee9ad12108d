"""`make run` as a new user sees it, without a terminal: a question, thinking past index_topk, an answer, a line of facts."""

import json
import re
import subprocess

import support

MAKEFILE = (support.ROOT / "Makefile").read_text(encoding="utf-8")


def question():
    return re.search(r"^QUESTION := (.*)$", MAKEFILE, re.MULTILINE)[1]


def test_make_run():
    result = subprocess.run(["make", "--no-print-directory", "run"], cwd=support.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=600, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    assert support.solves(*support.held_out_problem(question()), result.stdout.strip().splitlines()[-1].split("</think>")[-1]), result.stdout
    assert re.search(r"tok(en)?s/s", result.stderr), result.stderr


def test_the_question_of_make_run_thinks_past_index_topk():
    seed = re.search(r"--seed (\d+)", MAKEFILE)[1]
    out = support.minke("run", "nano", question(), "--think", "--temp", 0.6, "--seed", seed, "--json")
    message = json.loads(out.stdout)
    (ids,) = support.pipe_json("tokenize", "nano", objects=[{"text": message["reasoning_content"]}])
    assert len(ids["ids"]) > json.loads((support.BUILT_IN / "config.json").read_text())["index_topk"]
