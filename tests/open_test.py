"""A checkpoint of 16 GB opens at once and stays in its files: made as file holes, so that it costs no disk."""

import json
import shutil
import subprocess
import sys
import time

import pytest

import support

MOST_SECONDS = 1.0
MOST_PRIVATE = 200e6


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    folder = tmp_path_factory.mktemp("big") / "big16"
    subprocess.run([sys.executable, support.ROOT / "tools" / "make_checkpoint.py", folder, "--preset", "big16", "--sparse",
                    "--tokenizer", support.NANO], check=True, stdout=subprocess.DEVNULL)
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size > 15e9, size
    yield folder
    shutil.rmtree(folder)


def private_bytes(pid):
    """Memory of the process that no file backs, or 0 once it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            fields = dict(line.split(":", 1) for line in rollup if ":" in line)
        return sum(int(fields[name].split()[0]) * 1024 for name in ("Private_Clean", "Private_Dirty"))
    except (FileNotFoundError, ProcessLookupError, KeyError, PermissionError):
        return 0


def watch(*arguments):
    """Runs minke and returns (seconds, most private bytes seen, standard output)."""
    begin = time.perf_counter()
    process = subprocess.Popen([*support.COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        most = max(most, private_bytes(process.pid))
        time.sleep(0.0002)
    seconds = time.perf_counter() - begin
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return seconds, most, output


def test_open_takes_no_time_and_no_memory(big):
    watch("inspect", big, "--json")  # the first run reads the headers from disk
    for _ in range(50):  # a run of a few milliseconds may end before its memory has been looked at
        seconds, private, output = watch("inspect", big, "--json")
        if private > 0:
            break
    assert json.loads(output)
    assert private > 0
    assert seconds < MOST_SECONDS, f"{seconds:.2f} s"
    assert private < MOST_PRIVATE, f"{private / 1e6:.0f} MB"
