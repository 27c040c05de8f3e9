"""One clean run as the probe sees it: what to look at before and after each cell."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pickle
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .answers import Answers
from .finding import Finding, Refused, refused
from .made import Made
from .pickling import Homes, pickled, restore
from .places import at, described, failed_line, last_error, made_at, place_of, refused_at
from .planted import Planted, planted
from .proof import Ask, Asked, Proof, prove
from .replay import MISSING, KeepLast, Plan, Replay, Scenes, quiet
from .request import SOURCE, Look, Request, look_at, see_reference, see_request, source_of
from .state import StateCapture
from .types import MORE, Watch, watch_roles
from .unchanged import Unchanged


def _load(path: str, name: str, search: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=search)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Session:
    """What the clean run has shown so far. `job` names the plan, the cells, the tools and the folder."""

    def __init__(self, shell: Any, job: Mapping[str, Any]) -> None:
        self.shell = shell
        self.plan: Plan = job["plan"]
        self.cells: Mapping[str, Mapping[str, Any]] = job["cells"]
        self.folder = Path(job["folder"])
        package = _load(f"{job['package']}/__init__.py", "_nb2prod_package", [job["package"]])
        runtime = importlib.import_module(f"{package.__name__}.runtime")
        self.tools = (runtime, _load(job["compare"], "_nb2prod_compare"))
        self.last = KeepLast()
        shell.ast_transformers.append(self.last)
        self._scenes = Scenes()
        same = self.tools[1].same
        self._state = StateCapture(
            self.plan["state"], self.folder / "state", runtime.codecs, same, self.plan["attributes"]
        )
        self._unchanged = Unchanged(self.plan["watched"], same, self._place)
        self._answers = Answers(self.plan, self.cells)
        self._metrics: dict[str, float] = {}
        self._candidates: dict[str, Any] = {}
        self._request: Request | None = None
        self._reference: Look | None = None
        self._waiting: Any = MISSING
        self._proof: Proof | None = None
        self._watch = Watch()
        self._made = Made(self.cells, shell)
        shell.events.register("post_run_cell", self._made.after)
        self._shown: BaseException | None = None
        self._planted: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self._words = {word for info in self.cells.values() for word in re.findall(r"\w+", info["source"])}

    @property
    def names(self) -> dict[str, Any]:
        """The user's namespace."""
        names: dict[str, Any] = self.shell.user_ns
        return names

    # --- around the cells ------------------------------------------------------------------------

    def before(self, cell: str) -> None:
        """Capture what the cell is about to read, and arm for the value of its last expression."""
        with quiet():
            try:
                self._unchanged.before(cell, self.names, self._homes())
            except Refused as problem:
                raise self._located(problem, cell) from problem
            self._state.capture(cell, "before", self.names, self.plan["rehome"])
            self._unchanged.check_inside(self._state.used)
        if (stage := self._stage_of(cell)) is not None:
            self._scenes.cells[cell] = dict(self.names)
            self._made.hold()
            self._see_planted(deep=stage is self.plan["stages"][-1] and cell == stage["cells"][-1])
        if cell in self.plan["example_cells"]:
            self._remember_candidates()
        self.last.armed, self.last.value = self._wants_value(cell), MISSING
        self._shown = last_error()

    def after(self, cell: str) -> None:
        """Look at what the cell has bound and answered."""
        value, self.last.armed, self.last.value = self.last.value, False, MISSING
        self._refuse_hidden_failure(cell)
        with quiet():
            try:
                self._look(cell, value)
            except Refused as problem:
                raise self._located(problem, cell) from problem

    def _look(self, cell: str, value: Any) -> None:
        if "metrics" in self.cells[cell]["tags"]:
            self._metrics.update(self._numbers(cell, value))
        if cell in self.plan["example_cells"][-1:]:
            self._see_example()
        self._unchanged.after(cell, self.names, self._homes())
        self._state.capture(cell, "after", self.names, self.plan["rehome"])
        self._unchanged.check_inside(self._state.used)
        stage = self._stage_of(cell)
        if stage is not None or cell == self.plan["moment"]:
            self._made.hold()
        if stage is not None and cell == stage["cells"][-1]:
            self._answers.see_inline(stage, self.names, value, self._homes())
        if cell == self.plan["reference_cell"]:
            name = self.plan["reference_name"]
            self._see_reference(self.names.get(name) if name is not None else value)
        if cell == self.plan["moment"]:
            self._see_moment()
        self._prove_when_ready(cell)

    def _refuse_hidden_failure(self, cell: str) -> None:
        """NB300, NB330: IPython takes a cell for done that failed below `%%capture`."""
        error = last_error()
        if error is None or error is self._shown or "%%capture" not in self.cells[cell]["source"]:
            return
        is_check = "check" in self.cells[cell]["tags"]
        where = at(self.cells, cell, failed_line(error, cell, self.cells, self.shell))
        raise refused(
            "NB330" if is_check else "NB300",
            f"{'check failed in ' if is_check else ''}cell {where['number']}{'' if is_check else ' failed'}:"
            f" {described(error)}",
            "`%%capture` hides it, and the notebook goes on: correct the cell, or remove `%%capture` to see.",
            traceback="".join(traceback.format_exception(error)),
            **where,
        )

    def failed_line(self, cell: str) -> int | None:
        """The line at which the cell that just ran has failed."""
        error = last_error()
        return failed_line(error, cell, self.cells, self.shell) if error is not None else None

    def _located(self, problem: Refused, cell: str) -> Refused:
        found = problem.finding
        if found.cell is not None:
            return problem
        return Refused(Finding(**{**found.to_json(), **at(self.cells, cell)}))

    def _homes(self) -> Homes:
        return Homes.now(self.names, self.plan["rehome"])

    def _place(self, code: CodeType) -> str:
        return made_at(code, self.cells, self.shell)

    def _stage_of(self, cell: str) -> Plan | None:
        """The inline stage that a cell belongs to."""
        stages = (s for s in self.plan["stages"] if s["style"] == "inline" and cell in s["cells"])
        return next(stages, None)

    def _wants_value(self, cell: str) -> bool:
        stage = self._stage_of(cell)
        is_result = stage is not None and stage["result"] == "expression" and cell == stage["cells"][-1]
        is_reference = cell == self.plan["reference_cell"] and self.plan["reference_name"] is None
        return is_result or is_reference or "metrics" in self.cells[cell]["tags"]

    # --- what cells give -------------------------------------------------------------------------

    def _numbers(self, cell: str, value: Any) -> dict[str, float]:
        """The numbers of a `metrics` cell; Refused NB331 if its last expression is no dict of them."""
        hint = 'End the cell in a dict such as {"auc": auc, "rows": len(test)}.'
        if not isinstance(value, dict):
            got = "no expression" if value is MISSING else f"a value of type {type(value).__name__}"
            raise refused_at(
                self.cells, cell, "NB331", f"the metrics cell ends in {got}, not a dict of numbers", hint
            )
        for name, number in value.items():
            if not isinstance(name, str) or _number(number) is None:
                message = f"metric {name!r} is no number but a {type(number).__name__}"
                raise refused_at(self.cells, cell, "NB331", message, hint)
        return {name: float(number) for name, number in value.items()}

    def _remember_candidates(self) -> None:
        for name in self.plan["example_reads"]:
            if name in self.names:
                self._candidates.setdefault(name, self.names[name])

    def _see_example(self) -> None:
        cell = self.plan["example_cells"][-1]
        missing = [name for name in self.plan["request"] if name not in self.names]
        if missing:
            message = f"the example cell has not bound {missing[0]!r}"
            raise refused_at(
                self.cells, cell, "NB220", message, f"Bind it on every path: `{missing[0]} = ...`."
            )
        requests = {name: self.names[name] for name in self.plan["request"]}
        self._request = see_request(requests, self._homes(), self.tools[0])
        self._remember_candidates()
        if self._waiting is not MISSING:
            self._see_reference(self._waiting)
        elif self.plan["reference_cell"] is None:
            source = source_of(self._candidates, requests, self._request)
            self._reference = look_at(source, self.tools[0], SOURCE) if source is not None else None
        self._candidates.clear()
        self._waiting = MISSING

    def _see_reference(self, source: Any) -> None:
        if self._request is None:  # the example comes later, and says which columns matter
            self._waiting = source
            return
        try:
            self._reference = see_reference(source, self._request, self.tools[0])
        except Refused as problem:
            raise self._located(problem, self.plan["reference_cell"]) from problem

    def _see_moment(self) -> None:
        assert self._request is not None
        self._scenes.moment = dict(self.names)
        if any(stage["style"] == "function" for stage in self.plan["stages"]):
            self._see_planted(deep=True)
        self._answers.call_functions(self.shell, self._request.stored, self._homes())

    def _see_planted(self, deep: bool) -> None:
        """Remember what the notebook has put into libraries by the time role code runs.

        Containers in those that it mentions are looked into once, when the last role is about to run.
        """
        found = planted("__main__".__eq__, self._words if deep else ())
        self._planted |= {it[:4]: self._described(it) for it in found}

    def _described(self, it: Planted) -> dict[str, Any]:
        value = it.value
        made = value if isinstance(value, type | FunctionType) else type(value)
        inner = [it for it in vars(made).values() if isinstance(it, FunctionType)]
        inner = [made] if isinstance(made, FunctionType) else inner
        place = place_of(inner[0].__code__, self.cells, self.shell) if inner else {}
        kind = (
            "object of the class" if made is not value else "class" if isinstance(made, type) else "function"
        )
        what = f"{kind} `{made.__qualname__}`"
        return {**it._asdict(), "value": None, "what": what, "place": place}

    # --- the end ---------------------------------------------------------------------------------

    def _prove_when_ready(self, cell: str) -> None:
        has_reference = self._reference is not None or self.plan["reference_cell"] is None
        if self._proof is not None or not self._scenes.moment or not has_reference:
            return
        assert self._request is not None
        assert self._answers.final is not None
        first = restore(self._answers.final)
        try:
            self._proof = prove(self._request, self._reference, first, self._fresh, self.tools)
        except Refused as problem:
            raise self._located(problem, self.plan["stages"][-1]["cells"][-1]) from problem
        self._write_cases(self._proof.cases)
        self._watch_roles(self._request, self._proof.contract)
        self._scenes = Scenes()

    def _fresh(self) -> Ask:
        """The role cells as a function, over new copies of the captured state."""
        sources = {cell: str(info["source"]) for cell, info in self.cells.items()}
        state = self._state.restored()
        return Replay(self.shell, self.plan, sources, self._scenes, state, self.last, self._watch)

    def _watch_roles(self, request: Request, contract: Mapping[str, Any]) -> None:
        """See the types of what passes between the roles."""
        predictor, ask = self.tools[0].Predictor(contract, None), self._fresh()
        asked = Asked(predictor, request, lambda: ask)
        more = self._reference.instances[:MORE] if self._reference is not None else []
        fitting = [instance for instance in more if not predictor.problems([instance])]
        watch_roles(self._watch, asked, request.look.instances, fitting, batch=predictor.batch)

    def _write_cases(self, cases: list[dict[str, Any]]) -> None:
        """Each case's answers as bytes of their own: their types need not be there to read the instances."""
        apart = [{**case, "answers": pickled(case["answers"], self._homes()).data} for case in cases]
        (self.folder / "cases.pkl").write_bytes(pickle.dumps(apart))

    def finish(self) -> None:
        """Write what was observed to `observed.json`."""
        assert self._proof is not None
        assert self._request is not None
        data = self._reference or self._request.look
        kept = self._state.kept()
        files = self._state.files()
        self.write("portraits.json", self._unchanged.portraits)
        self.write("planted.json", [*self._planted.values()])
        observed = {
            "contract": self._proof.contract,
            "state": files,
            "rehomed": sorted({name for stored in kept.values() for name in stored.used}),
            "decoding": sorted(_decoding(self._request, self._proof.contract)),
            "values": self._watch.values(),
            "settings": self._made.found(),
            "metrics": self._metrics,
            "data_digest": data.digest,
            "reference_rows": data.count,
            "findings": [f.to_json() for f in (*self._proof.findings, *self._state.findings())],
            "prefix": sys.prefix,
        }
        self.write("observed.json", observed)

    def write(self, name: str, data: Any) -> None:
        """A result for the client, as JSON."""
        (self.folder / name).write_text(json.dumps(data), "utf-8")


