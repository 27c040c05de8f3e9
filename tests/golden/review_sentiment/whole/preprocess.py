"""The role `preprocess` of review_sentiment.ipynb: cell 24."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .helpers import clean
from .state import vectorizer

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def preprocess(review: str) -> csr_matrix:
    """From `review` to `X`: cell 24 of review_sentiment.ipynb.

    X: csr_matrix of float64, 1 x 30000
    """
    text = clean(review)
    X = vectorizer.transform([text])
    return X
