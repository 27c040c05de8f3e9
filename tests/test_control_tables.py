"""The durable routing tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nb2prod.control import tables
from nb2prod.domain import Endpoint, Route
from nb2prod.errors import UsageError

ENDPOINT = Endpoint("a", "http://127.0.0.1:8000/a", (Route("a", 3, "/releases/a"),), 7, "then", 2)


def written(home: Path) -> Path:
    table = tables.path(home, "a")
    table.parent.mkdir(parents=True)
    tables.write(table, ENDPOINT)
    return table


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert tables.read(written(tmp_path)) == ENDPOINT
    assert tables.read_all(tmp_path) == (ENDPOINT,)
    assert [p.name for p in tables.folder(tmp_path).iterdir()] == ["a.json"]


def test_a_table_that_knows_no_replicas_has_one(tmp_path: Path) -> None:
    table = written(tmp_path)
    data = json.loads(table.read_text())
    del data["num_replicas"]
    table.write_text(json.dumps(data))
    found = tables.read(table)
    assert found is not None
    assert found.num_replicas == 1


def test_a_cluster_on_another_port_moves_the_url_and_nothing_else(tmp_path: Path) -> None:
    table = written(tmp_path)
    tables.move(tmp_path, "http://127.0.0.1:8010", "127.0.0.1:8011")
    found = tables.read(table)
    assert found is not None
    assert (found.url, found.grpc) == ("http://127.0.0.1:8010/a", "127.0.0.1:8011")
    assert (found.generation, found.routes, found.num_replicas) == (7, ENDPOINT.routes, 2)


@pytest.mark.parametrize("name", ["", "../a", "a b", "_a", "a/b", "ä"])
def test_names_that_no_endpoint_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for an endpoint"):
        tables.path(tmp_path, name)
