"""The way of a request through flight_delays.ipynb."""

from . import model, postprocess, preprocess


def run(request):
    """From a request to the answer: cells 34, 35 and 36 of flight_delays.ipynb."""
    X = preprocess.preprocess(request)
    p_late = model.predict(X)
    return postprocess.postprocess(p_late)
