"""Code that runs again and again, followed until nothing is added."""

from __future__ import annotations

from collections.abc import Callable

from nb2prod.extract.applied import Given, unfollowed
from nb2prod.extract.things import Flow

_MOST_ROUNDS = 12


def repeat(flow: Flow, follow: Callable[[], None]) -> None:
    """Follow a loop from round to round; what is inside comes round with it, and no more often."""
    flow.repeats = True
    if not _settles(flow, follow):
        around = frozenset(flow.outside.values())
        anything = unfollowed(flow, Given([around, *flow.names.values()]))
        for name in list(flow.names):
            flow.bind(name, anything)
        follow()
    flow.repeats = False


def _settles(flow: Flow, follow: Callable[[], None]) -> bool:
    for _ in range(_MOST_ROUNDS):
        before = flow.world.added
        follow()
        if flow.world.added == before:
            return True
    return False


def settle(flow: Flow, follow: Callable[[], None]) -> None:
    """Follow a function or statement of the top level: again if functions inside it have not seen all."""
    for _ in range(_MOST_ROUNDS):
        flow.begin()
        follow()
        if flow.since is None or flow.world.added == flow.since:
            return
    # it never ends: here, too, a call may do all that is known
    before, flow.world.exhausted = flow.world.exhausted, True
    flow.begin()
    follow()
    flow.world.exhausted = before
