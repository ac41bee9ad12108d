"""`minke rl` with a judge behind HTTP, and `--dashboard`: replays, failures, the live page."""

import http.server
import json
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request

import pytest

import support

CONFIG = """
out = "{out}"
model = "nano"
steps = {steps}
questions = 2
answers = 3
checkpoint_every = 1
max_tokens = 40
lr = 1e-3
[[task]]
name = "countdown"
think_budget = 24
length_penalty = 0.1
[task.judge]
url = "{url}"
model = "grader"
rubric = "Say little."
weight = 0.5
parallel = 2
{more}
"""


class Judge(http.server.ThreadingHTTPServer):
    """Scores by the answer's length; the very first request gets 503. `gate` closed: requests after `free` ones wait."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.gate, self.lock = threading.Event(), threading.Lock()
        self.gate.set()
        self.asked, self.status, self.shift, self.free = [], 200, 0, 0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        judge = self.server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with judge.lock:
            judge.asked.append(request)
            status = 503 if len(judge.asked) == 1 else judge.status
            waits = len(judge.asked) > judge.free
        if waits:
            judge.gate.wait(60)
        score = (len(request["messages"][1]["content"]) + judge.shift) % 11
        body = json.dumps({"choices": [{"message": {"content": f"Short enough.\nscore: {score}"}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def judge():
    server = Judge()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


def write_config(tmp_path, url, steps=2, more=""):
    path = tmp_path / "rl.toml"
    path.write_text(CONFIG.format(out=tmp_path / "out", url=url, steps=steps, more=more), encoding="utf-8")
    return path


class Run:
    """`minke rl --dashboard` in the background, with its page's address and a client of its events."""

    def __init__(self, config):
        self.process = subprocess.Popen([*support.COMMAND, "rl", str(config), "--dashboard", "-t", "1"], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.url = re.fullmatch(r"minke: dashboard: (http://127\.0\.0\.1:\d+/)\n", self.process.stderr.readline())[1]
        self.events = urllib.request.urlopen(self.url + "events", timeout=60)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return reply.read().decode()

    def next_event(self, wanted, holds=lambda _: True):
        kind = None
        for raw in self.events:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: ") and kind == wanted and holds(data := json.loads(line[6:])):
                return data
        raise AssertionError(f"the events ended without {wanted}")

    def finish(self):
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        return out


def weights(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_a_resumed_run_replays_its_scores_and_the_page_shows_it_live(tmp_path, judge):
    out = tmp_path / "out"
    judge.gate.clear()
    run = Run(write_config(tmp_path, judge.url))
    page = run.get("")
    assert "EventSource" in page and "default-src 'none'" in page
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert run.get("metrics.jsonl") == ""
    judge.gate.set()
    line = run.next_event("line")
    assert line["step"] == 1 and line["judge_failed"] == 0
    done = run.next_event("status", lambda status: status["done"])
    assert (done["verb"], done["step"], done["steps"]) == ("rl", 2, 2) and done["tokens_per_s"] > 0
    run.finish()

    scores, metrics = support.json_lines(out / "judge.jsonl"), support.json_lines(out / "metrics.jsonl")
    assert [(line["step"], line["rollout"]) for line in scores] == [(step, i) for step in (1, 2) for i in range(6)]
    assert len(judge.asked) == 13  # one was tried again
    assert judge.asked[0]["model"] == "grader" and judge.asked[0]["temperature"] == 0
    assert "Say little." in judge.asked[0]["messages"][0]["content"] and "score: N" in judge.asked[0]["messages"][0]["content"]
    for line in metrics:
        mean = sum(score["score"] for score in scores if score["step"] == line["step"]) / 6
        assert line["judge"] == pytest.approx(mean)
        assert line["reward"] == pytest.approx(line["accuracy"] - 0.1 * line["think_tokens"] / 100 + 0.5 * mean / 10)

    # Back to step 1, with a judge that has changed its mind: step 2 comes from the book, step 3 asks.
    before, book = weights(out / "step-00000002"), (out / "judge.jsonl").read_bytes()
    assert before
    shutil.rmtree(out / "step-00000002")
    shutil.rmtree(out / "model")
    judge.shift = 5
    judge.gate.clear()
    run = Run(write_config(tmp_path, judge.url, steps=3))
    assert run.next_event("status", lambda status: status["step"] == 2)["steps"] == 3
    assert [json.loads(line)["step"] for line in run.get("metrics.jsonl").splitlines()] == [1, 2]
    judge.gate.set()
    run.finish()
    assert weights(out / "step-00000002") == before
    assert len(judge.asked) == 19
    assert (out / "judge.jsonl").read_bytes().startswith(book)
    assert [line["step"] for line in support.json_lines(out / "metrics.jsonl")] == [1, 2, 3]


def test_an_interrupt_does_not_wait_for_the_judge_and_keeps_its_scores(tmp_path, judge):
    (tmp_path / "whole").mkdir()
    support.minke("rl", write_config(tmp_path / "whole", judge.url), "-q")
    judge.free = len(judge.asked) + 6 + 3  # step 1, and half of step 2
    judge.gate.clear()
    config = write_config(tmp_path, judge.url)
    process = subprocess.Popen([*support.COMMAND, "rl", str(config), "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(judge.asked) < judge.free + 2:  # two wait
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < 3 and process.returncode == 130 and output == "", errors
    assert "3 of its 6 scores of step 2 have come and are kept" in errors.splitlines()[0]
    assert "stopped after 1 of 2 steps; the same command goes on" in errors.splitlines()[-1]
    kept = (tmp_path / "out" / "judge.jsonl").read_bytes()
    assert kept.count(b"\n") == 6 + 3
    asked = len(judge.asked)
    judge.gate.set()
    support.minke("rl", config, "-q")
    assert len(judge.asked) == asked + 3
    assert (tmp_path / "out" / "judge.jsonl").read_bytes().startswith(kept)
    assert weights(tmp_path / "out" / "model") == weights(tmp_path / "whole" / "out" / "model") != {}


def test_a_judge_that_refuses_ends_the_run_with_one_line(tmp_path, judge):
    judge.status = 401
    judge.asked.append(None)
    result = support.minke("rl", write_config(tmp_path, judge.url), "--quiet", check=False)
    assert result.returncode == 8 and result.stderr.count("\n") == 1
    assert f"task countdown: judge {judge.url}/chat/completions: status 401" in result.stderr


@pytest.mark.parametrize("more, url, says", [
    ('api_key_env = "MINKE_NO_SUCH_KEY"', "http://127.0.0.1:1/v1", "MINKE_NO_SUCH_KEY"),
    ('on_failure = "ignore"', "http://127.0.0.1:1/v1", "stop"),
    ("", "127.0.0.1:1/v1", "expected http://"),
    ("paralel = 3", "http://127.0.0.1:1/v1", "did you mean parallel"),
])
def test_a_wrong_section_is_refused(tmp_path, more, url, says):
    result = support.minke("rl", write_config(tmp_path, url, more=more), check=False)
    assert result.returncode == 2 and says in result.stderr, result.stderr


def test_a_port_in_use_is_an_error_of_its_own(tmp_path, judge):
    result = support.minke("rl", write_config(tmp_path, judge.url), "--dashboard", judge.server_port, check=False)
    assert result.returncode == 7 and "choose another port" in result.stderr


def test_train_has_a_dashboard_too(tmp_path):
    data, config = tmp_path / "data.jsonl", tmp_path / "train.toml"
    support.minke("make-data", "countdown", "--count", 20, "--searcher", "guided", "--out", data)
    config.write_text(f'out = "{tmp_path / "run"}"\nmodel = "nano"\n[[stage]]\nkind = "sft"\ndata = ["{data}"]\nsteps = 2\n'
                      "batch_tokens = 512\n", encoding="utf-8")
    result = support.minke("train", config, "--quiet", "--dashboard")
    assert re.fullmatch(r"minke: dashboard: http://127\.0\.0\.1:\d+/\n", result.stderr), result.stderr
