#!/usr/bin/env python3
"""Writes minke/text/unicode_tables.inc: the code point classes that the pre-tokenizer's patterns name.

The version must be the one of the `tokenizers` package that checkpoints are made and checked with (Oniguruma: Unicode
16.0), not that of the Python that happens to run this: a newly assigned letter would change token ids.

    pip install unicodedata2==16.0.0 && python3 tools/make_unicode_tables.py
"""
import pathlib
import sys

import unicodedata2

VERSION = "16.0.0"
# White_Space of PropList.txt; not a general category, and unchanged since Unicode 6.3.
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
CLASSES = {"L": "kLetter", "M": "kMark", "N": "kNumber", "P": "kPunctuation", "S": "kSymbol"}


def class_of(code_point):
    if code_point in WHITE_SPACE:
        return "kSpace"
    return CLASSES.get(unicodedata2.category(chr(code_point))[0], "kOther")


def main():
    if unicodedata2.unidata_version != VERSION:
        sys.exit(f"unicodedata2 has Unicode {unicodedata2.unidata_version}, needed: {VERSION}")
    ranges = []
    for code_point in range(0x110000):
        name = class_of(code_point)
        if not ranges or ranges[-1][1] != name:
            ranges.append((code_point, name))
    out = pathlib.Path(__file__).resolve().parent.parent / "minke/text/unicode_tables.inc"
    with open(out, "w", encoding="ascii") as f:
        f.write(f"// Unicode {VERSION}; made by tools/make_unicode_tables.py. {len(ranges)} ranges: first code point, class.\n")
        line = ""
        for first, name in ranges:
            entry = f"{{0x{first:X}, CharClass::{name}}}, "
            if len(line) + len(entry) > 119:
                f.write(line.rstrip() + "\n")
                line = ""
            line += entry
        f.write(line.rstrip() + "\n")


if __name__ == "__main__":
    main()
