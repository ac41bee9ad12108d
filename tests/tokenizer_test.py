"""The tokenizer against golden ids, against the `tokenizers` package on random text, and against the clock."""

import random
import resource
import subprocess
import sys
import unicodedata

import pytest

import support

GOLDEN = support.GOLDEN / "tokenizer"
MEGABYTE = 1 << 20


@pytest.fixture(scope="session")
def vocabularies():
    subprocess.run([sys.executable, support.ROOT / "tools" / "fetch_vocabularies.py"], check=True)
    return support.BUILD / "testdata"


@pytest.fixture(scope="session")
def reference(vocabularies):
    import tokenizers
    return tokenizers.Tokenizer.from_file(str(vocabularies / "deepseek_v3" / "tokenizer.json"))


def encode(folder, texts):
    replies = support.pipe_json("tokenize", folder, objects=[{"text": text} for text in texts])
    return [reply["ids"] for reply in replies]


@pytest.mark.parametrize("file, vocabulary", [("encode.jsonl", "deepseek_v3"), ("encode_think.jsonl", "deepseek_r1")])
def test_golden_ids(file, vocabulary, vocabularies):
    cases = support.json_lines(GOLDEN / file)
    assert cases
    got = encode(vocabularies / vocabulary, [case["text"] for case in cases])
    for case, ids in zip(cases, got, strict=True):
        assert ids == case["ids"], case["text"]


def test_golden_decode(vocabularies):
    cases = support.json_lines(GOLDEN / "decode.jsonl")
    replies = support.pipe_json("tokenize", vocabularies / "deepseek_v3", "--decode",
                                objects=[{"ids": case["ids"]} for case in cases])
    for case, reply in zip(cases, replies, strict=True):
        assert reply["bytes_hex"] == case["bytes_hex"]
        assert reply["text"] == case["text"]


def random_texts(count, seed):
    """Text that is hard on a splitter: all planes and categories, runs, joined marks, line ends, pieces of markers."""
    rng = random.Random(seed)
    assigned = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn"]
    common = list("  \n\r\t\u00a0\u3000'’.,;:!?-_()[]{}<>|/\\0123456789abcXYZäßéñ中文日本語한국어кириллицаहिन्दीعربي😀👩‍💻🇩🇪")
    pieces = ["'s", "'LL", "\r\n", "   ", "\n\n  ", "<｜User｜>", "<｜begin▁of▁sentence｜>", "<｜", "｜>", "www.", "1234567", "e\u0301",
              "don't", "Hello", "world", "naïve", "\u200b", "\u200d", "\ufeff", "\0", "\x7f", "\U0010ffff", "▁", "Ġ", "Ċ"]
    for _ in range(count):
        parts = []
        for _ in range(rng.randrange(1, 40)):
            kind = rng.random()
            if kind < 0.45:
                parts.append(rng.choice(common) * rng.choice([1, 1, 1, 2, 5]))
            elif kind < 0.75:
                parts.append(rng.choice(pieces))
            else:
                parts.append(rng.choice(assigned))
        yield "".join(parts)


def test_random_text_equals_tokenizers(vocabularies, reference):
    texts = list(random_texts(4000, seed=7))
    got = encode(vocabularies / "deepseek_v3", texts)
    for text, ids in zip(texts, got, strict=True):
        assert ids == reference.encode(text, add_special_tokens=False).ids, ascii(text)


def test_every_character_equals_tokenizers(vocabularies, reference):
    """Each assigned character between letters, digits and spaces: the Unicode tables of the splitter."""
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000
                  and (c < 0x3400 or unicodedata.category(chr(c)) not in ("Cn", "Co", "Lo"))]
    texts = ["".join(f"a{c}1{c} {c}{c}\n" for c in characters[i : i + 64]) for i in range(0, len(characters), 64)]
    got = encode(vocabularies / "deepseek_v3", texts)
    for text, ids in zip(texts, got, strict=True):
        assert ids == reference.encode(text, add_special_tokens=False).ids, ascii(text)


def test_decode_returns_the_bytes(vocabularies):
    texts = list(random_texts(500, seed=11))
    ids = encode(vocabularies / "deepseek_v3", texts)
    replies = support.pipe_json("tokenize", vocabularies / "deepseek_v3", "--decode", objects=[{"ids": i} for i in ids])
    for text, reply in zip(texts, replies, strict=True):
        assert reply["bytes_hex"] == text.encode().hex()
        assert reply["text"] == text


def cpu_seconds(vocabularies, text):
    """Processor time of one `minke tokenize`, which has one thread: other work on the machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    (ids,) = encode(vocabularies / "deepseek_v3", [text])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert bool(ids) == bool(text)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("unit", ["a", " ", "7", "😀", "\n", "ab ", "<｜", "'", "中", "e\u0301"])
def test_a_megabyte_takes_under_a_second(unit, vocabularies):
    """One line of a megabyte, less an empty line: opening the vocabulary is not the question."""
    text = unit * (MEGABYTE // len(unit.encode()))
    base = min(cpu_seconds(vocabularies, "") for _ in range(3))
    whole = cpu_seconds(vocabularies, text)
    assert whole - base < 1.0, f"{whole - base:.2f} s"


def test_twice_the_text_takes_twice_the_time(vocabularies):
    def seconds(size):
        return min(cpu_seconds(vocabularies, "a" * size) for _ in range(2))

    base = seconds(0)
    one, two = seconds(4 * MEGABYTE) - base, seconds(8 * MEGABYTE) - base
    assert two <= 2.2 * one + 0.05, (one, two)
