"""The role `preprocess` of flight_delays.ipynb: cell 34."""

from .helpers import CATEGORICAL, NUMERIC, add_features
from .state import encoder, medians


def preprocess(request):
    """From `request` to `X`: cell 34 of flight_delays.ipynb."""
    # same steps as for the training data
    X = add_features(request)
    X[NUMERIC] = X[NUMERIC].fillna(medians)
    X[CATEGORICAL] = encoder.transform(X[CATEGORICAL])   # an unknown carrier or airport becomes -1
    return X
