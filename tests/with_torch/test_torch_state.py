"""State made with PyTorch. Run by `make test-torch`: PyTorch is large, and `make test` does without."""

from __future__ import annotations

import collections
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nb2prod.extract import extract
from nb2prod.extract.package import codecs, formats
from nb2prod.validation import prove, write_package
from nb2prod.validation.probe.faithful import difference
from nb2prod.validation.probe.pickling import Homes
from nb2prod.validation.probe.storing import Stored, store
from tests import plans
from tests.plans import book

NONE = Homes.now({}, {})


def through(value: Any, homes: Homes = NONE) -> tuple[Any, Stored]:
    """A value that was stored and read back, and how."""
    stored, data = store(value, homes, codecs)
    return codecs.read(data, stored.codec, stored.trusted, homes.find), stored


LAYERS = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Dropout(0.5)).eval()
STORED: dict[str, tuple[Any, str]] = {
    "tensor": (torch.arange(6).reshape(2, 3), "safetensors"),
    "half": (torch.ones(2, dtype=torch.bfloat16), "safetensors"),
    "one number": (torch.tensor(1.5), "safetensors"),
    "nothing": ([torch.zeros(0), torch.zeros(0, 3)], "safetensors"),
    "wants a gradient": (torch.ones(2, requires_grad=True), "safetensors"),
    "parameter": (nn.Parameter(torch.ones(2), requires_grad=False), "safetensors"),
    "state dict": (LAYERS.state_dict(), "safetensors"),
    "layers": (LAYERS, "safetensors"),
    "transformer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), "safetensors"),
    "loss": (nn.CrossEntropyLoss(), "json"),
    "device": (torch.device("cpu"), "json"),
    "all sorts": (
        {"weights": LAYERS.state_dict(), "mean": np.ones(3), "names": ["a"]},
        "zip(npy,safetensors)",
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_tensors_and_modules_come_back_as_they_were(name: str) -> None:
    value, codec = STORED[name]
    back, stored = through(value)
    assert (stored.codec, stored.why) == (codec, "")
    assert difference(value, back) is None
    assert stored.modules >= {"torch"}


def tied() -> nn.Module:
    made = nn.ModuleDict({"in": nn.Embedding(3, 4), "out": nn.Linear(4, 3, bias=False)})
    made["out"].weight = made["in"].weight
    return made


def hooked() -> nn.Module:
    made = nn.Linear(1, 1)
    made.register_forward_hook(print)
    return made


BASE = torch.arange(4)
PICKLED: dict[str, tuple[Any, str]] = {
    "tied weights": (tied(), "one torch.nn.parameter.Parameter stands in two places"),
    "recurrent": (nn.LSTM(2, 2), "one torch.nn.parameter.Parameter stands in two places"),
    "views of one": ([BASE[:2], BASE[2:]], "share memory"),
    "transposed": (torch.arange(6).reshape(2, 3).T, "dense, contiguous tensors"),
    "sparse": (torch.eye(3).to_sparse(), "dense, contiguous tensors"),
    "a hook": (hooked(), "builtins.print has no safer form"),
}


@pytest.mark.parametrize("name", PICKLED)
def test_what_needs_pickle_says_why(name: str) -> None:
    value, why = PICKLED[name]
    back, stored = through(value)
    assert stored.codec == "pickle"
    assert why in stored.why
    assert type(back) is type(value)


def test_weights_that_are_one_stay_one() -> None:
    back, _ = through(tied())
    assert back["out"].weight is back["in"].weight


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "value": (torch.tensor([0.0]), torch.tensor([-0.0])),
    "dtype": (torch.ones(1), torch.ones(1, dtype=torch.float64)),
    "gradient": (torch.ones(1), torch.ones(1, requires_grad=True)),
    "strides": (torch.ones(2, 3), torch.ones(3, 2).T),
    "mode": (nn.Linear(1, 1).eval(), nn.Linear(1, 1)),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_differences_are_seen(name: str) -> None:
    one, other = DIFFERENT[name]
    assert difference(one, other) is not None


def test_the_metadata_of_a_state_dict_is_kept() -> None:
    back, _ = through(LAYERS.state_dict())
    assert type(back) is collections.OrderedDict
    assert back._metadata == LAYERS.state_dict()._metadata


def test_a_tampered_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, data = store(LAYERS, NONE, codecs)
    sha256 = hashlib.sha256(data).hexdigest()
    item = {"file": "s", "codec": stored.codec, "sha256": sha256, "trusted": list(stored.trusted)}
    (tmp_path / "s").write_bytes(data)
    assert difference(codecs.load(tmp_path, item), LAYERS) is None
    with pytest.raises(codecs.DamagedState, match=r"s: it names torch.nn.modules.*does not trust"):
        codecs.load(tmp_path, {**item, "trusted": []})
    (tmp_path / "s").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    monkeypatch.setattr(codecs, "read", None)
    with pytest.raises(codecs.DamagedState, match="not the file that was proven"):
        codecs.load(tmp_path, item)


def test_a_device_that_is_not_here_is_named() -> None:
    stored, data = store(torch.ones(2), NONE, codecs)
    text, tensors = formats.read_safetensors(data)
    elsewhere = json.loads(text)
    elsewhere["$tensor"].append(f"cuda:{torch.cuda.device_count()}")
    moved = formats.safetensors(tensors, json.dumps(elsewhere))
    with pytest.raises(RuntimeError, match=r"a tensor on cuda:\d+, which is not here: give the replica one"):
        codecs.read(moved, stored.codec, stored.trusted, NONE.find)


def test_reading_an_estimator_does_not_load_torch_in_passing() -> None:
    code = (
        "import sys\nfrom nb2prod.extract.package import codecs\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "codecs.write(StandardScaler().fit([[1.0]]))\nassert 'skops' in sys.modules\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


TRAIN = """
import torch
from torch import nn
torch.manual_seed(0)
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner, self.act = nn.Linear(width, width), torch.nn.functional.relu
    def forward(self, x):
        return x + self.act(self.inner(x))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(3) for _ in range(2)])
        self.last = nn.Linear(3, 1)
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.last(x)
net = Net()
device = torch.device("cpu")
inputs = torch.randn(64, 3)
target = inputs.sum(1, keepdim=True)
best = torch.optim.Adam(net.parameters())
for _ in range(5):
    best.zero_grad()
    nn.functional.mse_loss(net(inputs), target).backward()
    best.step()
net = net.eval()
center = inputs.mean(0)
"""
SERVE = """
with torch.no_grad():
    answer = net(torch.tensor(rows, dtype=torch.float32).to(device) - center)
answer[:, 0].tolist()
"""


def test_a_network_of_the_notebook_answers_alike_in_another_process(tmp_path: Path) -> None:
    notebook = book(
        tmp_path, ("", TRAIN), ("example", "rows = [[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]]"), ("model", SERVE)
    )
    run = plans.run(notebook, extract(notebook).plan)
    bundle = extract(notebook, run.evidence)
    write_package(bundle, run.folder, tmp_path / "package")
    report = prove(bundle, run, tmp_path / "package")
    assert report.passed
    found = {item.key: item for item in report.state}
    assert {key: item.codec for key, item in found.items()} == {
        "net": "safetensors",
        "device": "json",
        "center": "safetensors",
    }
    assert {".helpers:Net", ".helpers:Block", "torch.nn.functional:relu"} <= set(found["net"].trusted)
    assert report.pickled == ()
