"""Two contracts compared: what changed, and whether clients written for the old one break.

A request breaks an old client if the new release refuses what the old one took. The rules are those of
the package's runtime: a field that is missing, unknown, null without leave or of another type is refused; a
range, texts and categories are only what was seen, but an unknown category is answered as if it were missing,
so that a client may break. A response breaks an old client if it holds what the old one never did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from nb2prod.domain import Breaks, Contract, Field, FieldChange
from nb2prod.extract.schema import category_type, json_value

RECORDS = frozenset({"frame", "records", "record", "names"})
NESTED = frozenset({"record", "map", "list"})

SHOWN = 10
"""Categories that are named in a reason."""


def compared(old: Contract, new: Contract) -> tuple[FieldChange, ...]:
    """Every change from one contract to another, requests first."""
    request = _Side("request", _taken).compare(_instance(old), _instance(new), "")
    if old.answer is None or new.answer is None:
        return tuple(request)
    return (*request, *_Side("response", _given).compare(old.answer, new.answer, ""))


def _instance(contract: Contract) -> Field:
    """One instance of a request as a field: what it looks like in JSON."""
    if contract.kind in RECORDS or not contract.fields:
        return Field("", "record", "dict", parts=contract.fields)
    instance = replace(contract.fields[0], name="")
    for size in reversed(contract.shape):
        instance = Field("", "list", "list", parts=(instance,), length=size)
    return instance


Verdict = tuple[str, Breaks, str]
"""What changed, whether old clients break, and why."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Compares requests, or responses: `verdicts` are what changed about one value, but for its parts."""

    side: Literal["request", "response"]
    verdicts: Callable[[Field, Field], Iterator[Verdict]]

    def compare(self, old: Field, new: Field, path: str) -> Iterator[FieldChange]:
        """The changes from one field to another, those of its parts included."""
        yield from (self._change(path, *verdict) for verdict in self.verdicts(old, new))
        if old.dtype == new.dtype == "record":
            yield from self._records(old, new, path)
        elif (old.dtype, new.dtype) == ("record", "map") and self.side == "request":
            for part in old.parts:
                yield from self.compare(part, new.parts[0], _joined(path, part.name))
        elif (old.dtype, new.dtype) == ("map", "record") and self.side == "response":
            for part in new.parts:
                yield from self.compare(old.parts[0], part, _joined(path, part.name))
        elif old.dtype == new.dtype and old.parts and new.parts:
            step = f"{path}.*" if old.dtype == "map" else f"{path}[]"
            yield from self.compare(old.parts[0], new.parts[0], step.lstrip("."))

    def _records(self, old: Field, new: Field, path: str) -> Iterator[FieldChange]:
        before, after = ({part.name: part for part in field.parts} for field in (old, new))
        for name, part in before.items():
            if name in after:
                yield from self._key(part, after[name], _joined(path, name))
            else:
                yield self._change(_joined(path, name), *self._removed(part))
        for name in after.keys() - before.keys():
            yield self._change(_joined(path, name), *self._added(after[name]))

    def _key(self, old: Field, new: Field, path: str) -> Iterator[FieldChange]:
        if old.optional != new.optional:
            yield self._change(path, *self._optional(new.optional))
        yield from self.compare(old, new, path)

    def _removed(self, field: Field) -> Verdict:
        if self.side == "request":
            return "removed", "yes", "fields that the contract does not name are refused"
        if field.optional:
            return "removed", "maybe", "clients that read it where it was there find nothing"
        return "removed", "yes", "clients that read it find nothing"

    def _added(self, field: Field) -> Verdict:
        what = f"added: {described(field)}"
        if self.side == "response":
            return what, "no", "clients ignore what they do not know"
        if field.optional:
            return what, "no", "it may be left out"
        return what, "yes", "it is required, and old clients do not send it"

    def _optional(self, now: bool) -> Verdict:
        if self.side == "request":
            may = ("required → optional", "no", "it may be left out now")
            must = ("optional → required", "yes", "old clients may leave it out")
            return may if now else must  # type: ignore[return-value]
        if now:
            return (
                "always there → may be missing",
                "maybe",
                "clients that rely on it fail where it is missing",
            )
        return "may be missing → always there", "no", "clients that expect it to be missing are served too"

    def _change(self, path: str, change: str, breaks: Breaks, reason: str) -> FieldChange:
        return FieldChange(self.side, path, change, breaks, reason)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def described(field: Field) -> str:
    """A field's type in words: `integer`, `list of 3 numbers`, `string or null`."""
    part = field.parts[0].dtype if field.dtype in ("list", "map") and field.parts else ""
    count = "" if field.length is None else f"{field.length} "
    text = {"list": f"list of {count}{part}", "map": f"map of {part}"}.get(field.dtype, field.dtype)
    return f"{text} or null" if field.nullable else text


# --- requests: does the new release take what the old one took? ----------------------------------


