"""`make run` as a new user sees it, without a terminal: a question, thinking past index_topk, an answer, a line of facts."""

import json
import re
import subprocess

import support
from nano_test import solves


def test_make_run():
    result = subprocess.run(["make", "--no-print-directory", "run"], cwd=support.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=600, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    assert solves([9, 8, 3], 33, result.stdout.strip().splitlines()[-1].split("</think>")[-1]), result.stdout
    assert re.search(r"tok(en)?s/s", result.stderr), result.stderr


def test_the_question_of_make_run_thinks_past_index_topk():
    makefile = (support.ROOT / "Makefile").read_text(encoding="utf-8")
    question = re.search(r"^QUESTION := (.*)$", makefile, re.MULTILINE)[1]
    assert question in [item["prompt"] for item in support.json_lines(support.NANO / "eval.jsonl")]
    seed = re.search(r"--seed (\d+)", makefile)[1]
    out = support.minke("run", "nano", question, "--think", "--temp", 0.6, "--seed", seed, "--json")
    message = json.loads(out.stdout)
    (ids,) = support.pipe_json("tokenize", "nano", objects=[{"text": message["reasoning_content"]}])
    assert len(ids["ids"]) > json.loads((support.NANO / "config.json").read_text())["index_topk"]
