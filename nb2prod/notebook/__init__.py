"""Reads notebooks: the only room that knows nbformat and IPython's syntax."""

from nb2prod.notebook.reader import read

__all__ = ["read"]
