"""The way of a request through review_sentiment.ipynb."""

from typing import Any

from . import model, postprocess, preprocess


def run(review: str) -> dict[str, Any]:
    """From a request to the answer: cells 24, 25 and 26 of review_sentiment.ipynb.

    the answer: dict (label, score)
    """
    X = preprocess.preprocess(review)
    p = model.predict(X)
    return postprocess.postprocess(p)
