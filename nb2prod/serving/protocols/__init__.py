"""The protocols that every endpoint speaks: each a table of routes over the same core."""

from __future__ import annotations

from nb2prod.serving.protocols import mlflow, native, v1, v2
from nb2prod.serving.routes import Table

ROUTES = (*native.ROUTES, *mlflow.ROUTES, *v1.ROUTES, *v2.ROUTES)
TABLE = Table(ROUTES)
