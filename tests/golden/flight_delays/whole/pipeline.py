"""The way of a request through flight_delays.ipynb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import model, postprocess, preprocess

if TYPE_CHECKING:
    import pandas as pd


def run(request: pd.DataFrame) -> pd.DataFrame:
    """From a request to the answer: cells 34, 35 and 36 of flight_delays.ipynb.

    request: DataFrame, rows x 12 columns (carrier, origin, dest, distance, ...)
    the answer: DataFrame, rows x 2 columns (p_late, warn)
    """
    X = preprocess.preprocess(request)
    p_late = model.predict(X)
    return postprocess.postprocess(p_late)
