"""Options and arguments that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nb2prod.serving.limits import LIMITS, SETTINGS, UNSEEN, option_of

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(
        command
    )


def notebook_argument(command: F) -> F:
    command = click.option("--name", help="Name of package, model and endpoint (default: the file's name).")(
        command
    )
    return click.argument("notebook", type=click.Path(dir_okay=False))(command)


def run_options(command: F) -> F:
    for option in (
        click.option("-p", "--parameter", "pairs", nargs=2, multiple=True, metavar="NAME VALUE",
                     help="Replace a parameter of the notebook; VALUE is read as YAML: 0.3, true, text."),
        click.option("--rtol", type=float, help="Relative tolerance of parity (default: exact)."),
        click.option("--force", is_flag=True, help="Run the notebook even if nothing changed."),
        click.option("--accelerate/--no-accelerate", default=None, help="Let onnxruntime answer for models "
                     "where it is proven to answer alike, and quicker (default: do)."),
    ):  # fmt: skip
        command = option(command)
    return command


def limit_options(command: F) -> F:
    for name, setting in reversed([*SETTINGS.items()]):
        default = getattr(LIMITS, name)
        kind = click.Choice(UNSEEN) if name == "unseen" else type(default)
        told = f"{setting.what[:1].upper()}{setting.what[1:]} (default: {default})."
        command = click.option(option_of(name), type=kind, help=told)(command)
    return command
