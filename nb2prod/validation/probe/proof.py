"""The contract, and what the notebook's role cells answer to the example and to reference rows.

Runs inside the notebook's kernel, once the role cells, the example and the reference have run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .answers import UNSENDABLE
from .contract import fields_of, together
from .finding import Finding, Refused, refused
from .places import described
from .predictions import field_of_answers
from .request import Look, Request
from .returned import changed_rows, real_rows, two_kinds
from .rows import Rows

MAX_EXAMPLE = 20
"""Instances that a contract keeps as its example."""

ROUNDING = 1e-6
"""Relative difference between two answers to one request that is not yet randomness."""

MAX_SECONDS = 20.0
"""Time for the reference rows: slow role cells are asked for fewer."""

Ask = Callable[[dict[str, Any]], Any]
"""The role cells as one function, from the names that a request brings to the last role's answer."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The contract, the cases that the package must answer alike, and what else was noticed."""

    contract: dict[str, Any]
    cases: list[dict[str, Any]]
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asked:
    """Asks the role cells with instances, as the package will: `fresh` restores the captured state."""

    predictor: Any
    request: Request
    fresh: Callable[[], Ask]

    def __call__(self, instances: Sequence[Any]) -> list[Any]:
        """The answers, one for each request that the instances make."""
        ask = self.fresh()
        return [ask(self._names(request)) for request in self.predictor.decode(instances)]

    def _names(self, request: Any) -> dict[str, Any]:
        return dict(request) if self.request.kind == "names" else {self.request.request[0]: request}


def contract_of(request: Request, reference: Look | None) -> dict[str, Any]:
    """The contract without answer and response; `example` holds the first instances."""
    batch = request.kind in ("frame", "records", "values", "array")
    return {
        "kind": request.kind,
        "request": list(request.request),
        "fields": fields_of(request.labels, request.seen, reference.seen if reference else None),
        "shape": list(request.shape),
        "answer": None,
        "example": request.look.instances[:MAX_EXAMPLE] if batch else request.look.instances,
        "response": [],
    }


def prove(
    request: Request,
    reference: Look | None,
    first: Any,
    fresh: Callable[[], Ask],
    tools: tuple[ModuleType, ModuleType],
) -> Proof:
    """Ask again, and compare with the first answer; Refused NB220, NB223, NB224 or NB321.

    `tools` are the package's runtime and the comparison.
    """
    runtime, compare = tools
    contract = contract_of(request, reference)
    asked = Asked(runtime.Predictor(contract, None), request, fresh)
    _check_decodes(asked, request.look.instances)
    wire = _encoded(asked, [first], len(request.look.instances), runtime)
    cases = [{"name": "example", "instances": request.look.instances, "answers": [first]}]
    finding = _repeatable(asked, request.look.instances, first, compare)
    if finding is not None:
        contract |= {"answer": _answer(cases, asked), "response": wire[:MAX_EXAMPLE]}
        return Proof(contract, cases, [finding])
    _check_alone(asked, request.look.instances[0], runtime)
    if len(contract["example"]) < len(wire):
        wire = _encoded(asked, asked(contract["example"]), len(contract["example"]), runtime)
    findings = list(_not_carried(asked, reference))
    if reference is not None:
        instances = _affordable(asked, request.look.instances, reference.instances)
        cases += _reference_case(asked, instances, runtime, findings, reference.called)
    return Proof({**contract, "answer": _answer(cases, asked), "response": wire}, cases, findings)


def _answer(cases: list[dict[str, Any]], asked: Asked) -> dict[str, Any] | None:
    answers = [answer for case in cases for answer in case["answers"]]
    return field_of_answers(answers, batch=asked.predictor.batch, typical=len(cases) > 1)


def _check_decodes(asked: Asked, instances: list[Any]) -> None:
    """The example itself must pass the contract that was read off it."""
    problem = None
    if problems := asked.predictor.problems(instances):
        first = problems[0]
        problem = f"{first['field'] or 'a value'}: {first['got']} is not {first['expected']}"
    else:
        # pandas and numpy raise many kinds of error for a dtype that cannot be made from JSON
        try:
            asked.predictor.decode(instances)
        except Exception as error:
            problem = described(error)
    if problem is not None:
        raise refused("NB220", f"the example cannot be sent as JSON and read back: {problem}")


def _encoded(asked: Asked, answers: list[Any], count: int, runtime: ModuleType) -> list[Any]:
    try:
        wire: list[Any] = asked.predictor.encode(answers, count)
        return wire
    except runtime.WrongAnswer as error:
        raise _unfit(answers, count, str(error)) from error
    except runtime.SameNames as error:
        hint = "Name each otherwise: `.add_suffix(...)` before `pd.concat`, or `answer.columns = [...]`."
        raise refused("NB224", f"the notebook's answer cannot be sent: {error}", hint) from error
    except TypeError as error:
        raise refused("NB224", f"the notebook's answer cannot be sent: {error}", UNSENDABLE) from error


