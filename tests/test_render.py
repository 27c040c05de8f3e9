"""What people read of an endpoint's status."""

from __future__ import annotations

import pytest

from nb2prod.domain import Endpoint, EndpointStatus, Manner, Route
from nb2prod.shells import render

AT = "http://127.0.0.1:8000/a"
TABLE = [
    "ENDPOINT  STATE    VERSION  REPLICAS  URL",
    f"a         healthy  3        1         {AT}",
]
MANNERS = {
    "together": (
        Manner(True, "40 rows answered alike alone and together", {"model": "", "scaler": "no such thing"}),
        [
            "a: requests that wait go together: 40 rows answered alike alone and together",
            "a: model accelerated: onnxruntime answers",
            "a: scaler not accelerated: no such thing",
        ],
    ),
    "alone": (
        Manner(False, "a row alone fails:\nValueError", None),
        [
            "a: requests that wait go one by one: a row alone fails: ValueError",
            "a: not accelerated: it was proven without",
        ],
    ),
    "no models": (
        Manner(False, "one call takes one record", {}),
        [
            "a: requests that wait go one by one: one call takes one record",
            "a: not accelerated: it has no fitted model of scikit-learn, xgboost or lightgbm",
        ],
    ),
    "nothing could be tried": (
        Manner(True, "x" * 200, {"": "converting took longer than 600 seconds"}),
        [
            f"a: requests that wait go together: {'x' * 160} …",
            "a: models not accelerated: converting took longer than 600 seconds",
        ],
    ),
    "an old package": (
        Manner.of({"batch_safe": False}),
        [
            "a: requests that wait go one by one: its proof does not say why; "
            "`nb2prod deploy --force` proves it anew",
            "a: not accelerated: it was proven without",
        ],
    ),
    "no package": (None, []),
}


@pytest.mark.parametrize("name", MANNERS)
def test_status_says_how_a_release_serves(name: str) -> None:
    manner, expected = MANNERS[name]
    endpoint = Endpoint("a", AT, (Route("a", 3, "/releases/a"),), 7, "then")
    found = EndpointStatus(endpoint, "healthy", 1, manners=(manner,))
    assert [*render.statuses([found])] == [*TABLE, *expected]