def _taken(old: Field, new: Field) -> Iterator[Verdict]:
    if old.nullable and not new.nullable:
        yield "may be null → never null", "yes", "null was accepted, and is refused now"
    elif new.nullable and not old.nullable:
        yield "never null → may be null", "no", "null is accepted too"
    if old.dtype != new.dtype:
        change = f"{described(replace(old, nullable=False))} → {described(replace(new, nullable=False))}"
        yield (change, *_retyped(old, new))
    elif old.dtype == "list" and old.length != new.length:
        yield f"{_length(old)} → {_length(new)}", *_relength(old, new)
    elif old.dtype == "category":
        yield from _recategorised(old, new)
    elif old.dtype == "datetime":
        yield from _other_moments(old, new)
    if new.dtype in ("integer", "number") and old.dtype in ("integer", "number"):
        yield from _other_bounds(old, new)
    yield from _other_ranges(old, new)


def _retyped(old: Field, new: Field) -> tuple[Breaks, str]:
    pair = (old.dtype, new.dtype)
    if new.dtype == "any":
        return "no", "any value is accepted"
    if pair == ("integer", "number"):
        return "no", "integers are numbers"
    if pair == ("number", "integer"):
        return "yes", "numbers with a fraction are refused"
    if pair == ("record", "map"):
        return "no", "any keys are accepted"
    if pair == ("datetime", "string"):
        return "no", "moments are sent as text"
    if pair == ("category", "string"):
        kind = category_type(old.python)
        if kind in ("", "string") and all(json_value(text) is None for text in old.categories or ()):
            return "no", "any text is accepted"
        return "yes", "numbers or truth values were accepted, and are refused"
    if pair == ("category", "datetime") and not category_type(old.python):
        return "maybe", "categories that are no moments are refused"
    if new.dtype == "category":
        return _to_category(old, new)
    if old.dtype == "any":
        return "maybe", f"any value was accepted, and now only {described(new)}"
    return "yes", f"{described(replace(old, nullable=False))} values are refused"


def _to_category(old: Field, new: Field) -> tuple[Breaks, str]:
    known, seen, kind = set(new.categories or ()), set(old.categories or ()), category_type(new.python)
    if old.dtype == "boolean" and {"True", "False"} <= known:
        return "no", "both truth values are categories"
    if old.dtype == "string" and seen and seen <= known:
        return "maybe", "any text was accepted; texts that were never seen are refused now"
    alike = {"string": "string", "datetime": "string", "integer": "number", "number": "number"}
    if kind and alike.get(old.dtype, old.dtype) == kind:
        return "maybe", f"values other than {_some(new.categories)} are taken as missing"
    return "yes", f"values other than {_some(new.categories)} are refused"


def _some(texts: tuple[str, ...] | None) -> str:
    shown = list(texts or ())[:SHOWN]
    return ", ".join(shown) + (", …" if len(texts or ()) > SHOWN else "")


def _recategorised(old: Field, new: Field) -> Iterator[Verdict]:
    before, after = old.categories or (), new.categories or ()
    gone = tuple(text for text in before if text not in after)
    more = tuple(text for text in after if text not in before)
    was, kind = category_type(old.python), category_type(new.python)
    if was != kind:
        words = {"": "other values", "string": "texts", "number": "numbers", "boolean": "truth values"}
        breaks: Breaks = "yes" if was in ("string", "number") else "maybe"
        yield f"categories: {words[was]} → {words[kind]}", breaks, f"{words[was]} are refused but for some"
    elif gone:
        removed = f"categories removed: {_some(gone)}"
        yield (
            (removed, "maybe", "they are taken as missing") if kind else (removed, "yes", "they are refused")
        )
    if more:
        yield f"categories added: {_some(more)}", "no", "they are accepted too"


def _length(field: Field) -> str:
    return "any length" if field.length is None else f"length {field.length}"


def _relength(old: Field, new: Field) -> tuple[Breaks, str]:
    if new.length is None:
        return "no", "lists of any length are accepted"
    if old.length is None:
        return "maybe", f"lists of another length than {new.length} are refused now"
    return "yes", f"lists of length {old.length} are refused"


# --- what a moment or a number may be ----------------------------------------------------------------

_FRACTIONS = {"D": -1, "s": 0, "ms": 3, "us": 6}


def _moment(field: Field) -> tuple[str, bool | None]:
    """The unit of a datetime, and whether it must have a UTC offset; None if it may."""
    dtype = re.match(r"(?:datetime64|timestamp)\[(\w+)(, [^]]+)?\]", field.python)
    return (dtype[1], bool(dtype[2])) if dtype else ("", None)


