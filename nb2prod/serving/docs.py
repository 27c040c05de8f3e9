"""The page that shows an endpoint's OpenAPI document: Swagger UI, its assets out of a PyPI package."""

from __future__ import annotations

from pathlib import Path

from nb2prod.serving.http import Response

# All links are relative, so the page works under any prefix.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>nb2prod</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

START = """SwaggerUIBundle({
  url: new URL("docs/openapi.json", document.baseURI).href,
  dom_id: "#page",
  validatorUrl: null,
  tryItOutEnabled: true,
  displayRequestDuration: true,
});
"""

ASSETS = {
    "favicon-32x32.png": "image/png",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}

SECURITY = (
    "content-security-policy",
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'",
)


def page() -> Response:
    """The Swagger UI page."""
    return Response(200, PAGE.encode(), "text/html; charset=utf-8", (SECURITY,))


def asset(name: str) -> Response | None:
    """A file of the page; None if there is no such file, or swagger-ui-bundle is not installed."""
    if name == "start.js":
        return Response(200, START.encode(), "text/javascript; charset=utf-8")
    if name not in ASSETS:
        return None
    try:
        from swagger_ui_bundle import swagger_ui_path
    except ImportError:
        # a slim production image may leave it out
        return None
    body = (Path(swagger_ui_path) / name).read_bytes()
    return Response(200, body, ASSETS[name], (("cache-control", "max-age=86400"),))
