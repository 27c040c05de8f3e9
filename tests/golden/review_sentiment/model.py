"""The role `model` of review_sentiment.ipynb: cell 25."""

from .state import model


def predict(X):
    """From `X` to `p`: cell 25 of review_sentiment.ipynb."""
    p = model.predict_proba(X)[0, 1]
    return p
