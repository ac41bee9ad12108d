"""Newer instructions stay inside minke/kernels/isa: every other object runs on an x86-64-v2 CPU, and no isa unit defines a
symbol that the linker could hand to others (minke/kernels/isa/isa_unit.h says why)."""

import pathlib
import platform
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOMS = ROOT / "build" / "release" / "rooms"
# Objects of the library minke_kernels that are built with -m flags of their own.
ISA_OBJECTS = {f"{path.name}.o" for path in (ROOT / "minke" / "kernels" / "isa").glob("*.cc")}
# AVX registers, mask registers, or any VEX/EVEX mnemonic (all start with v; verr and verw are old).
NEWER = re.compile(r"%[yz]mm\d|%k[1-7]\b|\sv(?!err|erw)[a-z0-9]+\s")

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 objects only")


def members(archive):
    return subprocess.run(["ar", "t", archive], capture_output=True, text=True, check=True).stdout.split()


def archives():
    found = sorted(ROOMS.glob("*/libminke_*.a"))
    if not found:
        pytest.skip("build/release has no libraries")
    return found


def is_isa(archive, member):
    return archive.name == "libminke_kernels.a" and member in ISA_OBJECTS


def disassembly(archive):
    """member -> its instructions, one a line."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", archive], capture_output=True, text=True,
                          check=True).stdout
    parts = re.split(r"^(\S+\.o):\s+file format.*$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def test_baseline_objects_have_no_newer_instruction():
    checked, leaks = 0, []
    for archive in archives():
        for member, code in disassembly(archive).items():
            if is_isa(archive, member):
                continue
            checked += 1
            leak = NEWER.search(code)
            if leak:
                line = code[code.rfind("\n", 0, leak.start()) + 1:code.find("\n", leak.end())]
                leaks.append(f"{archive.name}({member}): {line.strip()}")
    assert not leaks, "\n".join(leaks)
    assert checked > 30


def test_the_pattern_sees_newer_instructions():
    kernels = next(archive for archive in archives() if archive.name == "libminke_kernels.a")
    code = disassembly(kernels)
    for member in ("avx2.cc.o", "avx512.cc.o"):
        assert NEWER.search(code[member]), member


def test_isa_objects_define_nothing_that_others_could_pick_up():
    checked = 0
    for archive in archives():
        for member in members(archive):
            if not is_isa(archive, member):
                continue
            checked += 1
            listing = subprocess.run(["nm", "-C", "--defined-only", archive], capture_output=True, text=True,
                                     check=True).stdout
            section = listing.split(f"\n{member}:\n")[1].split("\n\n")[0]
            shared = [line for line in section.splitlines() if re.search(r"^[0-9a-f]+ [VWu] ", line)]
            assert not shared, f"{member}: {shared[:3]}"
    assert checked == len(members_of_isa())


def members_of_isa():
    return [member for archive in archives() for member in members(archive) if is_isa(archive, member)]
