"""The role `preprocess` of flight_delays.ipynb: cell 34."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .helpers import CATEGORICAL, NUMERIC, add_features
from .state import encoder, medians

if TYPE_CHECKING:
    import pandas as pd


def preprocess(request: pd.DataFrame) -> pd.DataFrame:
    """From `request` to `X`: cell 34 of flight_delays.ipynb.

    request: DataFrame, rows x 12 columns (carrier, origin, dest, distance, ...)
    X: DataFrame, rows x 14 columns (carrier, origin, dest, distance, ...)
    """
    # same steps as for the training data
    X = add_features(request)
    X[NUMERIC] = X[NUMERIC].fillna(medians)
    X[CATEGORICAL] = encoder.transform(X[CATEGORICAL])   # an unknown carrier or airport becomes -1
    return X
