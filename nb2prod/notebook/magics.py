"""IPython's cells as plain Python, line for line.

A cell that Python itself can parse is left alone, so that nothing is ever rewritten that need not be.
Cell magics that run their body as if it stood there (`%%time`, `%%capture`) are looked through; a cell
that any other rules binds only what its magic says that it binds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nb2prod.notebook.lines import cleaned, with_automagic, with_calls
from nb2prod.notebook.timed import OPTIONS, parsed, without_timing

_PROMPT = re.compile(r"\s*In \[\d+\]: ")
_QUIET = r"(?:\s*--no-(?:stderr|stdout|display)\b)*"
_CAPTURE = re.compile(rf"{_QUIET}\s*([A-Za-z_]\w*)?{_QUIET}")
_BOUND_BY = {
    "R": re.compile(r"(?:-o|--output)[ =]+([\w,]+)"),
    "bigquery": re.compile(r"^([A-Za-z_]\w*)"),
    "sql": re.compile(r"^([A-Za-z_]\w*)\s*<<"),
}
"""Where the line of a cell magic says which names it binds."""
_SCRIPT_BOUND = re.compile(r"--(?:out|err|proc)[ =]+([A-Za-z_]\w*)")
_STORED = re.compile(r"^(\s*)(get_ipython\(\)\.run_line_magic\('store', '\s*-r ([\w ]+)'\))$", re.M)


@dataclass(frozen=True, slots=True)
class PlainCode:
    """Python text with as many lines as the cell. `magic` names the cell magic that rules it, if any does:
    then the text only says what the magic binds or reads.
    """

    code: str
    magic: str | None = None


def plain_code(source: str) -> PlainCode:
    """A cell's source as plain Python. Text that is no Python even then keeps what is wrong with it."""
    if parsed(source) is not None and not _PROMPT.match(source):
        return PlainCode(source)
    count, source = source.count("\n"), cleaned(source)
    body = source.lstrip("\n")
    plain = _cell(body)
    if not plain.code:
        return plain
    code = source[: len(source) - len(body)] + plain.code
    return PlainCode(code + "\n" * (count - code.count("\n")), plain.magic)


def _cell(source: str) -> PlainCode:
    """A cell from its first line that is not blank."""
    header, _, body = source.partition("\n")
    if not header.startswith("%%") or re.match(r"%%\w+\?", header):
        return PlainCode(_plain(source))
    name, _, line = header[2:].rstrip().partition(" ")
    match name:
        case "time" | "prun" | "capture":
            return _looked_through(name, line.strip(), header, body)
        case "timeit":
            return PlainCode(_as_function(plain_code(body).code), name)
    names = _names_bound(name, line)
    if not names:
        return PlainCode("", name)
    call = f"get_ipython().run_cell_magic({name!r}, {line!r}, {body!r})"
    return PlainCode(_then_bound(call, names) + "\n" * source.count("\n"), name)


def _looked_through(name: str, line: str, header: str, body: str) -> PlainCode:
    """The body of a cell magic that runs it, below what its first line does."""
    first: str | None = None
    if not body:
        pass  # IPython wants a body
    elif name == "prun":
        first = OPTIONS["prun"].sub("", f"{line} ", count=1).strip()
    elif name == "time":
        first = "" if line in ("", "--no-raise-error") else None
    elif match := _CAPTURE.fullmatch(line):
        first = _captured(match[1], line, body)
    if first is None:
        return PlainCode(f"{header}\n{body}" if body else header)  # IPython refuses it: Python names the line
    inner = plain_code(body)
    if inner.magic and not (first or inner.code):
        return inner
    return PlainCode(f"{first}\n{inner.code}", inner.magic)


def _captured(name: str | None, line: str, body: str) -> str:
    if name is None or body.rstrip().endswith(";"):  # after which IPython binds nothing
        return ""
    return _then_bound(f"get_ipython().run_cell_magic('capture', {line!r}, 'pass')", [name])


def _names_bound(name: str, line: str) -> list[str]:
    found = _BOUND_BY.get(name, _SCRIPT_BOUND).findall(line)
    return [part for match in found for part in match.split(",") if part.isidentifier()]


def _then_bound(call: str, names: list[str]) -> str:
    """A magic's call with the names that it binds, as one expression that is there for its effects."""
    bound = (f"{name} := get_ipython().user_ns[{name!r}]" for name in names)
    return f"[{', '.join([call, *bound])}][0]"


def _as_function(code: str) -> str:
    """Code that runs in a function: what it binds is gone afterwards, what it changes is not."""
    lines = [f" {line}" if line.strip() else line for line in code.split("\n")]
    tree = parsed(code)
    return "\n".join([f"def _():{' pass' if tree is not None and not tree.body else ''}", *lines])


def _plain(source: str) -> str:
    """A cell without cell magic."""
    code = with_calls(source)
    if (automatic := with_automagic(source)) != source and parsed(code) is None:
        code = with_calls(automatic)
    code = _STORED.sub(lambda m: m[1] + _then_bound(m[2], m[3].split()), code)
    return without_timing(code, lambda body: plain_code(body).code)
