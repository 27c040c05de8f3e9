"""The role `model` of review_sentiment.ipynb: cell 25."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state import model

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix


def predict(X: csr_matrix) -> np.float64:
    """From `X` to `p`: cell 25 of review_sentiment.ipynb.

    X: csr_matrix of float64, 1 x 30000
    """
    p = model.predict_proba(X)[0, 1]
    return p
