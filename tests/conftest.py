"""Shared by the tests: where the program is, how it is called, and the golden cases."""

import pytest

import support


@pytest.fixture(scope="session")
def kernel_sets():
    """Names of the kernel sets that this CPU (or the emulated one) runs."""
    return support.kernel_sets()
