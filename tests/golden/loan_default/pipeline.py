"""The way of a request through loan_default.ipynb."""

from . import model, postprocess, preprocess


def run(application):
    """The answer of the last role to one request."""
    prepared = preprocess.preprocess(application)
    scores = model.probability_of_default(prepared)
    return postprocess.postprocess(scores)
