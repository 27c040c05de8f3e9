"""The role `preprocess` of review_sentiment.ipynb: cell 24."""

from .helpers import clean
from .state import vectorizer


def preprocess(review):
    """From `review` to `X`: cell 24 of review_sentiment.ipynb."""
    text = clean(review)
    X = vectorizer.transform([text])
    return X
