"""IPython's line syntax (`%magic`, `!shell`, `name?`, pasted prompts) as plain calls, line for line.

IPython's own transformers do the work, so that nothing is guessed. Where they would join lines, blank ones
take their place: each statement stays on its line.
"""

from __future__ import annotations

import functools
import re
import tokenize
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

_AUTOMAGIC_TEXT = (
    "alias alias_magic autoawait autocall automagic autosave bookmark cat cd clear code_wrap colors conda "
    "config connect_info cp debug dhist dirs doctest_mode ed edit env gui hist history killbgscripts ldir "
    "less lf lk ll load load_ext loadpy logoff logon logstart logstate logstop ls lsmagic lx macro magic "
    "mamba man matplotlib micromamba mkdir more mv notebook page pastebin pdb pdef pdoc pfile pinfo "
    "pinfo2 pip popd pprint precision prun psearch psource pushd pwd pycat pylab qtconsole quickref "
    "recall rehashx reload_ext rep rerun reset reset_selective rm rmdir run save sc set_env store "
    "subshell sx system tb time timeit unalias unload_ext uv who who_ls whos xdel xmode "
)
AUTOMAGIC = frozenset(_AUTOMAGIC_TEXT.split())
"""A kernel's line magics: they work without `%` in a cell of one line, unless a variable has that name."""

_PERHAPS = re.compile(r"^\s*[!?%,;/]|=\s*(?:[%!]|\\$)|\?\s*$")
"""Lines at which syntax of IPython's can begin; most of them turn out to be ordinary."""


def cleaned(source: str) -> str:
    """A cell without common indentation and without prompts that were pasted along (`>>> `, `In [1]: `)."""
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    kept = [f"{line}\n" for line in lines[first:]]
    for clean in _manager().cleanup_transforms[1:]:  # the first drops leading blank lines
        kept = clean(kept)
    return "\n" * first + "".join(kept)[:-1]


def with_calls(source: str) -> str:
    """A cell (less its cell magic) in which each line of IPython's is the call that it stands for.

    What IPython would refuse stays as it is, so that Python names that line as a syntax error.
    """
    lines = [f"{line}\n" for line in source.split("\n")]
    last = max((n for n, line in enumerate(lines) if _PERHAPS.search(line)), default=-1)
    start, blocks = 0, [""]
    while start <= last:
        start, blocks = _transform_next(lines, start, blocks)
    return "".join(lines)[:-1]


def with_automagic(source: str) -> str:
    """A cell of one line whose first word is a line magic, with the `%` that the kernel adds."""
    first, _, rest = source.strip().partition(" ")
    if "\n" in source.strip() or first not in AUTOMAGIC or rest.lstrip().startswith(("=", ",")):
        return source
    start = len(source) - len(source.lstrip())
    return f"{source[:start]}%{source[start:]}"


def _transform_next(lines: list[str], start: int, blocks: list[str]) -> tuple[int, list[str]]:
    """Transform the next line of IPython's in place, from a line on that stands in blocks so indented.

    Returns the line after it and its blocks; the number of lines if there is none. Tokens are read no further
    than needed: a magic may disturb the tokens of all that follows it (`!echo "`).
    """
    opening = [f"{indent}if 1:\n" for indent in blocks[:-1]]
    inside = [""]
    for tokens in _logical_lines(chain(opening, islice(lines, start, None))):
        for token in tokens:
            if token.type == tokenize.INDENT:
                inside.append(token.string)
            elif token.type == tokenize.DEDENT:
                inside.pop()
        after = _transform(lines, tokens, start - len(opening))
        if after is not None:
            return after, inside
    return len(lines), inside


def _transform(lines: list[str], tokens: list[Any], shift: int) -> int | None:
    """Transform one logical line in place; the index of the line after it, or None if it is ordinary."""
    for transformer in _transformers(tokens):
        transformer.start_line += shift
        help_asked = hasattr(transformer, "q_line")
        if help_asked:
            transformer.q_line += shift
        at = transformer.start_line
        if lines[at][transformer.start_col :].startswith("%%") and not help_asked:
            continue  # a cell magic below the first line is none: IPython fails when it comes to it
        try:
            transformed = transformer.transform(lines)
        except SyntaxError:
            continue
        joined = len(lines) - len(transformed)
        lines[:] = [*transformed[: at + 1], *["\n"] * joined, *transformed[at + 1 :]]
        return int(at) + 1 + joined
    return None


def _transformers(tokens: list[Any]) -> list[Any]:
    """IPython's transformers that apply to a logical line, first things first."""
    found = (kind.find([tokens]) for kind in _manager().token_transformers)
    return sorted((t for t in found if t is not None), key=lambda t: t.sortby())


def _logical_lines(lines: Iterator[str]) -> Iterator[list[Any]]:
    """Tokens by logical line, as IPython groups them; up to the first that cannot be read at all.

    A line that IPython's syntax begins ends where its first row does, whatever is left open in it.
    """
    from IPython.utils.tokenutil import generate_tokens_catch_errors

    line: list[Any] = []
    depth = 0
    try:
        for token in generate_tokens_catch_errors(lines.__next__, extra_errors_to_catch=["expected EOF"]):
            if line and token.start[0] > line[-1].start[0] == line[0].start[0] and _transformers(line):
                yield line
                line, depth = [], 0
            line.append(token)
            depth = _depth(token, depth)
            if token.type == tokenize.NEWLINE or (token.type == tokenize.NL and depth == 0):
                yield line
                line = []
    except (tokenize.TokenError, SyntaxError):
        pass  # the text ends in the middle of something, or is no Python: the parser will say where
    if line:
        yield line


def _depth(token: Any, depth: int) -> int:
    if token.type != tokenize.OP or token.string not in "()[]{}":
        return depth
    return depth + 1 if token.string in "([{" else max(depth - 1, 0)


@functools.cache
def _manager() -> Any:
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager()  # type: ignore[no-untyped-call]
