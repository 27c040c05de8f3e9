"""Predictions for requests of any protocol; those that wait together become one call of the model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nb2prod.serving.host import Done, Host, Waiting
from nb2prod.serving.http import Refused, Response, header_safe, problem
from nb2prod.serving.limits import LIMITS, Limits
from nb2prod.serving.loader import LoadedRelease, trace_of

Refuse = Callable[[Refused, str], Response]
"""From a refusal, and the id of the request that it is of, to an answer."""

logger = logging.getLogger("nb2prod.serving")


@dataclass(frozen=True, slots=True)
class Call:
    """A request for predictions, under the id `asked` and in the trace `trace`, in the words of its protocol.

    `parse` gives its instances, or Columns of them; `render` makes the answer of as many predictions.
    Both may raise Refused, of which `refuse` makes an answer.
    """

    asked: str
    parse: Callable[[LoadedRelease], Any]
    render: Callable[[LoadedRelease, list[Any]], Response]
    refuse: Refuse = problem
    trace: str = ""


class Columns:
    """Instances as columns, which are counted before anything is made of them."""

    def __len__(self) -> int:
        raise NotImplementedError

    def instances(self, release: LoadedRelease) -> list[Any] | Whole:
        """One for each row, or all as one; may raise Refused."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Whole:
    """Instances that are one request already, as the notebook's code takes it: they keep the contract.

    `rows` gives them one by one.
    """

    request: Any
    count: int
    rows: Callable[[], list[Any]]

    def __len__(self) -> int:
        return self.count


@dataclass(slots=True)
class _Asked:
    """A call on its way: a response ends it."""

    waiting: Waiting
    call: Call
    instances: list[Any] | Whole
    response: Response | None = None


def predict(host: Host, waiting: Sequence[Waiting]) -> Iterator[Done]:
    """A response to each of the calls that wait, as soon as there is one; none to those whose client left.

    Runs in the worker thread. The release is taken here, not when a request came: none that was swapped out
    meanwhile is used, and none is let go while it is.
    """
    release = host.release
    if release is None:
        yield [(one, one.request.refuse(no_release(host), one.request.asked)) for one in waiting]
        return
    asked = [_read(release, one) for one in waiting]
    yield [(one.waiting, one.response) for one in asked if one.response is not None]
    for group in _groups(release, [one for one in asked if one.response is None]):
        there = [one for one in group if not one.waiting.left]
        if there:
            _answer(release, there)
            yield [(one.waiting, one.response) for one in there]


async def ask(host: Host, call: Call, seconds: float, gone: Callable[[], bool] = lambda: False) -> Response:
    """The response to a call, from the worker thread; Refused 503 if too many wait, 504 after `seconds`.

    Disconnected if its client is `gone` before its turn comes.
    """
    if host.waiting >= limits_of(host).max_waiting:
        raise Refused(503, f"{host.waiting} requests wait for the model already", ("retry-after", "1"))
    try:
        async with asyncio.timeout(seconds):
            response: Response = await host.run(predict, call, gone)
    except TimeoutError:
        raise Refused(
            504, f"no answer within {seconds:.3g} s; the model may still be at work on it"
        ) from None
    return response


def broken(asked: str, what: str) -> str:
    """Log the error at hand, which nobody foresaw, and say what its request is told."""
    logger.exception("request %s %s", asked, what)
    return f"this request {what}; the log has the cause under {asked}: see `nb2prod logs`"


def no_release(host: Host) -> Refused:
    """There is none yet, or it would not load."""
    return Refused(503, host.reason, ("retry-after", "1"))


def limits_of(host: Host) -> Limits:
    """The bounds on a request that comes now: they are those of the release that answers."""
    return host.release.limits if host.release is not None else LIMITS


def loaded(host: Host) -> LoadedRelease:
    """The release that answers; Refused 503 if there is none."""
    if host.release is None:
        raise no_release(host)
    return host.release


def ready(host: Host) -> LoadedRelease:
    """The release that answers, for who asks whether to send requests; Refused 503 if not."""
    if host.drains:
        raise Refused(503, "it is about to end", ("retry-after", "1"))
    return loaded(host)


def named(release: LoadedRelease) -> tuple[tuple[str, str], ...]:
    """Headers that say which release answers."""
    return ("x-model-name", header_safe(release.model_name)), ("x-model-version", str(release.version))


