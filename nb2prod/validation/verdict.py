"""What the proving process found, as errors that name cell and line."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nb2prod.domain import Bundle, Diagnostic, Difference, Report
from nb2prod.errors import ParityError
from nb2prod.validation.installed import prefixes

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the notebook."""

    cell: str
    number: int
    line: int


def place_of(bundle: Bundle, frames: Iterable[tuple[str, int]], module: str | None = None) -> Place | None:
    """The innermost of the package's lines that was taken from the notebook; else the import of `module`."""
    lines = {(mapped.file, mapped.line): mapped for mapped in bundle.source_map}
    for file, line in frames:
        if (mapped := lines.get((file, line))) is not None:
            return Place(mapped.cell, mapped.number, mapped.cell_line)
    imports = (item for needs in bundle.needs.values() for item in needs.imports)
    found = next((item for item in imports if module in [*prefixes(item.module)]), None)
    return Place(found.cell, found.number, found.line) if found is not None else None


def where(place: Place | None) -> dict[str, Any]:
    """A place as the arguments of an error."""
    return {"cell": place.cell, "number": place.number, "line": place.line} if place is not None else {}


def differences_in(result: Mapping[str, Any]) -> tuple[Difference, ...]:
    """The first differing rows of what the proving process found."""
    found = [
        Difference(case["name"], row, expected, got, detail)
        for case in result["cases"]
        for row, expected, got, detail in case["first"]
    ]
    odd = [("response", result["wire"])] if result["wire"] and not found else []
    odd += [("example, asked twice", result["repeat"])] if result["repeat"] else []
    return tuple([*found, *(Difference(name, *first) for name, first in odd)][:SHOWN])


def differ(
    report: Report, result: Mapping[str, Any], bundle: Bundle, likely: str | None = None
) -> ParityError:
    """The error for a report with differences. `likely` says what is probably the cause."""
    place = last_role(bundle)
    rows = "\n".join(
        f"  {d.case}, row {d.row}: expected {d.expected}, got {d.got}"
        + (f" ({d.detail})" if d.detail else "")
        for d in report.differences
    )
    differing = sum(case["differing"] for case in result["cases"])
    if not differing and result["repeat"]:
        message = "the package answers the same request differently each time"
        hint = "Seed random generators inside the role cells, and change no state that they read."
        return ParityError(f"{message}:\n{rows}", code="NB321", report=report, hint=hint, **place)
    if not differing:
        message = "answering requests changes what later answers depend on: the example is answered otherwise"
        hint = (
            "Work on a copy in the role code of what it changes: an object, a default, a class's attribute."
        )
        return ParityError(f"{message}:\n{rows}", code="NB326", report=report, hint=hint, **place)
    message = f"{differing} of {report.rows_compared} rows are answered otherwise than by the notebook"
    hint = _other_module(report.differences) or unlike(report.diagnostics) or likely or _usual_causes(bundle)
    return ParityError(f"{message}:\n{rows}", report=report, hint=hint, **place)


def drifted(result: Mapping[str, Any]) -> bool:
    """Whether all is answered alike at first, and the example otherwise once more requests have come."""
    alike = not any(case["differing"] for case in result["cases"])
    return alike and bool(result["wire"]) and not result["repeat"]


_BY_NAME = "Show a class by `__qualname__`, or by a text of your own: that is the same in both."


def _other_module(differences: Iterable[Difference]) -> str | None:
    """The hint for answers that show where a class is defined."""
    shown = any("__main__." in d.expected and "_proof_of_" in d.got for d in differences)
    where = "A class of the notebook is of `__main__` there, and of a module of the package here."
    return f"{where} {_BY_NAME}" if shown else None


def modules_read(bundle: Bundle) -> Iterator[Diagnostic]:
    """NB351 for each line of the package that reads the module of a class or function."""
    for file in sorted({mapped.file for mapped in bundle.source_map}):
        for node in ast.walk(ast.parse(bundle.files[file])):
            if not isinstance(node, ast.Attribute) or node.attr != "__module__":
                continue
            if isinstance(node.ctx, ast.Load) and (place := place_of(bundle, [(file, node.lineno)])):
                what = f"`{ast.unparse(node)}` is `__main__` of what the notebook defines, and in the package"
                message = f"{what} `{bundle.name}.{file.removesuffix('.py')}` or the like"
                yield Diagnostic("NB351", "warning", message, hint=_BY_NAME, **where(place))


