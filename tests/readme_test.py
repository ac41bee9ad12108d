"""The commands of README.md do what it says: each line of its code blocks that starts the program ends with exit 0."""

import re
import shlex

import support

PROGRAM = "build/release/minke "
# A code block is indented by four spaces.
COMMANDS = re.findall(rf"^    {PROGRAM}(.*)$", (support.ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_commands_of_the_readme(tmp_path):
    """In order, in a folder that has the repository's models and takes what `quantize` writes."""
    for folder in ("models", "examples", "tests"):
        (tmp_path / folder).symlink_to(support.ROOT / folder)
    for command in COMMANDS:
        arguments = shlex.split(command)
        out = support.minke(*arguments, stdin="", cwd=tmp_path).stdout
        if arguments[0] == "run":  # right, not only answered
            answer = out.strip().splitlines()[-1].split("</think>")[-1]
            assert support.solves(*support.held_out_problem(arguments[2]), answer), (command, out)


def test_the_readme_has_commands():
    assert {shlex.split(command)[0] for command in COMMANDS} >= {"chat", "run", "quantize", "inspect", "score", "doctor"}
