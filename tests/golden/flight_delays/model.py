"""The role `model` of flight_delays.ipynb: cell 35."""

from .helpers import CATEGORICAL, NUMERIC
from .state import model


def predict(X):
    """From `X` to `p_late`: cell 35 of flight_delays.ipynb."""
    p_late = model.predict_proba(X[NUMERIC + CATEGORICAL])[:, 1]
    return p_late
