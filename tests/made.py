"""Small notebooks for tests, written to a folder as any editor would write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook(
    folder: Path,
    *cells: tuple[str, str],
    name: str = "made",
    metadata: dict[str, Any] | None = None,
) -> Path:
    """A notebook of code cells, each given as (tags separated by blanks, source); ids are c1, c2, …"""
    made = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"c{i}",
            "metadata": {"tags": tags.split()} if tags else {},
            "outputs": [],
            "source": source,
        }
        for i, (tags, source) in enumerate(cells, 1)
    ]
    data = {
        "cells": made,
        "metadata": {"kernelspec": KERNELSPEC} if metadata is None else metadata,
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps(data), "utf-8")
    return path


TINY = (
    ("", "import pandas as pd\nfactor = pd.Series([2.0]).iloc[0]"),
    ("example", "request = pd.DataFrame({'a': [1.0, 2.0]})"),
    ("model", "request['a'] * factor"),
)
"""The smallest notebook with state: it doubles column a."""
