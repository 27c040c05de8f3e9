"""Fitted state, as the notebook's clean run had it when the role cells read it."""

from .runtime import load_state

medians = load_state("medians")  # cell 26, line 5
encoder = load_state("encoder")  # cell 26, line 8
model = load_state("model")  # cell 27, line 2
