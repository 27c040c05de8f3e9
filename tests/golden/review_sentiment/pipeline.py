"""The way of a request through review_sentiment.ipynb."""

from . import model, postprocess, preprocess


def run(review):
    """From a request to the answer: cells 24, 25 and 26 of review_sentiment.ipynb."""
    X = preprocess.preprocess(review)
    p = model.predict(X)
    return postprocess.postprocess(p)
