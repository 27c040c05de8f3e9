"""The way of a request through loan_default.ipynb."""

from typing import Any

from . import model, postprocess, preprocess


def run(application: dict[str, Any]) -> dict[str, Any]:
    """From a request to the answer: cells 24, 25 and 26 of loan_default.ipynb.

    application: dict (seniority, home, time, records, ...)
    the answer: dict (decision, probability)
    """
    prepared = preprocess.preprocess(application)
    scores = model.probability_of_default(prepared)
    return postprocess.postprocess(scores)
