"""The tables of tools/make_unicode_tables.py against the `tokenizers` package, on all 1,112,064 code points."""

import re

import pytest

import support

tokenizers = pytest.importorskip("tokenizers")

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CLASSES = {"kLetter": r"\p{L}", "kMark": r"\p{M}", "kNumber": r"\p{N}", "kPunctuation": r"\p{P}", "kSymbol": r"\p{S}",
           "kSpace": r"\s"}


def our_classes():
    text = (support.ROOT / "minke" / "text" / "unicode_tables.inc").read_text(encoding="ascii")
    ranges = [(int(first, 16), name) for first, name in re.findall(r"\{0x([0-9A-F]+), CharClass::(\w+)\}", text)]
    members = {name: set() for name in [*CLASSES, "kOther"]}
    for (first, name), (end, _) in zip(ranges, [*ranges[1:], (0x110000, "")], strict=True):
        members[name].update(range(first, end))
    return members


def test_classes_equal_tokenizers():
    ours = our_classes()
    every_character = "".join(map(chr, CODE_POINTS))
    for name, pattern in CLASSES.items():
        splitter = tokenizers.pre_tokenizers.Split(tokenizers.Regex(f"(?:{pattern})+"), "removed")
        others = {ord(c) for piece, _ in splitter.pre_tokenize_str(every_character) for c in piece}
        theirs = set(CODE_POINTS) - others
        assert ours[name] == theirs, [hex(c) for c in sorted(ours[name] ^ theirs)[:20]]
