"""`minke train` and `minke rl` as a user runs them: killed anywhere and started again, wrong in every way, read by others.

TEST_KILLS in the environment is the number of kills of the two kill tests together (20 by default)."""

import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import support

EMULATED = len(support.COMMAND) > 1
KILLS = int(os.environ.get("TEST_KILLS", "20"))
CONFIG = {  # of a model that trains in milliseconds a step, on the built-in model's tokenizer
    "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 8, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 16, "max_position_embeddings": 512,
}
STAGE = """
[[stage]]
kind = "{kind}"
data = ["{data}"]
steps = {steps}
sequence_tokens = 64
batch_tokens = 256
micro_tokens = 128
lr = 1e-3
lr_end = 1e-4
warmup_steps = 2
decay_steps = 3
mtp_weight = 0.3
bias_speed = 0.001
balance_weight = 1e-4
"""
TASK = """
[[task]]
name = "sort:2"
think_budget = 12
answer_tokens = 6
language = 1.0
length_penalty = 0.1
"""


@pytest.fixture
def small(tmp_path):
    """A folder with config.json and tokenizer for random weights, and data of both kinds."""
    folder = tmp_path / "small"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(support.NANO / name, folder)
    config = json.loads((support.NANO / "config.json").read_text()) | CONFIG
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": f"{i} {i} {i + 1} and {i}"}) + "\n" for i in range(200)))
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": [
        {"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}{i}"}]}) + "\n" for i in range(200)))
    return tmp_path


