"""minke bench as a user runs it: the JSON's fields, the chart, the table, and what it refuses."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

import support

SMALL = ["-d", "0,1k", "-p", 8, "-n", 2, "-r", 2, "-t", 1, "-q"]
ROW = {"phase", "depth", "tokens", "batch", "threads", "attention", "weights", "cache", "tokens_per_s", "spread", "roofline"}


def bench(*flags, **options):
    return support.minke("bench", "nano", *flags, **options)


def fails(code, *arguments, says, **options):
    result = support.minke(*arguments, check=False, **options)
    assert result.returncode == code, (arguments, result.returncode, result.stderr)
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("minke: ") and says in lines[0], result.stderr
    assert result.stdout == ""


def test_json_has_machine_peaks_and_a_row_for_every_point():
    report = json.loads(bench(*SMALL, "--batch", "1,3", "--attention", "dsa,dense", "--json").stdout)
    assert {"machine", "peaks", "rows", "skipped"} <= set(report) and report["version"] == 1
    assert report["machine"]["kernels"] == report["peaks"]["kernels"]
    assert report["machine"]["memory"]["total_bytes"] > 0 and report["machine"]["cpu"]["name"]
    (peaks,) = report["peaks"]["by_threads"]
    assert peaks["threads"] == 1 and peaks["memory_bytes_per_s"] > 0 and peaks["f32_flop_per_s"] > 0 and peaks["i8_op_per_s"] > 0
    points = [(row["batch"], row["depth"], row["phase"], row["attention"]) for row in report["rows"]]
    assert points == [(batch, depth, phase, attention) for batch in (1, 3) for depth in (0, 1024)
                      for phase in ("prefill", "decode") for attention in ("dsa", "dense")]
    for row in report["rows"]:
        assert ROW <= set(row)
        assert row["tokens"] == {"prefill": 8, "decode": 2}[row["phase"]]
        assert (row["weights"], row["cache"], row["threads"]) == ("BF16", "F32", 1)
        assert row["tokens_per_s"] > 0 and row["spread"] >= 0
        assert row["roofline"] == pytest.approx(row["tokens_per_s"] / row["roofline_tokens_per_s"])
        least = max(sum(row["bytes_per_token"].values()) / peaks["memory_bytes_per_s"],
                    sum(row["flop_per_token"].values()) / peaks["f32_flop_per_s"])
        assert 1 / row["roofline_tokens_per_s"] >= least * (1 - 1e-9)
    assert report["skipped"] == []


def test_work_is_what_nano_has():
    rows = json.loads(bench("-d", "1k", "-p", 0, "-n", 1, "-r", 1, "-t", 1, "-q", "--batch", 1, "--attention", "dsa,dense", "--json").stdout)["rows"]
    work = {(row["depth"], row["attention"]): (row["bytes_per_token"], row["flop_per_token"]) for row in rows}
    # 4 layers; a latent of 48 + 16 and an index key of 32 numbers, 4 bytes each; 32 of 1025 positions are selected.
    assert work[1024, "dsa"][0]["latents"] == 4 * 32 * 64 * 4
    assert work[1024, "dsa"][0]["index_keys"] == 4 * 1025 * 32 * 4
    assert work[1024, "dense"][0]["latents"] == 4 * 1025 * 64 * 4
    assert work[1024, "dense"][0]["index_keys"] == 0
    assert work[1024, "dense"][1]["attention"] == 4 * 1025 * 2 * 4 * (2 * 48 + 16)
    in_8_bits = json.loads(bench("-d", "1k", "-p", 0, "-n", 1, "-r", 1, "-t", 1, "-q", "--batch", 1, "--attention", "dense",
                                 "--cache-type", "int8", "--json").stdout)["rows"][0]["flop_per_token"]
    assert in_8_bits["in_8_bits"] == work[1024, "dense"][1]["attention"] and in_8_bits["attention"] == 0
    assert work[1024, "dense"][1]["in_8_bits"] == 0


def test_the_table_and_the_cost():
    out = bench(*SMALL, "--batch", 1, "--attention", "dsa,dense", "--cost", 1.5).stdout
    table, cost = out.split("\n\n")
    lines = table.splitlines()
    assert lines[0].split() == ["phase", "depth", "tokens", "batch", "threads", "attention", "tokens/s", "spread", "roofline",
                                "bound", "by"]
    assert len(lines) == 1 + 8
    assert re.match(r"decode +1K +2 +1 +1 +dense +[\d.]+ +[\d.]+ % +[\d.]+ % +(memory|arithmetic)$", lines[-1]), lines[-1]
    title, head, *costs = cost.splitlines()
    assert title == "USD per million tokens at 1.5 USD an hour"
    assert head.split() == ["position", "batch", "threads", "prefill", "dsa", "prefill", "dense", "decode", "dsa", "decode",
                            "dense"]
    assert [line.split()[0] for line in costs] == ["0", "1K"] and all(len(line.split()) == 7 for line in costs)


def test_cost_in_json_is_arithmetic():
    report = json.loads(bench(*SMALL, "--batch", 1, "--cost", 3.6, "--json").stdout)
    for row in report["rows"]:
        assert row["usd_per_million_tokens"] == pytest.approx(1000 / row["tokens_per_s"], rel=1e-12)


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_the_chart_is_well_formed_and_stands_alone(tmp_path, suffix):
    chart = tmp_path / f"cost.{suffix}"
    bench(*SMALL, "--batch", 1, "--attention", "dsa,dense", "--cost", 1, "--chart", chart)
    text = chart.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    words = " ".join(root.itertext())
    for label in ["Prefilling", "Decoding", "dsa", "dense", "token position (K)", "USD per million tokens", "nano"]:
        assert label in words
    svg = "{http://www.w3.org/2000/svg}"
    assert len(list(root.iter(svg + "polyline"))) == 2 * 2 + 2  # two lines in two panels, two in the legend
    assert not re.search(r"href|src=|url\(|<script", text)


def test_both_fills_measure_the_same_points():
    reports = [json.loads(bench(*SMALL, "--batch", 2, "--fill", fill, "--json").stdout) for fill in ("random", "prefill")]
    assert [report["fill"] for report in reports] == ["random", "prefill"]
    points = [[(row["phase"], row["depth"], row["bytes_per_token"]["latents"]) for row in report["rows"]] for report in reports]
    assert points[0] == points[1]


def test_depths_beyond_the_model_are_skipped_with_a_note():
    result = bench("-d", "0,2000,4k,64K", "-p", 64, "-n", 2, "-r", 1, "-t", 1, "--batch", 1, "--json")
    report = json.loads(result.stdout)
    assert [(row["phase"], row["depth"]) for row in report["rows"]] == [("prefill", 0), ("decode", 0), ("decode", 2000)]
    assert [(skip["depth"], skip["phase"]) for skip in report["skipped"]] == [(2000, "prefill"), (4096, None), (65536, None)]
    assert all("2048" in skip["reason"] for skip in report["skipped"])
    assert "minke: skipped: depth 4K: 64 new tokens need 4160 positions, the model has 2048\n" in result.stderr


def test_a_cache_beyond_the_memory_is_skipped(tmp_path):
    config = json.loads((support.NANO / "config.json").read_text()) | {"max_position_embeddings": 1 << 30}
    for path in support.NANO.iterdir():
        if path.name != "config.json":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    once = ["-p", 1, "-n", 1, "-r", 1, "-t", 1, "--batch", "1", "-q"]
    fails(6, "bench", tmp_path, "-d", 1 << 29, *once, says="for the cache")  # a terabyte
    report = json.loads(support.minke("bench", tmp_path, "-d", f"0,{1 << 29}", *once, "--json").stdout)
    assert [row["depth"] for row in report["rows"]] == [0, 0]
    (skip,) = report["skipped"]
    assert (skip["depth"], skip["batch"], skip["phase"]) == (1 << 29, 1, None) and "TB for the cache" in skip["reason"]


def test_a_model_without_an_indexer_is_dense():
    report = json.loads(support.minke("bench", support.GOLDEN / "v2_lite", "-d", 0, "-p", 4, "-n", 1, "-r", 1, "-t", 1, "--batch", 1,
                                      "--attention", "dsa,dense", "--json", "-q").stdout)
    assert [row["attention"] for row in report["rows"]] == ["dense", "dense"]  # prefill and decode


def test_threads_are_a_list_and_come_from_the_settings_too():
    def threads(*flags, **env):
        report = json.loads(bench("-d", 0, "-p", 0, "-n", 1, "-r", 1, "--batch", 1, "--json", "-q", *flags, env=env).stdout)
        assert [peaks["threads"] for peaks in report["peaks"]["by_threads"]] == [row["threads"] for row in report["rows"]]
        return [row["threads"] for row in report["rows"]]

    assert threads("-t", "2,1") == [1, 2]
    assert threads("-t", 2, "-t", 1) == [1, 2]
    assert threads(MINKE_THREADS="2") == [2]


@pytest.mark.parametrize("arguments, says", [
    (["bench"], "no model"),
    (["bench", "nano", "-d", "1x"], "1x is not a whole number"),
    (["bench", "nano", "-d", "0,,1"], "nothing is not a whole number"),
    (["bench", "nano", "-d", "-1"], "-1"),
    (["bench", "nano", "--batch", "0"], "0 is not a whole number from 1"),
    (["bench", "nano", "--attention", "dsa,full"], "full is not one of dsa, dense"),
    (["bench", "nano", "--fill", "zeros"], "--fill"),
    (["bench", "nano", "-r", "0"], "-r"),
    (["bench", "nano", "-p", "0", "-n", "0"], "nothing to measure"),
    (["bench", "nano", "--cost", "-1"], "--cost"),
    (["bench", "nano", "--chart", "x.svg"], "--cost"),
    (["bench", "nano", "--cost", "1", "--chart", "x.png"], "x.png"),
    (["bench", "nano", "-d", "4k", "-q"], "depth 4K"),
])
def test_wrong_use(arguments, says):
    fails(2, *arguments, says=says)


def test_other_errors(tmp_path):
    fails(3, "bench", "no-such-model", says="no-such-model")
    fails(1, "bench", "nano", "--cost", 1, "--chart", tmp_path / "none" / "x.svg", says="none")


@pytest.mark.parametrize("script", [path for path in sorted((support.ROOT / "bench").rglob("*.py")) if "argparse" in path.read_text()],
                         ids=lambda path: path.name)
def test_the_help_of_a_script_needs_no_package(script):
    # -S: no site-packages
    result = subprocess.run([sys.executable, "-S", script, "--help"], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.startswith("usage: "), result.stderr


def test_doctor_measures_the_same_peaks():
    report = json.loads(support.minke("doctor", "--json", "-t", 1).stdout)
    assert report["peaks"]["threads"] == 1 and report["peaks"]["f32_flop_per_s"] > 0
    assert report["peaks"]["memory_bytes_per_s"] == report["memory"]["bytes_per_s"]
    text = support.minke("doctor", "-t", 1).stdout
    assert re.search(r"^peaks +memory read at .*, F32 \d+ GFLOP/s, 8-bit \d+ GOP/s \(\w+\), by 1 thread$", text, re.MULTILINE)
    assert re.search(r"^processor .* \d+ online, 1 in use$", text, re.MULTILINE)


def test_speed_is_predicted():
    cache = ["--cache-type", "int8", "--index-precision", "exact"]  # as minke bench takes them
    report = json.loads(support.minke("doctor", "nano", "-d", "0,1k,4k", "-t", 1, *cache, "--json").stdout)
    assert report["model"] == "nano" and report["speed"]["threads"] == 1
    rows = {(row["phase"], row["depth"]): row["tokens_per_s"] for row in report["speed"]["rows"]}
    assert sorted(rows) == [("decode", 0), ("decode", 1024), ("prefill", 0), ("prefill", 1024)] and min(rows.values()) > 0
    assert [skip["depth"] for skip in report["speed"]["skipped"]] == [4096]
    assert report["speed"]["cache"] == "INT8, index keys F32"
    out = support.minke("inspect", "nano", "--fit", 64, "-d", "0,1k", "-t", 1).stdout
    assert re.search(r"^speed, predicted: one sequence, 1 thread, \w+, cache F32\n  at 0 +prefill +\d+ tokens/s, decode +\d+ tokens/s\n  at 1K ",
                     out, re.MULTILINE)
    assert "speed" not in json.loads(support.minke("inspect", "nano", "--json").stdout)
    assert "speed" not in json.loads(support.minke("doctor", "--json").stdout)
    fails(3, "doctor", "no-such-model", says="no-such-model")


def test_the_fit_has_the_cache_that_was_asked_for():
    exact, rounded = (json.loads(support.minke("inspect", "nano", "--fit", 640, "-d", 0, *more, "--json").stdout)
                      for more in ([], ["--cache-type", "bf16"]))
    assert rounded["fit"]["cache_bytes"] == exact["fit"]["cache_bytes"] / 2
    assert rounded["cache"]["bytes_per_token"] == exact["cache"]["bytes_per_token"] / 2
    assert rounded["speed"]["cache"] == "BF16"

