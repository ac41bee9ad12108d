"""The verbs tasks, make-data and eval: problems, demonstrations and nano's measured accuracy."""

import json

import pytest

import support

NAMES = ["countdown", "countdown4", "countdown-tool", "countdown-call", "lookup", "sort"]


def evaluate(*arguments, model=support.NANO):
    return json.loads(support.minke("eval", model, *arguments, "--json").stdout)


def data(*arguments):
    return [json.loads(line) for line in support.minke("make-data", *arguments).stdout.split("\n") if line]


def test_tasks_lists_all():
    assert [json.loads(line)["name"] for line in support.minke("tasks", "--json").stdout.splitlines()] == NAMES
    assert all(name in support.minke("tasks").stdout for name in NAMES)


def test_the_built_in_models_solve_as_many_as_their_readme_says():
    """At temperature 0.6 over 400 held-out problems; their standard errors are 1.1, 1.7 and 2.0 points."""
    nano, standard, sft = (evaluate("countdown", model=name) for name in ("nano", "nano-standard", "nano-sft"))
    assert nano["problems"] == 400 and nano["split"] == "heldout" and nano["temperature"] == pytest.approx(0.6)
    assert nano["accuracy"] >= 0.92
    assert standard["accuracy"] == pytest.approx(0.89, abs=0.045)
    assert sft["accuracy"] == pytest.approx(0.80, abs=0.06)
    assert standard["think_tokens"] < sft["think_tokens"]


def test_nano_hf_solves_as_many_as_its_readme_says(tmp_path):
    """84.8 % at temperature 0.6 over the 400 prompts; the standard error of such a count is 1.8 points."""
    out = tmp_path / "answers.jsonl"
    report = evaluate("countdown", "--problems", support.NANO / "eval.jsonl", "--temp", 0.6, "--out", out)
    assert report["problems"] == 400 and report["temperature"] == 0.6  # as it was given, not the nearest float
    assert abs(report["accuracy"] - 0.848) <= 3 * 0.018, report
    assert report["standard_error"] == pytest.approx(0.018, abs=0.002)
    assert report["distinct_attempts"] == pytest.approx(0.80, abs=0.05)
    assert report["correct_steps"] > 0.98 and report["formatted"] > 0.98
    assert report["within"]["2"] < report["within"]["4"] < report["within"]["8"] < report["accuracy"]
    answers = support.json_lines(out)
    assert sum(line["right"] for line in answers) == round(400 * report["accuracy"])
    assert sum(line["think_tokens"] for line in answers) / 400 == pytest.approx(report["think_tokens"])


def test_greedy_is_the_readmes_to_a_prompt():
    report = evaluate("countdown", "--problems", support.NANO / "eval.jsonl", "--temp", 0)
    assert report["accuracy"] == 0.7375 and report["gave_up"] == 0.105
    assert report["distinct_attempts"] == pytest.approx(0.29, abs=0.005)
    assert report["output_tokens"] == pytest.approx(129, abs=0.5)


def test_an_answer_depends_on_seed_and_index_alone():
    keys = ["accuracy", "think_tokens", "distinct_attempts"]
    one, other = (evaluate("countdown-tool", "--limit", 12, "--parallel", parallel, "-t", 1, "--budget", 60) for parallel in (1, 12))
    assert [one[key] for key in keys] == [other[key] for key in keys]
    assert one["forced"] > 0


def test_a_budget_limits_the_thinking():
    reports = [evaluate("countdown", "--limit", 100, "--budget", budget) for budget in (24, 96)]
    assert reports[0]["think_tokens"] <= 24 < reports[1]["think_tokens"] <= 96
    assert reports[0]["accuracy"] < reports[1]["accuracy"]


def test_make_data_writes_the_same_bytes_and_eval_reads_its_problems(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path in (first, second):
        support.minke("make-data", "countdown", "--count", 50, "--seed", 3, "--searcher", "guided", "--out", path)
    assert first.read_bytes() == second.read_bytes()
    for line in support.json_lines(first):
        user, assistant = line["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert assistant["content"] == "?" or assistant["reasoning_content"].endswith(assistant["content"] + "!")
    problems = tmp_path / "problems.jsonl"
    support.minke("make-data", "lookup:128:2", "--count", 3, "--split", "heldout", "--only-problems", "--out", problems)
    assert evaluate("lookup:128:2", "--problems", problems, "--think", "off")["problems"] == 3
    parts = data("countdown-tool", "--count", 1)[0]["parts"]
    assert parts[0]["text"].endswith("=") and [part["loss"] for part in parts[:3]] == [True, False, True]


@pytest.mark.parametrize("arguments, says", [
    (["eval", "nano", "cuntdown"], "did you mean countdown"),
    (["eval", "nano"], "TASK"),
    (["eval", "nano", "lookup:8192", "--limit", 1], "context of 2048"),
    (["eval", "nano", "countdown", "--think", "off", "--budget", 9], "--think is off"),
    (["make-data", "sort:1"], "sort[:COUNT]"),
    (["make-data", "countdown", "--searcher", "clever"], "searcher"),
])
def test_wrong_use_is_one_line(arguments, says):
    result = support.minke(*arguments, check=False)
    assert result.returncode == 2 and says in result.stderr and result.stdout == "", result.stderr


def test_a_bad_line_of_problems_is_named(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"prompt": "Make 6 from 1 2 3.", "numbers": [1, 2, 3], "target": 6}\n{"prompt": 1}\n')
    result = support.minke("eval", "nano", "countdown", "--problems", path, check=False)
    assert result.returncode == 4 and "problems.jsonl:2" in result.stderr
