"""review_sentiment: extracted from review_sentiment.ipynb by nb2prod."""

from .runtime import InvalidRequest, Predictor, load

__all__ = ["InvalidRequest", "Predictor", "load"]
