"""What a file that is no notebook may be instead, so that the error can say it."""

from __future__ import annotations

import re

_OURS, _THEIRS = re.compile(rb"^<{7} ", re.M), re.compile(rb"^>{7} ", re.M)
_CELL_MARK = re.compile(rb"^# ?(?:%%|In\[[\d ]*\]:|COMMAND -{5,}|\+$|\+ )", re.M)
_LOOKED_AT = 100_000

Mistake = tuple[str, str]
"""Why a file is no notebook, and what to do."""


def conflict(content: bytes) -> int | None:
    """The line (from 1) at which git's first unresolved conflict begins."""
    ours = _OURS.search(content)
    if ours is None or _THEIRS.search(content, ours.end()) is None:
        return None
    return content[: ours.start()].count(b"\n") + 1


def what_else(content: bytes, error: Exception) -> Mistake:
    """What the content looks like; at least where it stops being JSON."""
    if not content.strip():
        return "the file is empty", "Restore it from version control, or from .ipynb_checkpoints."
    start = content[:_LOOKED_AT].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS", "Fetch the file itself: `git lfs pull`."
    if start[:1] == b"<":
        return "it is a web page", "Download the raw file: a page that shows a notebook is not the notebook."
    if _CELL_MARK.search(start) and not start.startswith(b"{"):
        hint = "Convert it: `jupytext --to ipynb FILE` writes the notebook beside it."
        return "it is a script with cell marks", hint
    if isinstance(error, RecursionError):
        return "it is nested too deeply", "Give the path of an .ipynb file."
    if isinstance(error, UnicodeDecodeError):
        line = content[: error.start].count(b"\n") + 1
        return f"it is not UTF-8 (line {line} of the file)", "Save it in UTF-8."
    return f"it is not JSON ({error})", "Give the path of an .ipynb file; restore it if it was cut off."
