"""How long extraction takes, how much memory, and how both grow with the notebook.

Run from the root of the repository: python -m bench.extraction [--profile CELLS]. Read, check and extract in
one process, of made notebooks that look like grown ones; the results go to bench/results/extraction.json.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import math
import os
import platform
import pstats
import resource
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import nb2prod
from nb2prod.domain import Bundle
from nb2prod.extract import check, extract
from nb2prod.notebook import read

RESULTS = Path(__file__).parent / "results" / "extraction.json"
SIZES = (50, 100, 200, 400, 800)
REPETITIONS = 7

# --- the notebook --------------------------------------------------------------------------------

HEAD = """
# %% markdown
# Rents

What is a flat worth? Notes, features, several models.
# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from dataclasses import dataclass
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

%matplotlib inline
# %%
SEED = 7
RATE = 1.0 + SEED / 1000
CLIP = (0.01, 0.99)
COLUMNS = ["area", "rooms", "year", "kind"]
# %%
@dataclass(frozen=True)
class Limits:
    low: float
    high: float

    def clip(self, values):
        return values.clip(self.low, self.high)


def limits_of(values):
    return Limits(values.quantile(CLIP[0]), values.quantile(CLIP[1]))
# %%
df = pd.read_csv("rents.csv", parse_dates=["listed"])
df.columns = [c.lower() for c in df.columns]
df.head()
# %%
df = df.dropna(subset=["rent"])
df = df[df["rent"].between(100, 10_000)]
y = df["rent"]
used = COLUMNS
# %%
board, limits, fitted = {}, {}, []
"""

SECTION = """
# %% markdown
## Feature $k

Rents seem to follow `f$k`, see the plot below.
# %%
SCALE_$k = $k + 0.5  # from the report


def scaled_$k(values):
    '''On the scale of the report.'''
    return np.log1p(values.clip(lower=0)) * SCALE_$k * RATE


def add_$k(frame):
    frame = frame.copy()
    frame["f$k"] = scaled_$k(frame["area"] / (frame["rooms"] + $k))
    if "f$before" in frame:
        frame["f$k"] += frame["f$before"] / 2
    return frame
# %%
df = add_$k(df)
df["f$k"].describe()
# %%
fig, ax = plt.subplots(figsize=(8, 3))
ax.hist(df["f$k"], bins=40)
ax.set_title("feature $k");
# %%
limits["f$k"] = limits_of(df["f$k"])
middle_$k = df["f$k"].median()
df["f$k"] = limits["f$k"].clip(df["f$k"])
used = used + ["f$k"]
# %%
means_$k = df.groupby("kind")["f$k"].mean()
table = means_$k
table = table.rename("mean").reset_index()
table
# %% markdown
A model of what there is so far.
# %%
X = df[[c for c in used if c != "kind"]].fillna(0)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=SEED)
# %%
%%time
model_$k = make_pipeline(StandardScaler(), Ridge(alpha=$k))
model_$k.fit(X_train, y_train)
model = model_$k
fitted.append(model)
# %%
error = mean_absolute_error(y_test, model.predict(X_test))
board["ridge $k"] = error
for name, value in sorted(board.items(), key=lambda item: item[1])[:3]:
    print(f"{name}: {value:.1f}")