def _number(value: Any) -> float | None:
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    is_number = isinstance(value, int | float) or (
        kind in ("b", "i", "u", "f") and not hasattr(value, "__len__")
    )
    return float(value) if is_number else None


def _decoding(request: Request, contract: Mapping[str, Any]) -> set[str]:
    """The modules with which the package's runtime rebuilds such a request."""
    needed = {name for field in contract["fields"] for name in _decoding_missing(field)}
    kinds = {part.python for seen in request.seen for part in seen.all_parts()}
    if request.kind == "frame" or "Timestamp" in kinds:
        needed |= {"pandas", "numpy"}
    if request.kind == "array" or any(re.fullmatch(r"(u?int|float)\d+", kind) for kind in kinds):
        needed.add("numpy")
    if request.kind == "frame" and kinds & {"str", "string"} and "pyarrow" in sys.modules:
        needed.add("pyarrow")  # pandas then keeps texts in it, and some answers depend on that
    return needed


def _decoding_missing(field: Mapping[str, Any]) -> set[str]:
    needed = {"np.nan": {"numpy"}, "NA": {"pandas", "numpy"}, "NaT": {"pandas", "numpy"}}
    parts = [_decoding_missing(part) for part in field["parts"]]
    return needed.get(field["missing"], set()).union(*parts)
