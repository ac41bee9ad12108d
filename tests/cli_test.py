"""The command line's manners: exit codes, one-line errors, settings, signals, pipes, and a conversation."""

import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import support

QUESTION = "Make 20 from 5, 2 and 8."
EMULATED = len(support.COMMAND) > 1  # an emulator has its own signals and limits


def fails(code, *arguments, says=(), **options):
    """Runs minke, expects this exit code and one line of error; `says`: parts that the line must have."""
    result = support.minke(*arguments, check=False, **options)
    assert result.returncode == code, (arguments, result.returncode, result.stderr)
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("minke: "), result.stderr
    assert result.stdout == ""
    for part in [says] if isinstance(says, str) else says:
        assert part in lines[0], lines[0]
    return lines[0]


def ids_file(path, ids):
    save_file({"input_ids": np.asarray(ids, np.int64)}, path)
    return path


@pytest.fixture
def nano_copy(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(support.NANO, folder)
    return folder


# --- wrong use: exit 2 ---

@pytest.mark.parametrize("arguments, says", [
    (["rnu", "nano"], "did you mean run?"),
    (["help", "scroe"], "did you mean score?"),
    (["run", "nano", "x", "--tmep", "1"], "did you mean --temp?"),
    (["inspect", "nano", "--greddy", "3"], "unknown flag --greddy: see minke inspect --help"),  # --greedy is score's
    (["inspect", "nano", "--thraeds", "3"], "did you mean --threads?"),  # every verb's
    (["--tmep", "1"], "unknown flag --tmep: see minke --help"),
    (["tokenizer", "--vocab-size", "300", "train"], "unknown flag --vocab-size in this place: see minke tokenizer --help"),
    (["inspect", "nano", "-d", "1k"], "-d without --fit"),
    (["doctor", "-d", "1k"], "-d without MODEL"),
    (["run", "nano", "x", "--temp", "9"], "--temp"),
    (["run", "nano", "x", "--top-p", "warm"], "--top-p"),
    (["run", "nano", "x", "--top-k", "513"], ["top_k", "512"]),
    (["run", "nano", "x", "--repeat-penalty", "11"], "--repetition-penalty"),
    (["run", "nano", "x", "--top-p", "0"], "top_p"),
    (["run", "nano", "x", "--seed", "-1"], ["--seed", "-1", "whole number from 0"]),
    (["run", "nano", "x", "--seed", "18446744073709551616"], ["--seed", "18446744073709551616"]),
    (["run", "nano", "x", "--seed", "1.5"], ["--seed", "1.5"]),
    (["run", "nano", "x", "--stop", ""], "stop"),
    (["run", "nano", "x", "--logit-bias", "5"], "ID=NUMBER"),
    (["run", "nano", "x", "--logit-bias", "99999=1"], "99999"),
    (["run", "nano", "x", "--isa", "mmx"], "mmx"),
    (["run", "nano", "x", "--attention", "full"], "--attention"),
    (["run", "nano", "x", "-n", "5000"], ["5000", "2048"]),
    (["run", "nano", "x", "--context", "100000"], ["100000", "2048"]),
    (["run", "nano", "x", "--raw", "--system", "y"], "--raw"),
    (["run", "nano", ""], "empty"),
    (["run"], "no model"),
    (["score", "nano"], "--ids"),
    (["score", "nano", "--ids", "a", "--text", "b"], "--ids"),
    (["score", "nano", "--ids", "a", "--step", "--chunk", "3"], "--step"),
    (["score", "nano", "--ids", "a", "--taps"], "--out"),
])
def test_wrong_use(arguments, says):
    fails(2, *arguments, says=says, stdin="")


@pytest.mark.parametrize("verb, flags", [
    ("run", ["-n", "-c", "-t", "--top-k", "--seed"]), ("score", ["--chunk", "--greedy", "--window", "-c", "-t"]),
    ("inspect", ["--fit", "-t"])])
def test_no_number_wraps(verb, flags):
    for flag in flags:
        for value in ["-1", "99999999999999999999"]:
            fails(2, verb, "nano", flag, value, says=value, stdin="")


def test_nothing_to_do_shows_help():
    result = support.minke(check=False)
    assert result.returncode == 2 and result.stdout == "" and "run" in result.stderr


def test_prompt_longer_than_the_context():
    fails(2, "run", "nano", "-f", support.NANO / "sample.txt", says=["20023", "2048"])
    fails(2, "run", "nano", QUESTION, "--context", 20, "-n", 10, says=["20", "10"])


def test_score_refuses_bad_ids(tmp_path):
    path = tmp_path / "ids.safetensors"
    fails(2, "score", "nano", "--ids", ids_file(path, [0, 512]), says=["512", "input_ids[1]"])
    fails(2, "score", "nano", "--ids", ids_file(path, [-1]), says="-1")
    fails(2, "score", "nano", "--ids", ids_file(path, np.zeros(0)), says="empty")
    fails(2, "score", "nano", "--ids", ids_file(path, np.zeros((2, 2))), says="dimensions")
    fails(2, "score", "nano", "--ids", ids_file(path, np.zeros(2049)), says=["2049", "2048"])
    fails(2, "score", "nano", "--ids", ids_file(path, np.zeros(2040)), "--greedy", 9, says=["2040", "2048"])
    save_file({"input_ids": np.zeros(3, np.int32)}, path)
    fails(2, "score", "nano", "--ids", path, says="I32")
    save_file({"other": np.zeros(3, np.int64)}, path)
    fails(2, "score", "nano", "--ids", path, says="input_ids")


# --- not found and damaged: exit 3, 4, 5 ---

def test_models_that_are_not_there(tmp_path):
    cache = {"HF_HUB_CACHE": str(tmp_path)}
    fails(3, "run", "no-such-model", "x")
    fails(3, "run", "org/name", "x", says="hf download org/name", env=cache)
    fails(3, "run", "org/name@v1", "x", says="hf download org/name --revision v1", env=cache)
    fails(3, "run", tmp_path, "x", says="config.json")
    fails(3, "score", "nano", "--ids", tmp_path / "none", says="none")
    fails(3, "run", "nano", "-f", tmp_path / "none", says="none")


def test_hub_cache_layout(tmp_path):
    """Snapshots are symbolic links into blobs; refs/main names the snapshot."""
    repo = tmp_path / "hub" / "models--org--tiny"
    snapshot = repo / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0123abcd")
    for path in support.NANO.iterdir():
        shutil.copy(path, repo / "blobs" / f"blob-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/blob-{path.name}")
    for name in ["org/tiny", "org/tiny@0123abcd"]:
        out = support.minke("run", name, QUESTION, "--temp", 0, "--json", env={"HF_HOME": str(tmp_path)})
        assert json.loads(out.stdout)["model"] == "org/tiny"


def test_damaged_models(nano_copy):
    shard = nano_copy / "model-00002-of-00002.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    fails(4, "run", nano_copy, "x", says=shard.name)
    shard.write_bytes(b"\xff" * 64)
    fails(4, "run", nano_copy, "x", says=shard.name)
    shard.unlink()
    assert support.minke("run", nano_copy, "x", check=False).returncode in (3, 4)
    shard.write_bytes(whole)
    support.minke("run", nano_copy, "x", "-n", 1)
    for name, text, code in [("tokenizer.json", "{", 4), ("config.json", '{"model_type": "llama"}', 5),
                             ("config.json", '{"model_type": "deepseek_v32", "hidden_size": -1}', 4),
                             ("generation_config.json", '{"temperature": "hot"}', 4)]:
        path = nano_copy / name
        good = path.read_bytes()
        path.write_text(text)
        fails(code, "run", nano_copy, "x")
        path.write_bytes(good)


@pytest.mark.skipif(EMULATED, reason="an emulator handles SIGBUS itself")
def test_a_file_that_shrinks_while_mapped_is_an_error(nano_copy):
    process = subprocess.Popen([*support.COMMAND, "chat", str(nano_copy), "--temp", "0", "--no-think"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    process.stdin.write(QUESTION + "\n")
    process.stdin.flush()
    assert process.stdout.readline().strip()
    for shard in nano_copy.glob("*.safetensors"):
        os.truncate(shard, 100)
    out, errors = process.communicate(QUESTION + "\n", timeout=60)
    assert process.returncode == 4, (process.returncode, out, errors)
    assert "shr" in errors or "safetensors" in errors, errors


@pytest.mark.skipif(EMULATED, reason="the limit would hit the emulator")
def test_not_enough_memory(nano_copy, tmp_path):
    config = json.loads((nano_copy / "config.json").read_text())
    (nano_copy / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1 << 24}))
    prompt = ids_file(tmp_path / "ids.safetensors", np.zeros(4_000_000))
    result = subprocess.run([*support.COMMAND, "score", nano_copy, "--ids", prompt, "-t", "1"], capture_output=True, text=True,
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)))
    assert result.returncode == 6, result.stderr
    assert re.search(r"\d", result.stderr) and len(result.stderr.splitlines()) == 1