def _read(release: LoadedRelease, waiting: Waiting) -> _Asked:
    call, max_rows = waiting.request, release.limits.max_rows
    try:
        instances = call.parse(release)
        if isinstance(instances, list | Columns) and len(instances) > max_rows:
            raise Refused(413, f"at most {max_rows} instances are taken at a time, got {len(instances)}")
        if isinstance(instances, Columns):
            instances = instances.instances(release)
        if isinstance(instances, Whole):
            return _Asked(waiting, call, instances)
        if errors := release.predictor.problems(instances):
            text = str(release.runtime.InvalidRequest(errors))
            raise Refused(422, text, *named(release), errors=errors)
    except Refused as refused:
        return _Asked(waiting, call, [], call.refuse(refused, call.asked))
    except Exception:  # a mistake of ours must not fail those who wait with it
        return _Asked(waiting, call, [], _broken(release, call, "could not be read"))
    return _Asked(waiting, call, instances)


def _groups(release: LoadedRelease, asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """Requests that the model is asked together."""
    if not (release.predictor.batch and release.batch_safe):
        yield from ([one] for one in asked)
        return
    group: list[_Asked] = []
    rows = 0
    for one in asked:
        if isinstance(one.instances, Whole):
            yield [one]
            continue
        if group and rows + len(one.instances) > release.limits.batch_rows:
            yield group
            group, rows = [], 0
        group.append(one)
        rows += len(one.instances)
    if group:
        yield group


def _answer(release: LoadedRelease, group: Sequence[_Asked]) -> None:
    try:
        found = _found(release.predictor, [one.instances for one in group])
    except BaseException as error:  # the notebook's own code: it may raise anything
        if len(group) == 1:
            group[0].response = _failed(release, error, group[0])
            return
        # a row that the model cannot bear fails its own request alone
        for one in group:
            _answer(release, [one])
        return
    end = 0
    for one in group:
        start, end = end, end + len(one.instances)
        one.response = _rendered(release, one.call, found[start:end])


def _found(predictor: Any, asked: Sequence[Any]) -> list[Any]:
    if isinstance(asked[0], Whole):
        (whole,) = asked
        found: list[Any] = predictor.encode([predictor.run(whole.request)], len(whole))
    else:
        found = predictor.answer([row for instances in asked for row in instances])
    return found


def _rendered(release: LoadedRelease, call: Call, predictions: list[Any]) -> Response:
    try:
        return call.render(release, predictions)
    except Refused as refused:
        return call.refuse(refused, call.asked)
    except Exception:  # the model may answer what JSON or Arrow have no word for
        return _broken(release, call, "was answered with what cannot be sent")


def _broken(release: LoadedRelease, call: Call, what: str) -> Response:
    return call.refuse(Refused(500, broken(call.asked, what), *named(release)), call.asked)


def _failed(release: LoadedRelease, error: BaseException, one: _Asked) -> Response:
    call, beyond = one.call, _beyond(release, one)
    where = "".join(f"\n  notebook: {line}" for line in release.runtime.notebook_lines(error))
    trace = trace_of(error)
    within = f" (trace {call.trace})" if call.trace else ""
    failed = "request %s%s: %s version %s failed%s\n%s"
    level = logging.WARNING if beyond else logging.ERROR
    logger.log(level, failed, call.asked, within, release.model_name, release.version, where, trace)
    if beyond:
        first = release.runtime.InvalidRequest(beyond)
        text = f"the model fails on what the notebook's data did not have: {first}"
        return call.refuse(Refused(422, text, *named(release), errors=beyond), call.asked)
    detail = f"the model failed on this request; its log has the cause under {call.asked}: see `nb2prod logs`"
    return call.refuse(Refused(500, detail, *named(release)), call.asked)


def _beyond(release: LoadedRelease, one: _Asked) -> list[Any]:
    """The values of a request that failed which the notebook's data did not have, if it fails for them alone.

    So it is if the model answers to the same request with values in their place that the data had.
    """
    try:
        rows = one.instances.rows() if isinstance(one.instances, Whole) else one.instances
        like, beyond = release.predictor.seen(rows)
        if beyond:
            release.predictor.answer(like)
    except BaseException:  # the model fails for another reason
        return []
    return list(beyond)
