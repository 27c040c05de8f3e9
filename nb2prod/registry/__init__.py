"""Releases and where they come from, in MLflow."""

from nb2prod.registry.registry import Registry

__all__ = ["Registry"]
