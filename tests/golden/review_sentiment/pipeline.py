"""The way of a request through review_sentiment.ipynb."""

from . import model, postprocess, preprocess


def run(review):
    """The answer of the last role to one request."""
    X = preprocess.preprocess(review)
    p = model.predict(X)
    return postprocess.postprocess(p)
