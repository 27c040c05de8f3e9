"""What objects of the notebook's classes lose on their way through a file, and when that is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nb2prod.extract import extract
from nb2prod.notebook import read
from nb2prod.validation.probe.finding import Finding
from nb2prod.validation.probe.lost import holds_own, lost
from nb2prod.validation.probe.pickling import Homes, pickled, restore
from tests.made import notebook

ITEM = {"name": "m", "bound_cell": "c", "bound_number": 1, "bound_line": 2}


class Plain:
    __module__ = "__main__"

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


class Dropping(Plain):
    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if not key.startswith("_") and key != "extra"}


class Rebuilding(Dropping):
    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.extra = {}
        self._lock = threading.Lock()


class Slotted:
    __module__ = "__main__"
    __slots__ = ("a", "b")

    def __init__(self, a: int, b: int) -> None:
        self.a, self.b = a, b

    def __reduce__(self) -> tuple[Any, ...]:
        return Slotted, (self.a, 0)


class Rows(list):  # type: ignore[type-arg]
    __module__ = "__main__"

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows, (list(self)[:1],)


class Named(np.ndarray):
    __module__ = "__main__"


class Table(pd.DataFrame):
    __module__ = "__main__"


class Cached(Dropping):
    @cached_property
    def extra(self) -> int:
        return 3


def asked(value: Any) -> Any:
    return value.extra and value


def named() -> Any:
    made = np.zeros(2).view(Named)
    made.extra = 1
    return made


def table() -> Any:
    made = Table({"a": [1]})
    object.__setattr__(made, "extra", 1)
    return made


def lossy(value: Any, *read: str) -> list[Finding]:
    kinds = {k.__name__: k for k in (Plain, Dropping, Rebuilding, Slotted, Rows, Named, Table, Cached)}
    homes = Homes.now(kinds, dict.fromkeys(kinds, "helpers"))
    assert holds_own(value)
    return list(lost(ITEM, value, restore(pickled(value, homes)), homes, read))


LOST: dict[str, tuple[Any, str]] = {
    "an attribute": (Dropping(extra=1), "`m.extra`"),
    "an attribute made otherwise": (Rebuilding(extra={"b": 9}), "`m.extra`"),
    "of a part": ({"a": [Dropping(extra=1)]}, "`m['a'][0].extra`"),
    "of a part of an own object": (Plain(inner=Dropping(extra=1)), "`m.inner.extra`"),
    "of what a partial holds": (partial(len, Dropping(extra=1)), "`m.args[0].extra`"),
    "of an element": (np.array([Dropping(extra=1)], dtype=object), "`m.flat[0].extra`"),
    "a slot": (Slotted(1, 2), "`m.b`"),
    "items": (Rows([1, 2]), "what `m` holds"),
    "of an array": (named(), "`m.extra`"),
    "of a table": (table(), "`m.extra`"),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_is_named(name: str) -> None:
    value, what = LOST[name]
    (finding,) = lossy(value, "extra", "b")
    assert (finding.code, finding.severity, finding.number, finding.line) == ("NB316", "error", 1, 2)
    assert finding.message.startswith(what)


def test_the_method_that_drops_it_is_named() -> None:
    assert "`Dropping.__getstate__` leaves it out" in lossy(Rebuilding(extra=1), "extra")[0].message
    assert "`ndarray.__reduce_ex__` leaves it out" in lossy(named(), "extra")[0].message


@pytest.mark.parametrize(
    "value",
    [
        Plain(a=1, b=np.array([np.nan]), c={"x": [None]}, d={1, 2}, e=pd.Series([np.arange(2)])),
        Rebuilding(extra={}, _lock=threading.Lock()),
        [Plain(), {Plain()}],
        np.zeros(2).view(Named),
        Table({"a": [1]}),
    ],
    ids=["faithful", "made anew", "nothing to lose", "array", "table"],
)
def test_nothing_is_lost(value: Any) -> None:
    assert lossy(value, "*") == []


def test_a_cached_property_is_computed_again() -> None:
    value = Cached()
    assert value.extra == 3
    assert "extra" in vars(value)
    assert lossy(value, "*") == []


def test_only_what_serving_code_reads_is_refused() -> None:
    severities: Callable[..., list[str]] = lambda *read: [f.severity for f in lossy(Dropping(extra=1), *read)]  # noqa: E731
    assert severities("other") == ["info"]
    assert severities("*") == ["error"]
    assert [f.severity for f in lossy(Dropping(_lock=threading.Lock()), "_lock")] == ["warning"]


def test_attributes_that_serving_code_reads(tmp_path: Any) -> None:
    """Of a class, those in the methods that may be called; storing it is no answering."""
    source = (
        "class Model:\n"
        "    def __init__(self, **given):\n        self.__dict__.update(given)\n"
        "    def fit(self):\n        self.trained\n        return self\n"
        "    def __getstate__(self):\n        return {'kept': self.stored}\n"
        "    def score(self, x):\n        return self._inner(x)\n"
        "    def _inner(self, x):\n        return getattr(self, 'by_text', 0)\n"
        "m = Model().fit()"
    )
    cells = (("", source), ("example", "request = {'a': 1}"), ("model", "m.score(request['a'])"))
    read_ = set(extract(read(notebook(tmp_path, *cells))).plan.attributes)
    assert {"score", "_inner", "by_text"} <= read_
    assert not {"trained", "stored", "kept", "*"} & read_
