"""The notebook's own answers to the example, as its cells ran. Runs inside the notebook's kernel."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from .finding import Finding, Refused
from .pickling import Homes, Pickled, Unstorable, pickled, restore, type_name
from .places import Cells, article, at, described, origin, refused_at
from .replay import Plan, answer_of, call_stage, outputs_of

UNSENDABLE = "Let the last role give numbers, texts, lists or dicts of them, an array or a DataFrame."


class Answers:
    """What each role gave, by the names that later roles know it by, and the last one's `final` answer."""

    def __init__(self, plan: Plan, cells: Cells) -> None:
        self._stages = plan["stages"]
        self._cells = cells
        self._values: dict[str, Callable[[], Any]] = {}
        self.final: Pickled | None = None

    def see_inline(self, stage: Plan, names: Mapping[str, Any], expression: Any, homes: Homes) -> None:
        """An inline stage's answer, right after its last cell has run."""
        self._keep(stage, answer_of(stage, names, expression), homes)

    def call_functions(self, shell: Any, example: Mapping[str, Pickled], homes: Homes) -> None:
        """Call the function-style stages on the example; Refused NB303 if one fails."""
        for name, stored in example.items():
            self._values.setdefault(name, _copies(stored))
        for stage in self._stages:
            if stage["style"] == "function":
                values = {name: self._values[name]() for name in stage["inputs"]}
                self._keep(stage, self._call(stage, shell, values), homes)

    def _call(self, stage: Plan, shell: Any, values: Mapping[str, Any]) -> Any:
        # the user's own function, which may raise anything
        try:
            return call_stage(stage, shell.user_ns, values)
        except Exception as error:
            place = origin(error, self._cells, shell) or at(self._cells, stage["cells"][-1])
            message = f"{stage['function']} fails on the example: {described(error)}"
            text = "".join(traceback.format_exception(error))
            raise Refused(Finding("NB303", message, traceback=text, **place)) from error

    def _keep(self, stage: Plan, answer: Any, homes: Homes) -> None:
        if stage is self._stages[-1]:
            self.final = self._frozen(stage, answer, homes)
        for name, value in outputs_of(stage, answer).items():
            self._values[name] = _copy(value, homes)

    def _frozen(self, stage: Plan, answer: Any, homes: Homes) -> Pickled:
        try:
            return pickled(answer, homes)
        except Unstorable as problem:
            part = article(type_name(problem.part))
            message = f"the answer of the {stage['role']} role holds {part}, which cannot be sent"
            raise refused_at(self._cells, stage["cells"][-1], "NB224", message, UNSENDABLE) from problem


def _copies(stored: Pickled) -> Callable[[], Any]:
    return lambda: restore(stored)


def _copy(value: Any, homes: Homes) -> Callable[[], Any]:
    """Gives the value as it is now, however it is changed later; itself where it cannot be copied."""
    try:
        return _copies(pickled(value, homes))
    except Unstorable:
        return lambda: value
