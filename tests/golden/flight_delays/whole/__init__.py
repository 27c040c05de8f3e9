"""flight_delays: extracted from flight_delays.ipynb by nb2prod."""

from .runtime import InvalidRequest, Predictor, load

__all__ = ["InvalidRequest", "Predictor", "load"]
