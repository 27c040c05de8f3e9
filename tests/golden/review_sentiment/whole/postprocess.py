"""The role `postprocess` of review_sentiment.ipynb: cell 26."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def postprocess(p: np.float64) -> dict[str, Any]:
    """From `p` to the answer: cell 26 of review_sentiment.ipynb.

    the answer: dict (label, score)
    """
    THRESHOLD = 0.5

    label = "great" if p >= THRESHOLD else "other"
    return {"label": label, "score": float(p)}
