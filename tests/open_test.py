"""A checkpoint of 16 GB opens at once and stays in its files: made as file holes, so that it costs no disk.

Private memory is what no file backs: pages of the mapped weights can be dropped at any time and are not counted."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

import support

pytestmark = pytest.mark.xdist_group("open")  # one process makes the 16 GB

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
        return int(fields["Anonymous"].split()[0]) * 1024
    except (FileNotFoundError, ProcessLookupError, KeyError, PermissionError):
        return 0


def watch(*arguments, returncode=0):
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
    assert process.returncode == returncode, errors
    return seconds, most, output


def ids_file(folder, count):
    path = folder / f"{count}.safetensors"
    save_file({"input_ids": np.ones(count, np.int64)}, path)
    return path


def test_open_takes_no_time_and_no_memory(big, tmp_path):
    """Everything is opened and checked, then a prompt longer than the context is refused."""
    too_long = ids_file(tmp_path, 200_000)
    watch("score", big, "--ids", too_long, returncode=2)  # the first run reads the headers from disk
    seconds, private, _ = watch("score", big, "--ids", too_long, returncode=2)
    assert seconds < MOST_SECONDS, f"{seconds:.2f} s"
    assert 0 < private < MOST_PRIVATE, f"{private / 1e6:.0f} MB"


@pytest.mark.slow
def test_the_first_token_takes_little_memory(big, tmp_path):
    """The forward pass reads the weights where they lie."""
    _, private, output = watch("score", big, "--ids", ids_file(tmp_path, 1), "--greedy", 1, "--context", 64, "--json")
    assert json.loads(output)["generated_tokens"] == 1
    assert 0 < private < MOST_PRIVATE, f"{private / 1e6:.0f} MB"