def _unfit(answers: list[Any], count: int, why: str) -> Refused:
    """Refused NB223, with the likeliest mistake as its hint."""
    if answers[0] is None:
        hint = "End the cell in the answer: `to_csv(...)`, `print(...)` and `inplace=True` give None."
        return refused("NB223", f"the notebook's answer is None, to a request of {count} rows", hint)
    if count == 1 and getattr(answers[0], "shape", None) == ():
        hint = "Give a list for one row, too: `.ravel()` or `[:, 0]` in place of `.squeeze()` or `.item()`."
        return refused("NB223", f"a row alone gets a single value, no list of one: {why}", hint)
    hint = "Keep every row, in order: mark bad rows in the answer instead of dropping them."
    return refused("NB223", f"the notebook's answer does not fit its request: {why}", hint)


def _check_alone(asked: Asked, instance: Any, runtime: ModuleType) -> None:
    """A row alone gets one answer; the proof will say so if it gets none."""
    # the user's own code, which may need more than one row
    try:
        answers = asked([instance])
    except Exception:
        return
    _encoded(asked, answers, 1, runtime)


def _repeatable(asked: Asked, instances: list[Any], first: Any, compare: ModuleType) -> Finding | None:
    """None if asking again gives the first answer; Refused NB321 if asking twice gives two answers."""
    # the user's own code, which may raise anything
    try:
        again, twice = asked(instances), asked(instances)
    except Exception as error:
        return _not_alike(f"asked again with the example as JSON gives it, they fail: {described(error)}")
    found = next(compare.mismatches(again, twice, ROUNDING), None)
    if found is not None:
        raise refused(
            "NB321",
            f"the role cells answer one request differently each time: {found.expected}, then {found.got}",
            "Seed random generators inside the role cells, and change no state that they read.",
        )
    found = next(compare.mismatches([first], again), None)
    if found is None:
        return None
    return _not_alike(f"they gave {found.expected}, and asked again {found.got} {found.detail}".rstrip())


def _not_alike(why: str) -> Finding:
    return Finding(
        "NB324",
        f"the role cells do not repeat their answer to the example: no reference rows are compared ({why})",
        "They may use what JSON does not carry, such as index labels, or read something changed meanwhile.",
        severity="warning",
    )


# --- reference rows ------------------------------------------------------------------------------


def _not_carried(asked: Asked, reference: Look | None) -> Iterator[Finding]:
    """What JSON cannot carry as it is: about such rows, asking the role cells with JSON proves nothing."""
    request = asked.request
    fields = together(request.seen, reference.seen if reference else None)
    seen = dict(zip(request.labels, fields, strict=True))
    yield from two_kinds(seen)
    if reference is None or request.kind == "array":
        return
    rows = zip(reference.instances, reference.real, strict=True)
    fitting = [(one, real) for one, real in rows if not asked.predictor.problems([one])]
    if fitting:
        decoded = asked.predictor.decode([one for one, _ in fitting])
        data = Rows(decoded[0] if asked.predictor.batch else decoded, request.names)
        back = real_rows(data, range(len(fitting)))
        yield from changed_rows(seen, [real for _, real in fitting], back, _rows(reference.called))


def _affordable(asked: Asked, example: list[Any], instances: list[Any]) -> list[Any]:
    """As many of the rows, evenly spread, as there is time for."""
    started = time.perf_counter()
    asked(example)
    each = (time.perf_counter() - started) / len(example)
    return instances[:: max(1, math.ceil(len(instances) * each / MAX_SECONDS))]


def _rows(called: str) -> str:
    return "sampled reference rows" if called == "reference" else f"sampled rows of {called}"


def _reference_case(
    asked: Asked, instances: list[Any], runtime: ModuleType, findings: list[Finding], called: str
) -> list[dict[str, Any]]:
    fitting = _fitting(asked, instances, findings, _rows(called))
    answered = _answered(asked, fitting, findings, _rows(called)) if fitting else None
    if answered is None:
        return []
    instances, answers = answered
    _encoded(asked, answers, len(instances), runtime)
    return [{"name": called, "instances": instances, "answers": answers}]


def _fitting(asked: Asked, instances: list[Any], findings: list[Finding], rows: str) -> list[Any]:
    """The rows that keep the contract: the reference may hold what the example's types rule out."""
    problems = [asked.predictor.problems([instance]) for instance in instances]
    bad = [found[0] for found in problems if found]
    if bad:
        first = f"{bad[0]['field'] or 'a value'}: {bad[0]['got']} is not {bad[0]['expected']}"
        message = f"{len(bad)} of {len(instances)} {rows} are not like the example ({first})"
        findings.append(Finding("NB323", message, "They are not compared.", severity="warning"))
    return [instance for instance, found in zip(instances, problems, strict=True) if not found]


def _answered(
    asked: Asked, instances: list[Any], findings: list[Finding], rows: str
) -> tuple[list[Any], list[Any]] | None:
    """The instances that the role cells can answer, and their answers; None if there are none."""
    # the user's own code, which may raise anything for rows that it never met
    try:
        return instances, asked(instances)
    except Refused:
        raise
    except Exception as error:
        first = error
    passing = [instance for instance in instances if _passes(asked, instance)]
    failed = len(instances) - len(passing)
    message = f"the notebook's own code fails on {failed} of {len(instances)} {rows}: {described(first)}"
    findings.append(Finding("NB325", message, "Requests like them will fail too.", severity="warning"))
    try:
        return (passing, asked(passing)) if passing else None
    except Exception:
        return None


def _passes(asked: Asked, instance: Any) -> bool:
    # the user's own code, which may raise anything
    try:
        asked([instance])
    except Exception:
        return False
    return True
