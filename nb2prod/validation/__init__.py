"""Runs the notebook from a clean kernel, and proves that the package answers what the notebook answered."""

from nb2prod.validation.accelerate import accelerate
from nb2prod.validation.isolate import isolate
from nb2prod.validation.package import write_package
from nb2prod.validation.prove import prove
from nb2prod.validation.run import clean_run
from nb2prod.validation.stars import expand

__all__ = ["accelerate", "clean_run", "expand", "isolate", "prove", "write_package"]
