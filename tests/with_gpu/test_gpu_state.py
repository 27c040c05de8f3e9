"""State on a GPU. Run by `make test-gpu`, on a machine that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nb2prod.extract import extract
from nb2prod.extract.package import codecs
from nb2prod.validation import prove, write_package
from nb2prod.validation.probe.faithful import difference
from nb2prod.validation.probe.pickling import Homes
from nb2prod.validation.probe.storing import Stored, store
from tests import plans
from tests.plans import book
from tests.with_torch.test_torch_state import SERVE, TRAIN

NONE = Homes.now({}, {})


def through(value: Any) -> tuple[Any, Stored]:
    """A value that was stored and read back, and how."""
    stored, data = store(value, NONE, codecs)
    return codecs.read(data, stored.codec, stored.trusted, NONE.find), stored


def layers() -> nn.Module:
    made = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return made.cuda().eval()


@pytest.mark.parametrize(
    ("make", "codec"),
    [
        (lambda: torch.arange(6, device="cuda").reshape(2, 3), "safetensors"),
        (lambda: torch.ones(2, dtype=torch.bfloat16, device="cuda"), "safetensors"),
        (lambda: nn.Parameter(torch.ones(2, device="cuda")), "safetensors"),
        (layers, "safetensors"),
        (lambda: layers().state_dict(), "safetensors"),
        (lambda: {"here": torch.ones(1), "there": torch.ones(1, device="cuda")}, "safetensors"),
        (lambda: nn.LSTM(2, 2).cuda(), "pickle"),
        (lambda: torch.device("cuda"), "json"),
    ],
    ids=["tensor", "half", "parameter", "layers", "state dict", "both devices", "recurrent", "device"],
)
def test_it_comes_back_on_its_device(make: Any, codec: str) -> None:
    value = make()
    back, stored = through(value)
    assert stored.codec == codec
    assert difference(value, back) is None


def test_a_network_answers_alike() -> None:
    net, rows = layers(), torch.rand(64, 3, device="cuda")
    back, _ = through(net)
    with torch.no_grad():
        assert torch.equal(net(rows), back(rows))
    assert next(back.parameters()).is_cuda


def test_another_device_is_a_difference() -> None:
    assert difference(torch.ones(1), torch.ones(1, device="cuda")) is not None


def test_a_network_that_was_trained_on_it_answers_alike_in_another_process(tmp_path: Path) -> None:
    train = TRAIN.replace('torch.device("cpu")', 'torch.device("cuda")')
    train = train.replace("net = Net()", "net = Net().cuda()").replace("(64, 3)", '(64, 3, device="cuda")')
    notebook = book(
        tmp_path, ("", train), ("example", "rows = [[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]]"), ("model", SERVE)
    )
    run = plans.run(notebook, extract(notebook).plan)
    bundle = extract(notebook, run.evidence)
    write_package(bundle, run.folder, tmp_path / "package")
    report = prove(bundle, run, tmp_path / "package")
    assert report.passed
    assert {item.key: item.codec for item in report.state} == {
        "net": "safetensors",
        "device": "json",
        "center": "safetensors",
    }
