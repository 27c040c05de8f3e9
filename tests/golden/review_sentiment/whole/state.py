"""Fitted state, as the notebook's clean run had it when the role cells read it."""

from .runtime import load_state

vectorizer = load_state("vectorizer")  # cell 16, line 3
model = load_state("model")  # cell 16, line 5