def _usual_causes(bundle: Bundle) -> str:
    contract = bundle.evidence.contract if bundle.evidence is not None else None
    if contract is not None and contract.kind in ("frame", "records", "values", "array"):
        return (
            "A request comes as the contract says: index 0 to n-1, types that fit example and reference"
            " alike. If that is not the example's, mend the example. Rounding is allowed by a tolerance"
            " (--rtol)."
        )
    return (
        "Look for a name that is bound anew, or a value that is changed, between a definition and the role"
        " code that both read it: give each value a name of its own. A request has the contract's types;"
        " rounding is allowed by a tolerance (--rtol)."
    )


def unlike(diagnostics: tuple[Diagnostic, ...]) -> str | None:
    """What the clean run has said already: of lost identity, or an answer that its cells do not repeat."""
    if lost := next((d for d in diagnostics if d.code == "NB315"), None):
        return f"Likely the cause: {lost.where}: {lost.message}. {lost.hint}"
    found = next((d for d in diagnostics if d.code == "NB324"), None)
    return f"Perhaps no fault of the package: {found.message}. {found.hint}" if found is not None else None


def unreached(bundle: Bundle, gaps: list[tuple[str, int, int, str]] | None) -> Iterator[Diagnostic]:
    """NB350 for the notebook's code that gave none of the compared answers: nothing is proven of it."""
    if gaps is None:
        message = "the role code takes too many steps to see which of it gave the compared answers"
        yield Diagnostic("NB350", "info", message)
        return
    placed = [(place_of(bundle, [(file, first)]), first, last, text) for file, first, last, text in gaps]
    found = sorted(
        (place.number, place.line, place.cell, last - first, text)
        for place, first, last, text in placed
        if place is not None
    )
    hint = "Let the example, or a `reference` cell, hold a request that takes it."
    for number, line, cell, more, text in found[:SHOWN]:
        lines = f" (to line {line + more})" if more else ""
        message = f"no compared request runs `{text}`{lines}: nothing is proven of it"
        yield Diagnostic("NB350", "warning", message, cell, number, line, hint)
    if len(found) > SHOWN:
        message = f"no compared request runs {len(found) - SHOWN} more places"
        yield Diagnostic("NB350", "warning", message, hint=hint)


