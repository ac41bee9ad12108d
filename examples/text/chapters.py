#!/usr/bin/env python3
"""Writes the King James Bible, of Debian's packages bible-kjv and bible-kjv-text, as text to train on.

FOLDER/train.jsonl has a chapter a line, {"text": ...}; heldout.txt has every twentieth chapter, which is not in it.
"""

import argparse
import itertools
import json
import pathlib
import re
import subprocess


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=pathlib.Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    text = subprocess.run(["bible", "-f", "Gen1:1-Rev22:21"], check=True, capture_output=True, text=True).stdout
    verses = re.findall(r"^(\S+?)(\d+):\d+ (.+)$", text, re.MULTILINE)
    chapters = ["\n".join(verse for _, _, verse in chapter) for _, chapter in itertools.groupby(verses, lambda v: v[:2])]
    heldout = [chapter for i, chapter in enumerate(chapters) if i % 20 == 19]
    with open(folder / "train.jsonl", "w", encoding="utf-8") as file:
        for i, chapter in enumerate(chapters):
            if i % 20 != 19:
                print(json.dumps({"text": chapter}, ensure_ascii=False), file=file)
    (folder / "heldout.txt").write_text("\n\n".join(heldout) + "\n", encoding="utf-8")
    print(f"{len(chapters) - len(heldout)} chapters to train on, {len(heldout)} held out")


if __name__ == "__main__":
    main()
