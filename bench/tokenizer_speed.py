#!/usr/bin/env python3
"""minke's tokenizer beside the `tokenizers` package, one thread each, on 10 MB of mixed text made from a seed.

    python3 bench/tokenizer_speed.py VOCABULARY [--program build/release/bench/minke_tokenizer] [--megabytes 10]

VOCABULARY is a folder with DeepSeek-V3's tokenizer.json (tools/fetch_vocabularies.py). The text: English, code,
Chinese, Japanese, Cyrillic, numbers and emoji, words drawn from the vocabulary's own tokens with Zipf weights, in
documents of a few kilobytes. minke takes it as one text; the package takes it as one text and as a list of documents,
with `encode` and with `encode_fast` (no offsets), and its best counts. The ids of both must be equal.
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vocabulary", type=pathlib.Path)
    parser.add_argument("--program", default="build/release/bench/minke_tokenizer")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--repetitions", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()  # before these imports: --help needs no package

import tokenizers  # noqa: E402


def byte_alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}


def vocabulary_words(folder):
    """{script: words, most frequent first}: merges were learned from frequent to rare, so the id is a rank."""
    alphabet = byte_alphabet()
    vocab = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    patterns = {"english": r" [a-z]{2,}", "code": r" ?[A-Za-z_]{2,}", "chinese": "[\u4e00-\u9fa5]+",
                "japanese": "[\u3040-\u30ff]+", "cyrillic": r" [\u0400-\u04ff]+"}
    words = {script: [] for script in patterns}
    for token, _ in sorted(vocab.items(), key=lambda item: item[1]):
        try:
            text = bytes(alphabet[c] for c in token).decode()
        except (KeyError, UnicodeDecodeError):
            continue
        for script, pattern in patterns.items():
            if re.fullmatch(pattern, text):
                words[script].append(text)
    return words


def mixed_text(folder, size, seed=1):
    """Documents whose joined UTF-8 has about `size` bytes."""
    rng = random.Random(seed)
    words = vocabulary_words(folder)
    weights = {script: [1 / (rank + 8) for rank in range(len(all_words))] for script, all_words in words.items()}

    def draw(script, count):
        return rng.choices(words[script], weights[script], k=count)

    def prose(script, stop, comma):
        parts = draw(script, rng.randrange(5, 25))
        parts[rng.randrange(len(parts))] += comma
        return "".join(parts).strip() + stop

    def line_of_code():
        names = draw("code", 4)
        indent = "    " * rng.randrange(4)
        return rng.choice([f"{indent}{names[0]}.{names[1]}({names[2]}, {rng.randrange(10000)})\n",
                           f"{indent}if {names[0]} == \"{names[1]}\": return {names[2]}[{names[3]}]\n",
                           f"{indent}// {names[0]} {names[1]} {names[2]}\n", f"\t{names[0]} = {{{names[1]}: 0x{rng.randrange(1 << 32):x}}};\n"])

    makers = [(10, lambda: prose("english", ". ", ",")), (3, line_of_code), (6, lambda: prose("chinese", "。", "，")),
              (1, lambda: prose("japanese", "。\n", "、")), (1, lambda: prose("cyrillic", ".\n", ",")),
              (1, lambda: f"{rng.randrange(1 << 40)} {rng.random():.6f} 20{rng.randrange(100):02d}-{rng.randrange(1, 13):02d}\n"),
              (0.5, lambda: "".join(rng.choices("😀🎉👍🏽🇩🇪✨🚀", k=3)) + "\n\n"), (0.5, lambda: prose("english", "?\n\n", "'s")),
              # Names and misspellings: words that are no token.
              (2, lambda: " " + "".join(rng.choices("abcdefghijklmnoprstuvwyz", k=rng.randrange(5, 14))) + " ")]
    total, documents = 0, []
    while total < size:
        document = "".join(maker() for maker in rng.choices([m for _, m in makers], [w for w, _ in makers], k=40)) + "\n\n"
        documents.append(document)
        total += len(document.encode())
    return documents


def best_of(repetitions, work):
    times = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
    return min(times), result


def main(options):
    documents = mixed_text(options.vocabulary, int(options.megabytes * 1e6))
    text = "".join(documents)
    megabytes = len(text.encode()) / 1e6

    reference = tokenizers.Tokenizer.from_file(str(options.vocabulary / "tokenizer.json"))
    fast = getattr(reference, "encode_fast", None)
    ways = {"encode, documents": lambda: [reference.encode(d, add_special_tokens=False) for d in documents],
            "encode, one text": lambda: reference.encode(text, add_special_tokens=False)}
    if hasattr(reference, "encode_batch_fast"):
        ways["encode_batch_fast, documents"] = lambda: reference.encode_batch_fast(documents, add_special_tokens=False)
    if fast:
        ways["encode_fast, one text"] = lambda: fast(text, add_special_tokens=False)
    speeds, ids = {}, None
    for name, work in ways.items():
        seconds, result = best_of(options.repetitions, work)
        speeds[name] = megabytes / seconds
        print(f"tokenizers {tokenizers.__version__} {name}: {speeds[name]:.2f} MB/s", flush=True)
        if name == "encode, one text":
            ids = result.ids
        del result

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mixed.txt"
        path.write_bytes(text.encode())
        output = subprocess.run([options.program, options.vocabulary, path], check=True, capture_output=True, text=True).stdout
    print(output, end="")
    tokens, ours = (float(re.search(rf" {field} ([\d.]+)", output)[1]) for field in ("tokens", "encode_best"))
    if int(tokens) != len(ids):
        raise SystemExit(f"minke made {int(tokens)} tokens, tokenizers {len(ids)}")
    best = max(speeds.values())
    print(f"{megabytes:.1f} MB, {len(ids)} tokens: minke {ours:.1f} MB/s, tokenizers {best:.1f} MB/s, ratio {ours / best:.1f}")


if __name__ == "__main__":
    main(ARGS)