def _other_moments(old: Field, new: Field) -> Iterator[Verdict]:
    (before, offset), (after, wanted) = _moment(old), _moment(new)
    names = {True: "with UTC offset", False: "without UTC offset", None: "with or without UTC offset"}
    if wanted is not None and wanted != offset:
        breaks: Breaks = "maybe" if offset is None else "yes"
        yield f"{names[offset]} → {names[wanted]}", breaks, f"moments must be {names[wanted]} now"
    elif wanted is None and offset is not None:
        yield f"{names[offset]} → {names[None]}", "no", "both are accepted"
    if _FRACTIONS.get(after, 9) < _FRACTIONS.get(before, 9):
        yield f"unit {before or 'any'} → {after}", "maybe", f"moments must be in whole {after} now"
    elif after == "ns" and before != "ns":
        yield f"unit {before or 'any'} → ns", "maybe", "years before 1678 and after 2261 are refused now"


def _bounds(field: Field) -> tuple[float, float]:
    sized = re.match(r"(u?)int(8|16|32|64)", field.python, re.IGNORECASE)
    if field.dtype == "integer" and sized is not None:
        bits = int(sized[2])
        return (0, 2**bits - 1) if sized[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    highest = {"float16": 65504.0, "float32": 3.4028234663852886e38}.get(field.python.lower(), float("inf"))
    return (-highest, highest) if field.dtype == "number" else (-float("inf"), float("inf"))


def _other_bounds(old: Field, new: Field) -> Iterator[Verdict]:
    """Narrower types: what was seen decides whether clients are sure to break."""
    (low, high), (lowest, highest) = _bounds(new), _bounds(old)
    if (low <= lowest and high >= highest) or (old.dtype, new.dtype) == ("number", "integer"):
        return
    ends = [end for end in (old.minimum, old.maximum) if isinstance(end, int | float)]
    outside = any(not low <= end <= high for end in ends)
    reason = f"values beyond {low:g} to {high:g} are refused now"
    yield f"{old.python} → {new.python}", "yes" if outside else "maybe", reason


def _other_ranges(old: Field, new: Field) -> Iterator[Verdict]:
    seen = [f"{f.minimum} to {f.maximum}" if f.minimum is not None else "" for f in (old, new)]
    if all(seen) and seen[0] != seen[1]:
        yield f"seen {seen[0]} → {seen[1]}", "no", "ranges are only what was seen"
    if old.dtype == new.dtype == "string" and old.categories and new.categories:
        more = tuple(text for text in new.categories if text not in old.categories)
        gone = tuple(text for text in old.categories if text not in new.categories)
        if more or gone:
            told = [f"{mark}{_some(texts)}" for mark, texts in (("+", more), ("-", gone)) if texts]
            yield f"texts seen: {'; '.join(told)}", "no", "any text is accepted"


# --- responses: does the new release give only what the old one gave? ----------------------------


def _given(old: Field, new: Field) -> Iterator[Verdict]:
    if new.nullable and not old.nullable:
        yield "never null → may be null", "maybe", "clients may not expect null"
    elif old.nullable and not new.nullable:
        yield "may be null → never null", "no", "clients that expect null are served too"
    if old.dtype != new.dtype:
        change = f"{described(replace(old, nullable=False))} → {described(replace(new, nullable=False))}"
        yield (change, *_retyped_answer(old, new))
    elif old.dtype == "list" and old.length != new.length:
        yield f"{_length(old)} → {_length(new)}", *_relength_answer(old, new)
    elif old.dtype == "string":
        yield from _other_texts(old, new)
    if old.dtype == new.dtype and old.dtype not in ("string", *NESTED):
        yield from _other_ranges(old, new)


def _retyped_answer(old: Field, new: Field) -> tuple[Breaks, str]:
    pair = (old.dtype, new.dtype)
    if old.dtype == "any":
        return "no", "clients had to expect anything"
    if pair == ("number", "integer"):
        return "no", "integers are numbers"
    if pair == ("map", "record"):
        return "no", "clients had to expect any keys"
    if pair == ("integer", "number"):
        return "maybe", "clients may expect whole numbers"
    if pair == ("string", "datetime"):
        return "no", "moments are sent as text"
    return "yes", f"clients that read it as {described(replace(old, nullable=False))} fail"


def _relength_answer(old: Field, new: Field) -> tuple[Breaks, str]:
    if old.length is None:
        return "no", "clients had to expect any length"
    if new.length is None:
        return "maybe", f"clients may expect {old.length} values"
    return "yes", f"clients may expect {old.length} values"


def _other_texts(old: Field, new: Field) -> Iterator[Verdict]:
    """Few different texts are labels, which clients tell apart."""
    if not old.categories:
        return
    if not new.categories:
        yield "few texts → any text", "maybe", f"clients may know only {_some(old.categories)}"
        return
    more = tuple(text for text in new.categories if text not in old.categories)
    gone = tuple(text for text in old.categories if text not in new.categories)
    if more:
        yield f"texts added: {_some(more)}", "maybe", f"clients may know only {_some(old.categories)}"
    if gone:
        yield f"texts not seen any more: {_some(gone)}", "no", "clients that expect them are served too"
