"""loan_default: extracted from loan_default.ipynb by nb2prod."""

from .runtime import InvalidRequest, Predictor, load

__all__ = ["InvalidRequest", "Predictor", "load"]
