"""Fitted state, as the notebook's clean run had it when the role cells read it."""

from .runtime import load_state

model = load_state("model")  # cell 16, line 1
cutoff = load_state("cutoff")  # cell 20, line 5