"""

STEP = """frame = add_$k(frame)
frame["f$k"] = limits["f$k"].clip(frame["f$k"].fillna(middle_$k))
"""

TAIL = """
# %% markdown
## Serving
# %%
best = RandomForestRegressor(random_state=SEED)
best.fit(X_train, y_train)
features = list(X_train.columns)
# %% example
flats = df[COLUMNS].head(3)
# %% preprocess
frame = flats.copy()
${steps}frame = frame.reindex(columns=features).fillna(0)
# %% model
rents = best.predict(frame)
# %% postprocess
answers = [{"rent": round(float(r), 2), "dear": bool(r > y.mean())} for r in rents]
answers
# %% reference
reference = df[COLUMNS].sample(500, random_state=SEED)
# %% metrics
{"mae": mean_absolute_error(y_test, best.predict(X_test))}
# %% check
assert min(board.values()) < 1000
"""


def cells_of(text: str, **values: object) -> list[dict[str, Any]]:
    """The cells of a text with `# %%` above each, followed by `markdown` or the tag of a code cell."""
    parts = (part.partition("\n") for part in Template(text).substitute(values).split("\n# %%")[1:])
    return [cell(kind.strip(), source.strip("\n")) for kind, _, source in parts]


def cell(kind: str, source: str) -> dict[str, Any]:
    """A cell as nbformat has it."""
    if kind == "markdown":
        return {"cell_type": "markdown", "metadata": {}, "source": source}
    metadata = {"tags": [kind]} if kind else {}
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def notebook(cells: int, edition: int) -> str:
    """A notebook of so many cells as JSON; nothing in the sections of two editions is the same.

    Sections of ten cells, each with a helper that reads constants, a step of `df`, a plot, and a model; the
    preprocessing calls the helper of every other section.
    """
    head, first = cells_of(HEAD), edition * 1000 + 1
    size, room = len(cells_of(SECTION, k=0, before=0)), cells - len(head) - len(cells_of(TAIL, steps=""))
    sections = range(first, first + room // size + 1)
    middle = [c for k in sections for c in cells_of(SECTION, k=k, before=k - 1)][:room]
    steps = "".join(Template(STEP).substitute(k=k) for k in sections[:-1:2])
    made = [*head, *middle, *cells_of(TAIL, steps=steps)]
    for number, one in enumerate(made):
        one["id"] = f"cell-{number}"
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


# --- measuring -----------------------------------------------------------------------------------


def extracted(path: Path) -> tuple[dict[str, float], Bundle]:
    """Milliseconds of CPU that each part took, and of the clock for all; and what came out."""
    gc.collect()
    began, started = time.perf_counter(), time.process_time()
    book = read(path)
    was_read = time.process_time()
    found = check(book)
    checked = time.process_time()
    bundle = extract(book)
    done = time.process_time()
    assert not any(f.severity == "error" for f in found), found
    parts = {"read": was_read - started, "check": checked - was_read, "extract": done - checked}
    parts |= {"all": done - started, "clock": time.perf_counter() - began}
    return {name: seconds * 1e3 for name, seconds in parts.items()}, bundle


def measure(folder: Path, cells: int) -> dict[str, Any]:
    """Times over REPETITIONS notebooks that differ, so that nothing is remembered; then memory."""
    runs = []
    for edition in range(REPETITIONS):
        parts, bundle = extracted(written(folder, cells, edition))
        runs.append(parts)
    return {
        "cells": cells,
        "code_cells": len(read(written(folder, cells, 0)).code),
        "lines_of_helpers": bundle.files["helpers.py"].count("\n"),
        "cpu_ms": {part: spread([run[part] for run in runs]) for part in runs[0] if part != "clock"},
        "clock_ms": spread([run["clock"] for run in runs]),
        "traced_peak_mb": peak(written(folder, cells, REPETITIONS)),
    }


def written(folder: Path, cells: int, edition: int) -> Path:
    """A notebook as a file."""
    path = folder / f"rents_{cells}_{edition}.ipynb"
    path.write_text(notebook(cells, edition), "utf-8")
    return path


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most, in ms."""
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 1) for name, value in found.items()}


def peak(path: Path) -> float:
    """The most memory that Python objects took meanwhile, in MB; tracing is slow, so times are apart."""
    gc.collect()
    tracemalloc.start()
    extracted(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(most / 1e6, 1)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The e of `value = c * size ** e` that fits best: 1 is linear."""
    line = statistics.linear_regression([math.log(s) for s in sizes], [math.log(v) for v in values])
    return round(line.slope, 2)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is written: growth, the process, the machine and each size."""
    cells = [row["cells"] for row in rows]
    return {
        "growth_exponent": {
            "time": exponent(cells, [row["cpu_ms"]["all"]["median"] for row in rows]),
            "memory": exponent(cells, [row["traced_peak_mb"] for row in rows]),
        },
        "repetitions": REPETITIONS,
        "peak_of_process_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "nb2prod": nb2prod.__version__,
        "sizes": list(rows),
    }


def profile(folder: Path, cells: int) -> None:
    """Where the time goes."""
    path = written(folder, cells, 0)
    with cProfile.Profile() as profiler:
        extracted(path)
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("cumulative").print_stats(60).sort_stats(
        "tottime"
    ).print_stats(40)


def main() -> None:
    """Measure all sizes and write the results; or profile one."""
    parser = argparse.ArgumentParser(description="Time and memory of extraction.")
    parser.add_argument("--profile", type=int, metavar="CELLS", help="profile one notebook and write nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extracted(written(folder, SIZES[0], REPETITIONS + 1))  # what the first one loads
        if options.profile:
            profile(folder, options.profile)
            return
        rows = [measure(folder, cells) for cells in SIZES]
    found = summary(rows)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
