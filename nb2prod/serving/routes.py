"""Which path is answered by what: a table of routes, and how a request finds its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nb2prod.serving.core import Call, Refuse
from nb2prod.serving.host import Host
from nb2prod.serving.http import Refused, Response, problem


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of a request before its body. `names` are what the {names} of its route's path are."""

    asked: str
    headers: Mapping[bytes, bytes]
    names: Mapping[str, str]

    def header(self, name: bytes) -> str:
        """A header by its name in lower case; "" if there is none."""
        return str(self.headers.get(name, b""), "latin-1")


Told = Callable[[Request, Host], Response]
"""Answers a request that needs no model. May raise Refused."""

Calls = Callable[[Request, bytes], Call]
"""Makes a call of a request for predictions and its body. Neither blocks nor raises."""


@dataclass(frozen=True, slots=True)
class Route:
    """What one method at a path does. `{name}` in a path stands for any text without a slash."""

    method: str
    path: str
    told: Told | None = None
    calls: Calls | None = None
    refuse: Refuse = problem

    def tell(self, request: Request, host: Host) -> Response:
        """The answer of a route that needs no model."""
        assert self.told is not None
        return self.told(request, host)


def get(path: str, told: Told, refuse: Refuse = problem) -> Route:
    """A route that tells something."""
    return Route("GET", path, told=told, refuse=refuse)


def post(path: str, calls: Calls, refuse: Refuse = problem) -> Route:
    """A route that predicts."""
    return Route("POST", path, calls=calls, refuse=refuse)


class Table:
    """Routes, found by path and method. HEAD is answered as GET is."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [*routes]
        self._plain: dict[str, dict[str, Route]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = {}
        for route in self._routes:
            if "{" in route.path:
                pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(route.path)))
                methods = self._patterns.setdefault(route.path, (pattern, {}))[1]
            else:
                methods = self._plain.setdefault(route.path, {})
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a request, and the names in its path; Refused 404 or 405."""
        names: Mapping[str, str] = {}
        methods = self._plain.get(path)
        if methods is None:
            methods, names = self._matched(path)
        if method not in methods:
            allow = ", ".join(methods)
            beside = [r.path for r in self._routes if r.method == method and _first(r.path) == _first(path)]
            others = f"; {method} goes to {', '.join(beside)}" if beside else ""
            raise Refused(405, f"{path:.200} takes {allow}, not {method}{others}", ("allow", allow))
        return methods[method], names

    def refuse(self, path: str) -> Refuse:
        """How to refuse a request for a path that has no route: as those that begin as it does."""
        return next((r.refuse for r in self._routes if _first(r.path) == _first(path)), problem)

    def _matched(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        for pattern, methods in self._patterns.values():
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        known = ", ".join(f"{route.method} {route.path}" for route in self._routes)
        raise Refused(404, f"there is no {path:.200} here; there are {known}")


def _first(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