def test_the_example_on_text(tmp_path):
    """examples/text as docs/training.md has it, but on the documentation, two steps a stage and a smaller vocabulary."""
    text = tmp_path / "build" / "text"
    text.mkdir(parents=True)
    pages = [path.read_text(encoding="utf-8") for path in sorted((support.ROOT / "docs").glob("*.md"))]
    (text / "train.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in pages[1:]), encoding="utf-8")
    (text / "heldout.txt").write_text(pages[0], encoding="utf-8")
    support.minke("tokenizer", "train", text / "train.jsonl", "--vocab-size", 1024, "--out", text / "base")
    config = json.loads((support.ROOT / "examples" / "text" / "config.json").read_text()) | {"vocab_size": 1024}
    (text / "base" / "config.json").write_text(json.dumps(config))
    recipe = (support.ROOT / "examples" / "text" / "train.toml").read_text(encoding="utf-8")
    (tmp_path / "train.toml").write_text(re.sub(r"^(warmup_|decay_)steps = .*$", r"\1steps = 1",
                                                  re.sub(r"^steps = .*$", "steps = 2", recipe, flags=re.MULTILINE), flags=re.MULTILINE))
    support.minke("train", "train.toml", "-q", cwd=tmp_path)
    losses = [step["loss"] for step in support.json_lines(text / "run" / "metrics.jsonl")]
    assert losses[0] == pytest.approx(np.log(1024), abs=0.3) and losses[1] < losses[0] and len(losses) == 6
    out = support.minke("perplexity", "build/text/run/model", "-f", "build/text/heldout.txt", "-c", 512, "--json", cwd=tmp_path).stdout
    assert json.loads(out)["rows"][0]["perplexity"] < 1024


def write_config(small, out, *, steps=4, extra="", kinds=("pretrain", "sft", "indexer-warmup", "sparse", "distill"), every=3):
    path = small / f"{out}.toml"
    data = {"pretrain": "texts", "sft": "chats", "indexer-warmup": "texts", "sparse": "texts", "distill": "chats"}
    path.write_text(
        f'out = "{small / out}"\ninit = "{small / "small"}"\nseed = 5\nthreads = 1\ncheckpoint_every = {every}\n{extra}\n' +
        "".join(STAGE.format(kind=kind, data=small / f"{data[kind]}.jsonl", steps=max(steps, 5)) for kind in kinds))
    return path


def write_rl_config(small, model, out, *, steps=6, extra=""):
    path = small / f"{out}.toml"
    path.write_text(f"""out = "{small / out}"
model = "{model}"
seed = 7
threads = 1
steps = {steps}
questions = 4
answers = 4
mini_batches = 2
max_tokens = 24
micro_tokens = 512
checkpoint_every = 2
reference_every = 3
lr = 1e-3
indexer_lr = 1e-4
{extra}
{TASK}beta = 0.01
""")
    return path


def digest(folder):
    """Of every file of a model folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def fails(code, *arguments, says=()):
    result = support.minke(*arguments, check=False)
    assert result.returncode == code, (result.returncode, result.stderr)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("minke: "), result.stderr
    for part in [says] if isinstance(says, str) else says:
        assert part in last, last
    return last


def run_killed(verb, config, kills, rng, seconds):
    """Runs until it finishes, killed `kills` times within the time that a run takes. Returns the kills that hit."""
    hit = 0
    while True:
        process = subprocess.Popen([*support.COMMAND, verb, str(config), "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if hit < kills:
            try:
                process.wait(timeout=rng.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                hit += 1
        _, errors = process.communicate()
        if process.returncode == 0:
            return hit
        assert process.returncode == -signal.SIGKILL, errors.decode()


def kill_often(verb, small, make_config, kills):
    """Runs of `make_config(name)`, killed, until `kills` have hit; each ends with the bytes of one that was not."""
    start = time.monotonic()
    support.minke(verb, make_config("whole"), "-q")
    seconds = time.monotonic() - start
    whole = digest(small / "whole" / "model")
    rng = random.Random(20261125)
    done = runs = 0
    while done < kills:
        assert runs < 10 * kills + 10, "kills do not hit"
        out = f"killed-{runs}"
        done += run_killed(verb, make_config(out), min(10, kills - done), rng, seconds)
        runs += 1
        assert digest(small / out / "model") == whole, out
        steps = [line["step"] for line in support.json_lines(small / out / "metrics.jsonl")]
        assert steps == list(range(1, len(steps) + 1)), out
        shutil.rmtree(small / out)


@pytest.mark.skipif(EMULATED, reason="an emulator starts too slowly to be killed at a chosen moment")
def test_training_killed_anywhere_ends_with_the_same_bytes(small):
    kill_often("train", small, lambda out: write_config(small, out), (KILLS + 1) // 2)


@pytest.mark.skipif(EMULATED, reason="an emulator starts too slowly to be killed at a chosen moment")
def test_rl_killed_anywhere_ends_with_the_same_bytes(small):
    support.minke("train", write_config(small, "start", kinds=["sft"]), "-q")
    kill_often("rl", small, lambda out: write_rl_config(small, small / "start" / "model", out), KILLS // 2)


@pytest.mark.skipif(EMULATED, reason="an emulator has its own signals")
def test_an_interrupt_writes_a_checkpoint_and_the_same_command_goes_on(small):
    config = write_config(small, "whole", steps=60, kinds=["pretrain"], every=1000)
    support.minke("train", config, "-q")
    config = write_config(small, "out", steps=60, kinds=["pretrain"], every=1000)
    process = subprocess.Popen([*support.COMMAND, "train", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = small / "out" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and output == "", errors
    assert "the same command goes on" in errors.splitlines()[-1]
    done = int(next((small / "out").glob("step-*")).name.removeprefix("step-"))
    assert 3 <= done < 60
    report = json.loads(support.minke("train", config, "-q", "--json").stdout)
    assert (report["resumed_at"], report["steps"]) == (done, 60)
    assert digest(small / "out" / "model") == digest(small / "whole" / "model")


@pytest.mark.parametrize("change, says", [
    (("seed = 5", "sead = 5"), ["unknown key sead", "did you mean seed?", ".toml:3:"]),
    (("warmup_steps", "warm_up_steps"), "did you mean warmup_steps?"),
    (('kind = "sft"', 'kind = "stf"'), ["kind", '"sft"']),
    (("steps = 5", "steps = 0"), "steps"),
    (("steps = 5", "steps = 4"), ["steps", "warmup_steps"]),
    (("lr = 1e-3", 'lr = "fast"'), "lr"),
    (("seed = 5", "seed ="), ".toml:3:"),
    (("init = ", 'model = "nano"\ninit = '), "`init`"),
    (("threads = 1", 'threads = 1\ndtype = "f16"'), "f32"),
], ids=lambda value: str(value[1]) if isinstance(value, tuple) else None)
def test_a_wrong_configuration_is_one_line(change, says, small):
    path = write_config(small, "out", kinds=["sft"])
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    fails(2, "train", path, says=says)
    assert not (small / "out").exists()


@pytest.mark.parametrize("change, says", [
    (('name = "sort:2"', 'name = "sorted"'), ["sort", ".toml:"]),
    (("mini_batches = 2", "mini_batches = 9"), "mini_batches"),
    (("questions = 4", "question = 4"), "did you mean questions?"),
    (("beta = ", "betta = "), "did you mean beta?"),
    (("max_tokens = 24", "temperature = 0"), "temperature"),
    (("max_tokens = 24", "max_tokens = 2048"), ["max_tokens (2048)", "context of 2048"]),
])
def test_a_wrong_rl_configuration_is_one_line(change, says, small):
    path = write_rl_config(small, "nano", "out")
    path.write_text(path.read_text().replace(*change))
    fails(2, "rl", path, says=says)
    assert not (small / "out").exists()


def test_files_that_are_not_there(small):
    path = write_config(small, "out", kinds=["sft"])
    fails(3, "train", small / "none.toml", says="none.toml")
    (small / "chats.jsonl").unlink()
    fails(3, "train", path, says="chats.jsonl")
    fails(3, "rl", write_rl_config(small, small / "nothing", "rl"), says="nothing")


def test_a_bad_line_is_named_or_skipped(small):
    lines = (small / "texts.jsonl").read_text().splitlines()
    lines[4] = '{"text": 5}'
    lines[40] = '{"text": "cut'
    (small / "texts.jsonl").write_text("\n".join(lines) + "\n")
    path = write_config(small, "out", kinds=["pretrain"])
    path.write_text(path.read_text().replace("[[stage]]", "shuffle = false\n[[stage]]", 1))
    fails(2, "train", path, says="texts.jsonl:5: ")
    path.write_text(path.read_text().replace("shuffle = false", "shuffle = false\nskip_bad_lines = true", 1))
    (small / "out").exists() and shutil.rmtree(small / "out")
    result = support.minke("train", path)
    assert "pretrain: 2 bad lines were skipped, 0 documents" in result.stderr
    assert support.json_lines(small / "out" / "metrics.jsonl")[-1]["bad_lines"] == 2


def test_a_weight_that_is_not_finite_is_named(small):
    support.minke("train", write_config(small, "out", kinds=["sft"]), "-q")
    model, name = small / "out" / "model", "model.layers.1.self_attn.kv_b_proj.weight"
    weights = load_file(model / "model.safetensors")
    weights[name].flat[3] = np.inf
    save_file(weights, model / "model.safetensors")
    path = write_config(small, "again", kinds=["sft"])
    path.write_text(path.read_text().replace(f'init = "{small / "small"}"', f'model = "{model}"'))
    for verb, config in ("train", path), ("rl", write_rl_config(small, model, "learn")):
        fails(1, verb, config, says=f"the weights of {name} are not finite")


def test_a_damaged_checkpoint_says_what_to_remove(small):
    path = write_config(small, "out", kinds=["sft"])
    support.minke("train", path, "-q")
    before = digest(small / "out" / "model")
    last = small / "out" / "step-00000005"
    (last / "training.safetensors").write_bytes(b"cut")
    fails(4, "train", path, says=["training.safetensors", f"remove {last} to go on from the checkpoint before it"])
    shutil.rmtree(last)
    assert "5 steps, 2 of them now: " in support.minke("train", path).stdout
    assert digest(small / "out" / "model") == before
    assert "all 5 steps were done: " in support.minke("train", path).stdout


def test_a_tokenizer_of_another_model_is_refused(small):
    config = json.loads((small / "small" / "config.json").read_text())
    (small / "small" / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    fails(2, "train", write_config(small, "out"), says=["502", "300"])


def test_what_a_run_ran_with_is_recorded(small):
    """Threads change no bytes; a tokenizer does, and is refused; a kernel set may, and is said."""
    path = write_config(small, "out", kinds=["sft"])
    support.minke("train", path, "-q")
    state = json.loads(next((small / "out").glob("step-*5/training.json")).read_text())["state"]
    [run] = state["runs"]
    assert (run["threads"], run["dtype"], run["from_step"], len(run["tokenizer"])) == (1, "f32", 0, 16)
    path.write_text(path.read_text().replace("threads = 1", "threads = 2"))
    assert support.minke("train", path, "-q").stderr == ""
    [line] = support.minke("train", path, "-q", "--isa", "reference").stderr.splitlines()
    assert f"kernel set {run['kernels']} and goes on with reference" in line and "bytes may differ" in line
    before = digest(small / "out" / "model")
    tokenizer = small / "small" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"merges"', ' "merges"'))
    fails(10, "train", path, says=["another tokenizer", "step-00000005"])
    assert digest(small / "out" / "model") == before
    shutil.copy(small / "out" / "step-00000005" / "tokenizer.json", tokenizer)
    support.minke("train", path, "-q")


def test_another_configuration_cannot_resume(small):
    path = write_config(small, "out", kinds=["sft"])
    support.minke("train", path, "-q")
    before = digest(small / "out" / "model")
    path.write_text(path.read_text().replace("lr = 1e-3", "lr = 2e-3"))
    fails(10, "train", path, says=["another configuration", "stages"])
    assert digest(small / "out" / "model") == before
    shutil.copytree(small / "out" / "model", small / "start")
    fails(4, "rl", write_rl_config(small, small / "start", "out"), says="training.json")  # a run of the other verb


@pytest.mark.skipif(EMULATED, reason="an emulator has its own limits")
@pytest.mark.parametrize("limit", [1_000, 100_000])
def test_a_full_disk_is_an_error_and_loses_nothing(limit, small):
    path = write_config(small, "out", kinds=["pretrain"], every=2)

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = subprocess.run([*support.COMMAND, "train", str(path), "-q"], capture_output=True, text=True, preexec_fn=small_files)
    assert result.returncode == 1, result.stderr
    assert str(small / "out") in result.stderr.splitlines()[-1]
    assert not list((small / "out").glob("step-*"))
    support.minke("train", path, "-q")
    whole = write_config(small, "whole", kinds=["pretrain"], every=2)
    support.minke("train", whole, "-q")
    assert digest(small / "out" / "model") == digest(small / "whole" / "model")


def test_a_checkpoint_is_an_ordinary_model(small, tmp_path):
    support.minke("train", write_config(small, "out"), "-q")
    step = sorted((small / "out").glob("step-*"))[-1]
    for folder in (small / "out" / "model", step):
        assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "float32"
        assert support.minke("run", folder, "5?", "--max-tokens", "4", "-q", "--seed", "1").returncode == 0
    ids = np.arange(40) % 400 + 5
    a, b = (support.score(tmp_path, folder, ids)["logits"] for folder in (small / "out" / "model", step))
    assert a.tobytes() == b.tobytes() and np.isfinite(a).all()


@pytest.mark.slow
def test_transformers_opens_a_checkpoint(small, tmp_path):
    reason = "tests/requirements-interop.txt is not installed"
    torch = pytest.importorskip("torch", reason=reason)
    transformers = pytest.importorskip("transformers", reason=reason)
    support.minke("train", write_config(small, "out"), "-q")
    folder = small / "out" / "model"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # Before much training many index scores are exactly 0, and of equals the two sides may choose different ones: no more
    # tokens than are selected. tests/interop_test.py has more.
    ids = np.array(tokenizer("12 12 13 and 12, and more of it").input_ids)[: CONFIG["index_topk"]]
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)[None]).logits[0].numpy()
    np.testing.assert_allclose(support.score(tmp_path, folder, ids)["logits"], expected, atol=2e-4)
