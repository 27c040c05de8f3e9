"""The way of a request through loan_default.ipynb."""

from . import model, postprocess, preprocess


def run(application):
    """From a request to the answer: cells 24, 25 and 26 of loan_default.ipynb."""
    prepared = preprocess.preprocess(application)
    scores = model.probability_of_default(prepared)
    return postprocess.postprocess(scores)
