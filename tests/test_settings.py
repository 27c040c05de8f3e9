"""[tool.nb2prod]: what it may say, and what is told where it says something else."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from nb2prod.errors import UsageError
from nb2prod.project import Settings, wrong
from nb2prod.serving.limits import SETTINGS, Limits

SETTINGS_THAT_DO_NOT_FIT = {
    "host = 1": "a text",
    "port = 0": "a whole number from 1 to 65535",
    "num_replicas = 0": "a whole number, 1 or more",
    "rtol = -0.1": "a number, 0 or more",
    "accelerate = 1": "true or false",
    "max_rows = 0": "a whole number, 1 or more",
    "max_body = 1.5": "a whole number, 1 or more",
    "batch_rows = true": "a whole number, 1 or more",
    "timeout_s = inf": "a number of seconds, more than 0 and at most 86400",
    "body_s = '5'": "a number of seconds, more than 0 and at most 86400",
    "unseen = 'drop'": "'count' or 'refuse'",
}


@pytest.mark.parametrize("line", SETTINGS_THAT_DO_NOT_FIT)
def test_a_setting_that_does_not_fit_is_told_what_is_expected(line: str) -> None:
    table, name = tomllib.loads(line), line.partition(" ")[0]
    with pytest.raises(UsageError) as raised:
        Settings.of(table, Path("pyproject.toml"))
    assert f"[tool.nb2prod]: `{name}` is {table[name]!r}" in str(raised.value)
    assert raised.value.hint is not None
    assert raised.value.hint.startswith(f"Expected {SETTINGS_THAT_DO_NOT_FIT[line]}; without it")


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(UsageError, match=r"tool\.nb2prod is True"):
        Settings.of(True, Path("pyproject.toml"))


def test_every_limit_is_a_setting_with_a_default_that_fits() -> None:
    assert [*SETTINGS] == [field.name for field in dataclasses.fields(Limits)]
    assert all(wrong(f.name, f.default) is None for f in dataclasses.fields(Settings))
    assert Settings.of({"max_rows": 5, "rtol": 0}, Path("p")).limits == Limits(max_rows=5)


def test_a_name_that_is_no_setting_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="no setting `max_row`") as raised:
        Settings.of({"max_row": 1}, Path("pyproject.toml"))
    assert raised.value.hint == "Did you mean `max_rows`?"
