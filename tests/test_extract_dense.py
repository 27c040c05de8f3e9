"""Notebooks that are hard to follow: extraction ends soon, and says the same each time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nb2prod.extract import check
from nb2prod.notebook import read
from tests.dense import DENSE, both, mutual
from tests.made import notebook

SECONDS = 5.0
"""Of CPU. The slowest takes 3 on the machine that this was written on, many took minutes before."""


@pytest.mark.parametrize("name", DENSE)
def test_check_ends_soon(name: str, tmp_path: Path) -> None:
    book = read(notebook(tmp_path, *DENSE[name]()))
    began = time.process_time()
    check(book)
    assert time.process_time() - began < SECONDS


def test_the_same_is_found_each_time(tmp_path: Path) -> None:
    book = read(notebook(tmp_path, *both()))
    assert check(book) == check(book)


def test_what_is_too_dense_to_follow_is_refused(tmp_path: Path) -> None:
    """All functions may change `shared`, and some do: too many calls to tell which."""
    found = check(read(notebook(tmp_path, *mutual())))
    assert "NB228" in {finding.code for finding in found if finding.severity == "error"}