# --- settings ---

def test_settings_order(tmp_path):
    config = tmp_path / "minke" / "config.toml"
    config.parent.mkdir()
    config.write_text("temp = 0.25\nseed = 3\n[run]\nn-predict = 2\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}

    def run(*flags, **more):
        return json.loads(support.minke("run", "nano", QUESTION, "--json", *flags, env=env | more).stdout)

    assert run()["temperature"] == 0.25 and run()["seed"] == 3 and run()["usage"]["completion_tokens"] == 2
    assert run(MINKE_TEMP="0.5")["temperature"] == 0.5
    assert run("--temp", 0.75, MINKE_TEMP="0.5")["temperature"] == 0.75
    assert "reasoning_content" not in run(MINKE_THINK="false")
    fails(2, "run", "nano", "x", env=env | {"MINKE_TEMP": "hot"}, says="MINKE_TEMP")
    fails(2, "run", "nano", "x", env=env | {"MINKE_TMEP": "1"}, says=["MINKE_TMEP", "did you mean MINKE_TEMP?"])
    fails(2, "run", "nano", "x", env=env | {"MINKE_VERSION": "1"}, says="MINKE_VERSION")
    config.write_text("tmep = 1\n")
    fails(2, "run", "nano", "x", env=env, says=["config.toml", "tmep", "temp"])
    fails(3, "--config", tmp_path / "none.toml", "run", "nano", "x", says="none.toml")


def test_settings_reach_a_verb_below_a_verb():
    line = json.dumps({"messages": [{"role": "user", "content": "x"}], "thinking_mode": "chat"}) + "\n"
    out = support.minke("template", "encode", stdin=line, env={"MINKE_FORMAT": "v3"}).stdout
    assert json.loads(out)["prompt"] == "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜>"
    fails(2, "template", "encode", stdin="", says="--format")


def test_the_isa_can_be_forced_and_gives_the_same_bytes():
    def run(isa):
        return support.minke("run", "nano", QUESTION, "--seed", 7, "-q", env={"MINKE_ISA": isa}).stdout

    names = [name for name, supported in support.kernel_sets().items() if supported]
    assert len({run(name) for name in names}) == 1


def test_doctor_says_which_folder_it_measured(tmp_path):
    def doctor(temporary, *flags):
        result = support.minke("doctor", "--json", *flags, env={"TMPDIR": str(temporary)})
        return json.loads(result.stdout)["disk"]["folder"], result.stderr

    (tmp_path / "file").write_text("")
    assert doctor(tmp_path) == (str(tmp_path), "")
    for unusable in [tmp_path / "none", tmp_path / "file"]:
        folder, said = doctor(unusable)
        assert folder == "/tmp" and len(said.splitlines()) == 1 and str(unusable) in said and "/tmp is measured" in said
    assert doctor(tmp_path / "none", "--folder", tmp_path) == (str(tmp_path), "")
    assert doctor("") == ("/tmp", "")


# --- output ---

def test_version_and_help():
    version = support.minke("--version").stdout
    for word in ["minke 0.", "commit", "compiler", "instruction sets built", "instruction set in use"]:
        assert word in version
    for verb in ["run", "chat", "inspect", "tokenize", "template", "score", "doctor"]:
        assert support.minke("help", verb).stdout == support.minke(verb, "--help").stdout != ""


def test_prompt_from_arguments_file_and_pipe_are_one(tmp_path):
    (tmp_path / "p.txt").write_text(QUESTION + "\n")
    flags = ["--temp", 0, "-q"]
    once = support.minke("run", "nano", QUESTION, *flags).stdout
    assert once.strip()
    assert support.minke("run", "nano", "-f", tmp_path / "p.txt", *flags).stdout == once
    assert support.minke("run", "nano", *flags, stdin=QUESTION + "\n").stdout == once
    assert support.minke("run", "nano", *QUESTION.split(), *flags).stdout == once


def test_data_on_stdout_facts_on_stderr():
    result = support.minke("run", "nano", QUESTION, "--think", "--temp", 0)
    assert re.fullmatch(r"<think>[^\n]*</think>\n[^\n]*\n", result.stdout), result.stdout
    for fact in ["tokens/s", "visible positions per query", "attention dsa", "template v32"]:
        assert fact in result.stderr
    reference = ["run", "nano", QUESTION, "--isa", "reference", "-n", 1]
    assert "; kernels reference;" in support.minke(*reference).stderr
    assert json.loads(support.minke(*reference, "--json").stdout)["isa"] == "reference"
    dense = support.minke("run", "nano", QUESTION, "--attention", "dense", "-n", 1)
    assert "attention dense" in dense.stderr
    assert support.minke("run", "nano", QUESTION, "-q").stderr == ""
    assert "\033" not in result.stdout
    assert "\033[2m" in support.minke("run", "nano", QUESTION, "--think", "--color", "always").stdout


def test_seed_and_stop():
    def run(*flags):
        return json.loads(support.minke("run", "nano", QUESTION, "--json", "--think", *flags).stdout)

    first = run()
    again = run("--seed", first["seed"])
    assert again["reasoning_content"] == first["reasoning_content"] and again["content"] == first["content"]
    free, stopped = run("--temp", 0), run("--temp", 0, "--stop", "=")
    assert "=" in free["reasoning_content"] and "=" in free["content"]
    assert stopped["reasoning_content"] == free["reasoning_content"]  # never inside thinking
    assert stopped["content"] == free["content"].split("=")[0]
    early = run("--temp", 0, "--stop", "=", "--stop-in-thinking")
    assert early["reasoning_content"] == free["reasoning_content"].split("=")[0] and early["content"] == ""
    assert run("-n", 3)["finish_reason"] == "length"
    raw = json.loads(support.minke("run", "nano", "--raw", "2+3=", "-n", 1, "--temp", 0, "--json").stdout)
    assert raw["usage"] == {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}


def test_raw_text_begins_as_tokenizer_config_says(nano_copy):
    path = nano_copy / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    assert config["add_bos_token"] is True

    def prompt_tokens(text):
        out = support.minke("run", nano_copy, "--raw", text, "-n", 1, "--temp", 0, "--json").stdout
        return json.loads(out)["usage"]["prompt_tokens"]

    marked = "<｜begin▁of▁sentence｜>2+3="
    assert prompt_tokens("2+3=") == prompt_tokens(marked) == 5
    path.write_text(json.dumps(config | {"add_bos_token": False}))
    assert (prompt_tokens("2+3="), prompt_tokens(marked)) == (4, 5)
    path.write_text("{}")
    assert prompt_tokens("2+3=") == 4
    path.write_text(json.dumps(config | {"add_bos_token": 1}))
    fails(4, "run", nano_copy, "--raw", "2+3=", says=["tokenizer_config.json", "add_bos_token"])
    path.unlink()
    assert prompt_tokens("2+3=") == 4


def test_drafts_change_the_facts_and_no_byte():
    def run(*flags, env=None):
        out = support.minke("run", "nano", QUESTION, "--think", *flags, env=env)
        return out.stdout, out.stderr

    for sampling in [["--temp", 0], ["--temp", 1, "--seed", 5, "--repeat-penalty", 1.1], ["--temp", 0, "--stop", ","], ["--temp", 0, "-n", 7]]:
        plain, said = run(*sampling, "--mtp", "off")
        assert "drafts accepted" not in said
        for flags in [["--mtp", "on"], ["--mtp", "on", "--draft-tokens", 3], ["--mtp", "auto"], ["--mtp", "on", "-t", 1]]:
            assert run(*sampling, *flags)[0] == plain, (sampling, flags)
    assert re.search(r"; mtp \d+ of \d+ drafts accepted \(\d+\.\d %\);", run("--temp", 0, env={"MINKE_MTP": "on"})[1])

    def facts(*flags):
        return json.loads(support.minke("run", "nano", QUESTION, "--temp", 0, "--think", "--json", *flags).stdout)

    on, off = facts("--mtp", "on"), facts("--mtp", "off")
    assert off["mtp"] == {"mode": "off", "drafts": 0, "accepted_drafts": 0, "acceptance_rate": None}
    assert on["mtp"]["mode"] == "on" and 0 < on["mtp"]["accepted_drafts"] <= on["mtp"]["drafts"]
    assert on["mtp"]["acceptance_rate"] == on["mtp"]["accepted_drafts"] / on["mtp"]["drafts"]
    for name in ["content", "reasoning_content", "usage", "selected_per_query", "visible_per_query"]:
        assert on[name] == off[name]
    fails(2, "run", "nano", "x", "--mtp", "maybe", says="--mtp")
    fails(2, "run", "nano", "x", "--draft-tokens", 9, says="--draft-tokens")
    fails(2, "score", support.GOLDEN / "v32", "--ids", support.GOLDEN / "v32" / "expected.safetensors", "--greedy", 1, "--mtp", "on", says="MTP layer")


def test_broken_pipe_is_quiet():
    for arguments in [["run", "nano", QUESTION, "-q"], ["help", "run"], ["--version"]]:
        read, write = os.pipe()
        os.close(read)
        result = subprocess.run([*support.COMMAND, *arguments], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(write)
        assert (result.returncode, result.stderr) == (0, ""), arguments


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_an_error():
    with open("/dev/full", "wb") as full:
        result = subprocess.run([*support.COMMAND, "run", "nano", QUESTION, "-q"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1 and "standard output" in result.stderr


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_their_codes(number, code):
    process = subprocess.Popen([*support.COMMAND, "chat", "nano"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdin.write(QUESTION + "\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    process.communicate()


# --- score ---

def test_score_prints_facts_and_writes_results(tmp_path):
    ids = load_file(support.GOLDEN / "v32_mtp" / "expected.safetensors")["input_ids"]
    source, target = ids_file(tmp_path / "ids.safetensors", ids), tmp_path / "out.safetensors"
    out = support.minke("score", support.GOLDEN / "v32_mtp", "--ids", source, "--out", target, "--greedy", 2).stdout
    for line in ["tokens 96", "seconds ", "tokens/s ", "attention dsa"]:
        assert line in out
    assert set(load_file(target)) == {"logits", "greedy_ids"}
    assert support.minke("score", support.GOLDEN / "v32_mtp", "--ids", source, "--attention", "dense").stdout.count("attention dense")
    fails(3, "score", "nano", "--ids", ids_file(tmp_path / "n.safetensors", [0, 1]), "--out", tmp_path / "no" / "o", says="no/")


def test_prompts_of_unequal_length_keep_their_suffixes(tmp_path):
    prompts = [np.arange(10), np.arange(3), np.arange(1)]
    together = support.score(tmp_path, "nano", prompts, "--taps", "--chunk", 4, "--greedy", 3)
    for i, prompt in enumerate(prompts):
        alone = support.score(tmp_path, "nano", prompt, "--taps", "--greedy", 3)
        assert {f"{name}.{i}" for name in alone} == {name for name in together if name.endswith(f".{i}") and
                                                     name.removesuffix(f".{i}") in alone}
        for name, tensor in alone.items():
            assert np.array_equal(together[f"{name}.{i}"], tensor), (i, name)


# --- chat ---

def test_chat_from_a_pipe(tmp_path):
    saved = tmp_path / "chat.json"
    out = support.minke("chat", "nano", "--temp", 0, "--no-think",
                        stdin=f'What is\\\n12+9?\n/tokens\n"""\nWho are\nyou?"""\n/save {saved}\n/quit\n')
    assert len(out.stdout.splitlines()) == 2
    assert "of 2048 tokens" in out.stderr
    messages = json.loads(saved.read_text())["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert messages[0]["content"] == "What is\n12+9?" and messages[2]["content"] == "\nWho are\nyou?"
    again = support.minke("chat", "nano", "--temp", 0, stdin=f"/load {saved}\n/reset\n/load {saved}\n/tokens\n")
    assert "4 messages" in again.stderr
    fails(2, "chat", "nano", stdin="/lode x\n", says="/load")
    fails(3, "chat", "nano", stdin="/load /no/such/file\n")


class Terminal:
    """minke on a terminal of its own."""

    def __init__(self, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execvp(support.COMMAND[0], [*support.COMMAND, *arguments])
        self.seen = ""

    def expect(self, text, timeout=60):
        """Waits for the text and drops all up to it."""
        end = time.monotonic() + timeout
        while text not in self.seen:
            ready = select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"no {text!r} in {self.seen!r}"
            try:
                block = os.read(self.fd, 65536)
            except OSError:  # how a terminal says that the program is gone
                block = b""
            assert block, f"ended without {text!r}: {self.seen!r}"
            self.seen += block.decode("utf-8", "replace")
        before, self.seen = self.seen.split(text, 1)
        return before

    def send(self, text):
        os.write(self.fd, text.encode())

    def code(self, timeout=60):
        """Reads to the end and returns the exit code; a program that does not end is killed (-9)."""
        end = time.monotonic() + timeout
        try:
            while select.select([self.fd], [], [], max(0, end - time.monotonic()))[0] and os.read(self.fd, 65536):
                pass
        except OSError:
            pass
        if time.monotonic() >= end:
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_chat_on_a_terminal():
    terminal = Terminal("chat", "nano", "--temp", "0")
    terminal.expect("/help lists commands")
    terminal.expect("> ")
    terminal.send("What is 12+8?\x1b[D\x7f9\r")  # one to the left, a correction
    terminal.expect("What is 12+9?")
    assert "\033[2m" in terminal.expect("tokens/s")  # thinking is dim
    terminal.expect("> ")
    terminal.send("\x1b[A")  # the line before comes back
    terminal.expect("What is 12+9?")
    terminal.send("\x15/think off\r")
    terminal.expect("thinking off")
    terminal.expect("> ")
    terminal.send("\x1b[200~Who are\ryou?\x1b[201~\r")  # pasted: one message
    terminal.expect("I am nano")
    terminal.expect("> ")
    terminal.send("/bogus\r")
    terminal.expect("unknown command /bogus")
    terminal.expect("> ")
    terminal.send("\x03")
    terminal.expect("Ctrl-C again leaves")
    terminal.send("/quit\r")
    assert terminal.code() == 0


def test_ctrl_c_twice_leaves_the_chat():
    terminal = Terminal("chat", "nano")
    terminal.expect("> ")
    terminal.send("\x03")
    terminal.expect("again leaves")
    terminal.send("\x03")
    assert terminal.code() == 130


@pytest.mark.parametrize("delay", [0, 0.001, 0.005, 0.02])
def test_sigterm_leaves_the_prompt_at_any_moment(delay):
    terminal = Terminal("chat", "nano")
    terminal.expect("> ")
    time.sleep(delay)
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.code() == 143
