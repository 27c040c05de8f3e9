"""The way of a request through flight_delays.ipynb."""

from . import model, postprocess, preprocess


def run(request):
    """The answer of the last role to one request."""
    X = preprocess.preprocess(request)
    p_late = model.predict(X)
    return postprocess.postprocess(p_late)
