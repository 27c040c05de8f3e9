"""The role `model` of flight_delays.ipynb: cell 35."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .helpers import CATEGORICAL, NUMERIC
from .state import model

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def predict(X: pd.DataFrame) -> np.ndarray:
    """From `X` to `p_late`: cell 35 of flight_delays.ipynb.

    X: DataFrame, rows x 14 columns (carrier, origin, dest, distance, ...)
    p_late: ndarray of float64, one for each row
    """
    p_late = model.predict_proba(X[NUMERIC + CATEGORICAL])[:, 1]
    return p_late
