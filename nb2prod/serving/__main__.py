"""`python -m nb2prod.serving FOLDER`: a package over HTTP, with nothing else of nb2prod."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from nb2prod.serving import containers
from nb2prod.serving.limits import LIMITS, SETTINGS, Limits, option_of
from nb2prod.serving.local import DRAIN_S, CannotServe, Serve, Serving, package_in, serve
from nb2prod.serving.processors import cpus, fit_threads

FOLDER = "a package's folder, or that of an MLflow model which holds one (default: SageMaker's /opt/ml/model)"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 if it was told to end, 2 if FOLDER is nothing to serve, 3 if it could not serve."""
    words = [*sys.argv[1:]] if arguments is None else [*arguments]
    if words[:1] == ["serve"]:  # SageMaker's one argument
        del words[0]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    parser = _parser()
    asked = parser.parse_args(words)
    place = containers.place(os.environ, named=asked.folder is not None)
    fit_threads(os.environ, cpus())
    folder = asked.folder or place.folder
    if folder is None:
        parser.error(f"name FOLDER: {FOLDER}")
    try:
        what = Serve(
            package_in(folder),
            asked.name,
            asked.version,
            place.host if asked.host is None else asked.host,
            place.port if asked.port is None else asked.port,
            asked.drain_s,
            asked.grpc_port,
            place.table,
            Limits.among(vars(asked)),
        )
        serve(what, _told)
    except CannotServe as error:
        print(f"✗ {error.code} {error.message}", *error.lines, f"  {error.hint}", sep="\n", file=sys.stderr)
        return 2 if error.code == "NB511" else 3
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m nb2prod.serving", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help=FOLDER)
    parser.add_argument("--name", default="", help="name of the model (default: the package's)")
    parser.add_argument("--version", type=int, default=1, help="version of the model (default: 1)")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 8000)")
    parser.add_argument("--grpc-port", type=int, help="port to listen on for gRPC as well (default: none)")
    drain = "seconds to answer on after SIGTERM, while readiness says 503 (default: %(default)g)"
    parser.add_argument("--drain-s", type=float, default=DRAIN_S, help=drain)
    for name, setting in SETTINGS.items():
        default, told = getattr(LIMITS, name), f"{setting.what} (default: %(default)s)"
        parser.add_argument(option_of(name), type=partial(_limit, name), default=default, help=told)
    return parser


def _limit(name: str, text: str) -> Any:
    setting, kind = SETTINGS[name], type(getattr(LIMITS, name))
    with suppress(ValueError):
        if setting.fits(kind(text)):
            return kind(text)
    raise argparse.ArgumentTypeError(f"expected {setting.expected}, got {text!r}")


def _told(serving: Serving) -> None:
    print(serving, flush=True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # a model that never comes back must not keep the process: its thread would be waited for
    os._exit(code)