def placed(bundle: Bundle, portraits: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The last portraits of the package's definitions and constants, each with the module that has it."""
    lines = {(mapped.cell, mapped.cell_line): mapped.file for mapped in bundle.source_map}
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for seen in portraits:
        if file := lines.get((seen["bound_cell"], seen["bound_line"])):
            module = file.removesuffix(".py")
            last[module, seen["name"]] = {**seen, "module": module}
    return [*last.values()]


def unlike_notebook(found: Mapping[str, Any]) -> ParityError:
    """NB227: a definition or constant is something else in the package than in the notebook."""
    name = found["name"]
    inner = re.match(r"""(?:\.\w+|\[(?:'[^']*'|"[^"]*"|[^]'"])*\])*""", found["path"])
    path = inner[0] if inner is not None else ""
    part = f"`{name}{path}`" + (f":{rest}" if (rest := found["path"][len(path) :]) else "")
    hint = f"Make the change part of the definition of `{name}`."
    if found["kind"] == "constant":
        hint = f"Below the change, write `{name} = copy.copy({name})`: its value is captured then."
    return ParityError(
        f"{part} is {found['notebook']} in the notebook, but {found['package']} in the package: something"
        " changes it, or what it is made from, under another name",
        code="NB227",
        hint=hint,
        cell=found["bound_cell"],
        number=found["bound_number"],
        line=found["bound_line"],
    )


def planted_in_libraries(
    bundle: Bundle, planted: Iterable[Mapping[str, Any]], here: Iterable[tuple[bool, bool]]
) -> ParityError | None:
    """NB227: the notebook has put a function or class of its own into a library that serving uses.

    `here`: for each whether the proving process has such an attribute, and whether it is the package's.
    """
    called, libraries = _mentioned(bundle)
    for seen, (is_there, is_ours) in zip(planted, here, strict=True):
        top = seen["module"].partition(".")[0]
        changes = is_there and top in libraries and top not in _QUIET
        if not is_ours and (changes or (top == "builtins", seen["name"]) in called):
            path = ".".join(filter(None, (seen["module"], seen["inside"], seen["name"])))
            hint = "Write a function or a subclass of your own, and call that"
            hint += ", or do it again in the role cell that needs it." if seen["key"] else "."
            return ParityError(
                f"`{path}{seen['key']}` of a library {'holds' if seen['key'] else 'is'} the notebook's own"
                f" {seen['what']}: in the package the library is as it was installed",
                code="NB227",
                hint=hint,
                **seen["place"],
            )
    return None


_QUIET = frozenset({"builtins", "sys", "warnings"})
"""What notebooks set there only shows, unless serving code calls it by its name."""


def _mentioned(bundle: Bundle) -> tuple[set[tuple[bool, str]], set[str]]:
    """The names that the notebook's code in the package mentions, each with whether it stands alone as a
    builtin's does, and the libraries that it imports."""
    called, libraries = set[tuple[bool, str]](), set[str]()
    for file in {mapped.file for mapped in bundle.source_map}:
        for node in ast.walk(ast.parse(bundle.files[file])):
            match node:
                case ast.Name(id=name):
                    called.add((True, name))
                case ast.Attribute(attr=name):
                    called.add((False, name))
                case ast.Call(args=args):
                    texts = (
                        a.value for a in args if isinstance(a, ast.Constant) and isinstance(a.value, str)
                    )
                    called |= {(False, text) for text in texts}
                case ast.Import(names=names):
                    libraries |= {alias.name.partition(".")[0] for alias in names}
                case ast.ImportFrom(module=str(module), level=0, names=names):
                    libraries.add(module.partition(".")[0])
                    called |= {(False, alias.name) for alias in names}
    return called, libraries


def last_role(bundle: Bundle) -> dict[str, Any]:
    """The cell that gives the answer, as the arguments of an error."""
    cell = bundle.plan.stages[-1].cells[-1]
    number = next((mapped.number for mapped in bundle.source_map if mapped.cell == cell), None)
    return {"cell": cell, "number": number}


_FAILURES = {
    r"FileNotFoundError: .*": (
        "Read the file in a cell of its own above: what it holds then goes into the package."
    ),
    r"\w*(?:NameError|VariableError): .*(?:name|variable) '(\w+)' is not defined": (
        "A text that is run as code reads `{0}`, and nothing else shows that. Write the text itself in the"
        ' call (`.query("a > @{0}")`), so that its names are seen, or use the value without a text.'
    ),
    r"BrokenProcessPool: .*|PicklingError: .*": (
        'Other processes cannot import the package: write `n_jobs=1`, or `prefer="threads"`.'
    ),
    r"AttributeError: Can't (?:get|pickle) local object '.*<locals>\.(\w+)'": (
        "No other process can be given `{0}`, which in the package is made inside a function: write"
        ' `ThreadPoolExecutor`, or `prefer="threads"`, in place of processes.'
    ),
    r"RuntimeError: .*is bound to a different event loop": (
        "It belongs to the event loop that first waited for it: make it in the role code, and pass it on."
    ),
    r"TypeError: unhashable type: 'list'": (
        "JSON has no tuples: what a request holds comes back as a list. Make `tuple(...)` of it in the role."
    ),
}


def _environment(error: Mapping[str, Any]) -> str | None:
    """The hint for a variable of the environment that is there only where the notebook runs."""
    if error["variable"] is None:
        return None
    name = f"os.environ[{error['variable']!r}]"
    return (
        f"`{name}` is set where the notebook runs, and the package makes no environment. Read it in a cell"
        f" above, `value = {name}`, and use that: its value goes into the package. Or write"
        " `os.environ.get(name, default)`, and set the variable where the package serves."
    )


def known_failure(kind: str, message: str) -> str | None:
    """The hint for an error that the package raises where the notebook did not."""
    for pattern, hint in _FAILURES.items():
        if found := re.fullmatch(pattern, f"{kind}: {message}", re.S):
            return hint.format(*found.groups()[-1:])
    return None


def failed(error: Mapping[str, Any], bundle: Bundle, hint: str | None = None) -> ParityError:
    """The error for a package that raised."""
    hint = _environment(error) or known_failure(error["type"], error["message"]) or hint
    if error["module"]:
        hint = f"{error['module']!r} is not installed. A module that lies beside the notebook is no part of "
        hint += "the package: install it, or move its code into a cell."
    own = {(mapped.file, mapped.line) for mapped in bundle.source_map}
    frames = [frame for frame in error["frames"] if tuple(frame) in own] or error["frames"]
    place = where(place_of(bundle, error["frames"], error["module"]))
    if not place and error["what"] != "being loaded":
        place = last_role(bundle)
    inside = f" in {frames[0][0]}, line {frames[0][1]}" if frames else ""
    found = ParityError(
        f"the extracted package fails{inside}, {error['what']}: {error['type']}: {error['message']}",
        code="NB322",
        hint=hint,
        **place,
    )
    found.add_note(error["traceback"])
    return found


def died(done: subprocess.CompletedProcess[str]) -> ParityError:
    """The error for a proving process that gave no result."""
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    tail = done.stderr.strip()[-2000:]
    return ParityError(
        f"the process that loaded the package died ({how})" + (f":\n{tail}" if tail else ""), code="NB322"
    )
