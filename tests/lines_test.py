"""Lines of the C++ sources have 120 columns at most; .clang-format says so too, and this needs no clang-format."""

import re

import support

COLUMNS = 120
# Text in raw strings stands as its readers need it: prompts, patterns, JSON.
RAW_STRING = re.compile(r'R"(\w*)\(.*?\)\1"', re.DOTALL)
SOURCES = sorted(path for folder in ("minke", "bench") for path in (support.ROOT / folder).rglob("*")
                 if path.suffix in (".cc", ".h", ".inc"))


def too_long(text):
    text = RAW_STRING.sub(lambda raw: re.sub(r"[^\n]+", "R", raw[0]), text)
    return [number for number, line in enumerate(text.split("\n"), start=1) if len(line) > COLUMNS]


def test_no_line_is_longer_than_120_columns():
    assert len(SOURCES) > 200
    found = {str(path.relative_to(support.ROOT)): too_long(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: numbers for path, numbers in found.items() if numbers} == {}


def test_columns_count_characters():
    assert too_long("é" * COLUMNS + "\n" + "x" * (COLUMNS + 1)) == [2]
    assert too_long('f(R"(' + "y" * 200 + "\n" + 'z)", 1);') == []
    assert too_long('f(R"(y)",' + "x" * COLUMNS) == [1]
