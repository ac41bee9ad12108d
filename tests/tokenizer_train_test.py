"""`minke tokenizer train`: the merges of the `tokenizers` package, a file that both load, and what it says to bad input."""

import json
import random

import pytest

import support

SPECIAL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
MARKERS = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"]


def reference(text, vocab_size, min_frequency):
    """The model that tokenizers' BpeTrainer learns with the same pieces, special tokens and size."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    steps = json.loads((support.NANO / "tokenizer.json").read_text(encoding="utf-8"))["pre_tokenizer"]["pretokenizers"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(step["pattern"]["Regex"]), "isolated") for step in steps[:3]]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKERS), min_frequency=min_frequency, special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return json.loads(tokenizer.to_str())["model"]


def source_text(size):
    """Prose, code and other scripts: this repository's own files, repeated with changes until there is enough."""
    files = sorted(path for pattern in ("*.md", "docs/*.md", "minke/**/*.cc", "tests/*.py") for path in support.ROOT.glob(pattern))
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert len(text) > size, "the repository has shrunk"
    return text[:size]


def runs_and_ties(size):
    """Few letters in runs: overlapping pairs, and many pairs of equal count."""
    rng = random.Random(5)
    return "".join(rng.choice("aab é中") * rng.choice([1, 1, 2, 3, 7, 20]) for _ in range(size))


def train(tmp_path, text, vocab_size, min_frequency):
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
    support.minke("tokenizer", "train", tmp_path / "corpus.txt", "--vocab-size", vocab_size, "--min-frequency", min_frequency,
                  "--out", tmp_path / "out")
    return json.loads((tmp_path / "out" / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("text, vocab_size, min_frequency", [
    pytest.param(source_text(20_000), 5000, 1, id="small"),
    pytest.param(runs_and_ties(3000), 2000, 1, id="ties"),
    pytest.param(source_text(1_000_000), 4096, 2, id="megabyte"),
])
def test_merges_equal_tokenizers(tmp_path, text, vocab_size, min_frequency):
    got = train(tmp_path, text, vocab_size, min_frequency)["model"]
    wanted = reference(text, vocab_size, min_frequency)
    assert len(got["merges"]) > 500
    assert got["merges"] == [list(pair) for pair in wanted["merges"]]
    assert got["vocab"] == wanted["vocab"]


def test_both_read_the_file_the_same(tmp_path):
    import tokenizers
    text = source_text(100_000)
    train(tmp_path, text, 1000, 2)
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    samples = [text[:5000], "<｜begin▁of▁sentence｜><｜User｜>Reach 45 with 9 10 5.<｜Assistant｜><think>9*5=45</think>ok<｜end▁of▁sentence｜>",
               "ユニコード 中文 naïve 😀\r\n\n  x"]
    replies = support.pipe_json("tokenize", tmp_path / "out", objects=[{"text": sample} for sample in samples])
    for sample, reply in zip(samples, replies, strict=True):
        assert reply["ids"] == other.encode(sample, add_special_tokens=False).ids
        assert other.decode(reply["ids"], skip_special_tokens=False) == sample
    assert other.get_vocab_size() == 1000
    assert [other.token_to_id(token) for token in SPECIAL + MARKERS] == [0, 1, 2, 996, 997, 998, 999]
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["eos_token"]["content"] == SPECIAL[1] and config["add_bos_token"] is True


def test_json_lines_and_special_tokens(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "zigzag zigzag"}\n\n{"messages": [{"role": "user", "content": "quux quux"},'
        ' {"role": "assistant", "reasoning_content": "hmm hmm", "content": "fnord fnord"}]}\n', encoding="utf-8")
    report = json.loads(support.minke("tokenizer", "train", tmp_path / "a.jsonl", "--vocab-size", 320, "--out", tmp_path / "out",
                                      "--special", "｜DSML｜", "--special", "<x>", "--json").stdout)
    assert report["text_bytes"] == len("zigzag zigzagquux quuxhmm hmmfnord fnord")
    assert report["vocab_size"] == 256 + 9 + report["merges"] <= 320
    file = json.loads((tmp_path / "out" / "tokenizer.json").read_text(encoding="utf-8"))
    assert [token["content"] for token in file["added_tokens"]] == SPECIAL + MARKERS + ["｜DSML｜", "<x>"]
    assert not {"role", "messages"} & set(file["model"]["vocab"])
    (ids,) = [reply["ids"] for reply in support.pipe_json("tokenize", tmp_path / "out", objects=[{"text": "｜DSML｜<x>"}])]
    assert ids == [token["id"] for token in file["added_tokens"][-2:]]


def test_the_same_text_gives_the_same_bytes(tmp_path):
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        train(tmp_path / name, source_text(50_000), 700, 2)
        files.append((tmp_path / name / "out" / "tokenizer.json").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("name, text, flags, code, message", [
    ("x.txt", "ab", ["--vocab-size", "100"], 2, "needs 263"),
    ("x.txt", "", ["--vocab-size", "300"], 2, "no text to learn from"),
    ("x.jsonl", '{"text": "ab"}\n{"txt": 1}\n', ["--vocab-size", "300"], 2, "x.jsonl:2: expected an object"),
    ("x.txt", "ab", ["--vocab-size", "300", "--special", "<think>"], 2, "given twice"),
    ("x.txt", "ab", [], 2, "--vocab-size"),
    (None, "", ["--vocab-size", "300"], 3, "x.txt"),
])
def test_errors_are_one_line(tmp_path, name, text, flags, code, message):
    if name:
        (tmp_path / name).write_text(text, encoding="utf-8")
    result = support.minke("tokenizer", "train", tmp_path / (name or "x.txt"), "--out", tmp_path / "out", *flags, check=False)
    assert result.returncode == code, result.stderr
    assert message in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert not (tmp_path / "out" / "tokenizer.json").exists()
