"""Tests that take `isa` run once on each kernel set of this build; those that the CPU lacks are skipped by name."""

import pytest

import support


def pytest_generate_tests(metafunc):
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", [
            pytest.param(name, id=f"isa={name}",
                         marks=[] if supported else pytest.mark.skip(reason=f"this CPU does not have {name}"))
            for name, supported in support.kernel_sets().items()
        ])
