"""Trace contexts as requests carry them (W3C), and spans of OpenTelemetry: off unless the environment asks.

Source: https://www.w3.org/TR/trace-context/,
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from nb2prod.serving.http import Response, Scope, header

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

TRACEPARENT = "traceparent"

# version 00 ends after its flags; a later one may go on
_VALID = re.compile(
    r"(?!ff)(?!00-.{52}.)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_LONGEST = 512
_PROTOCOLS = {"grpc": "otlp_proto_grpc"}

logger = logging.getLogger("nb2prod.serving")


def traceparent(scope: Scope) -> str:
    """The request's traceparent; "" if it has none that is valid."""
    return valid(header(scope, b"traceparent"))


def valid(text: str | None) -> str:
    """A traceparent; "" if it is none."""
    return text if text and len(text) <= _LONGEST and _VALID.fullmatch(text) else ""


def trace_id(parent: str) -> str:
    """The id of the trace that a traceparent names; "" of none."""
    return parent[3:35]


class Tracing:
    """One span for each request, sent where the environment says."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("nb2prod")

    async def answer(
        self, scope: Scope, name: str, asked: str, respond: Callable[[str], Awaitable[Response]]
    ) -> Response:
        """What `respond` makes of the span's own traceparent, within that span."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, StatusCode

        carrier = {str(key, "latin-1"): str(value, "latin-1") for key, value in scope["headers"]}
        about = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "nb2prod.request_id": asked,
        }
        with self._tracer.start_as_current_span(
            name,
            extract(carrier),
            SpanKind.SERVER,
            attributes=about,
            # a client that left is no failure
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            own = span.get_span_context()
            parent = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
            response = (await respond(parent)).with_header(TRACEPARENT, parent)
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 500:
                span.set_status(StatusCode.ERROR)
        return response

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for spans, by OpenTelemetry's own variables."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if exporter := environ.get("OTEL_TRACES_EXPORTER"):
        return exporter != "none"
    return any(environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))


def from_environment(environ: Mapping[str, str]) -> Tracing | None:
    """Tracing as the environment asks for it; None if it does not, or if it is not installed."""
    if not wanted(environ):
        return None
    name = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if name == "otlp":
        protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", ""
        )
        name = _PROTOCOLS.get(protocol, "otlp_proto_http")
    try:
        return Tracing(_provider(environ, _exporter(name)))
    except ImportError as error:
        package = f"opentelemetry-exporter-{name.replace('_', '-')}"
        logger.warning("no spans are sent: %s; pip install opentelemetry-sdk %s", error, package)
        return None


def _exporter(name: str) -> Any:
    found = importlib.metadata.entry_points(group="opentelemetry_traces_exporter", name=name)
    for entry in found:
        return entry.load()()
    raise ImportError(f"no exporter is called {name}")


def _provider(environ: Mapping[str, str], exporter: Any) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    is_named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(resource=Resource.create({} if is_named else {"service.name": "nb2prod"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
