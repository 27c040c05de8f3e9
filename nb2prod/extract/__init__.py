"""From notebook text to package text: data flow, slicing, modules. Pure: no I/O, no vendors."""

from nb2prod.extract.diff import compare
from nb2prod.extract.explain import explain
from nb2prod.extract.extract import check, extract

__all__ = ["check", "compare", "explain", "extract"]
