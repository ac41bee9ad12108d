"""minke lab, scaled down until it says only that the way works: keys, report, and going on after a kill."""

import json
import signal
import subprocess
import time
import xml.etree.ElementTree

import pytest

import support

pytestmark = pytest.mark.slow

SCALE = ["--scale", "0.004", "--seeds", "1", "--threads", "2"]
BUDGETS = ["48", "96", "192", "384", "640"]


def lab(out, *flags, check=True):
    return support.minke("lab", "--out", out, *flags, check=check)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run that was killed twice on its way."""
    out = tmp_path_factory.mktemp("lab") / "out"
    for seconds in (3, 6):
        run = subprocess.Popen([*support.COMMAND, "lab", "--out", str(out), *SCALE], stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        run.send_signal(signal.SIGKILL)
        run.wait()
    result = lab(out, *SCALE)
    return out, json.loads((out / "results.json").read_text()), result


def test_every_number_has_its_key(finished):
    _, results, _ = finished
    assert results["on_policy_max_abs_diff"] == 0
    for quantity in ("accuracy", "think_tokens", "output_tokens", "within_8", "correct_steps"):
        for arm in ("sft", "standard", "mild", "speciale"):
            assert set(results[quantity][arm]) == set(BUDGETS)
    for arm in ("sft", "standard", "speciale"):
        for budget in BUDGETS:
            entry = results["accuracy"][arm][budget]
            assert len(entry["seeds"]) == 1 and entry["mean"] == entry["seeds"][0]
    for key in ("dense_accuracy", "sparse_accuracy", "dense_loss", "sparse_loss"):
        assert results[key] >= 0
    assert {"dense", "indexer", "random", "window"} <= set(results["lookup"])
    recall = results["recall"]["by_layer"]
    assert len(recall) == 4 and all(0 <= layer["mass"] <= 1.001 for layer in recall)
    assert {row["attention"] for row in results["cost"]["rows"]} == {"dense", "dsa"}
    for stage in ("specialist", "distilled", "mixed"):
        assert set(results["mixed"][stage]) == {"countdown", "countdown-tool"}
    assert list(results["claims"]) == [str(i) for i in range(1, 9)]
    assert results["claims"]["7"]["verdict"] == "holds"
    assert results["targets"]["on_policy"]["holds"] is True
    assert all(isinstance(target["holds"], bool) for target in results["targets"].values())  # all were measured
    assert set(results["monotone"]) == set(results["accuracy"])
    gain = results["rl_gain_points"]["standard"]["mean"]
    assert gain == pytest.approx(100 * (results["accuracy"]["standard"]["384"]["mean"] - results["accuracy"]["sft"]["384"]["mean"]))


def test_report_stands_alone(finished):
    out, results, _ = finished
    text = (out / "report.html").read_text(encoding="utf-8")
    xml.etree.ElementTree.fromstring(text.replace("<!DOCTYPE html>", ""))
    assert text.count("<svg") >= 4
    assert "http://" not in text.replace("http://www.w3.org/", "") and "<script" not in text
    for claim in results["claims"].values():
        assert claim["verdict"] in text


def test_nothing_runs_twice(finished):
    out, results, _ = finished
    again = lab(out, *SCALE)
    assert "begins" not in again.stderr and again.stderr.count("done before") == len(results["seconds"])
    assert json.loads((out / "results.json").read_text()) | {"machine": 0} == results | {"machine": 0}


def test_interrupt_goes_on(tmp_path):
    """Unscaled the work takes minutes, so the signal, sent when the first job has begun, always finds it running."""
    command = [*support.COMMAND, "lab", "--quick", "--out", str(tmp_path / "out"), "--threads", "2"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    before = next(line for line in run.stderr if "begins" in line)
    run.send_signal(signal.SIGINT)
    stderr = before + run.communicate(timeout=60)[1]
    assert run.returncode == 130 and "goes on from there" in stderr


def test_wrong_use(tmp_path):
    assert lab(tmp_path / "out", "--parts", "rl,nothing", check=False).returncode == 2
    missing = lab(tmp_path / "out", "--quick", "--start", tmp_path / "none", check=False)
    assert missing.returncode == 3 and "none" in missing.stderr
