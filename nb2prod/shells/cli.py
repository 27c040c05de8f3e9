"""The command line. Parses, calls `shells.api`, renders. Exit codes: 0 done, 1 the notebook or the
request is wrong, 2 usage, 3 the environment failed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from nb2prod._version import __version__
from nb2prod.domain import to_json
from nb2prod.errors import Nb2prodError, SetupError, UsageError
from nb2prod.shells.difference import HELP as DIFF_HELP
from nb2prod.shells.options import json_option, limit_options, notebook_argument, run_options

JSON_TOO = "NB2PROD_JSON_TOO"
"""Set by the magics: print the text and, behind a record separator, the JSON document."""

RECORD_SEPARATOR = "\x1e"

HELP = """Take a tagged notebook to production.

Tag the cells of a notebook (example, preprocess, model, postprocess), then:

\b
  nb2prod check NOTEBOOK      what is missing, with cell and line
  nb2prod explain NOTEBOOK    why each line is in the package or out of it
  nb2prod deploy NOTEBOOK     prove it, release it, serve it; ends with a curl line
  nb2prod predict ENDPOINT --example

No notebook at hand? `nb2prod new my_model` writes one that deploys as it is.
Exit codes: 0 done, 1 the notebook or request is wrong, 2 usage, 3 the environment failed.
"""


@click.group(help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="nb2prod")
@click.option(
    "--project", type=click.Path(file_okay=False), help="Project folder (default: found from here)."
)
def cli(project: str | None) -> None:
    if project:
        os.environ["NB2PROD_PROJECT"] = str(Path(project).resolve())


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _emit(noun: Any, as_json: bool, lines: Callable[[], Iterable[str]]) -> None:
    document = json.dumps(to_json(noun), indent=1, ensure_ascii=False)
    if as_json:
        click.echo(document)
        return
    _print(lines())
    if os.environ.get(JSON_TOO):
        click.echo(RECORD_SEPARATOR + document)


def _parameters(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    if not pairs:
        return {}
    import yaml

    return {name: yaml.safe_load(value) for name, value in pairs}


# --- the line ------------------------------------------------------------------------------------


@cli.command()
@notebook_argument
@json_option
def check(notebook: str, name: str | None, as_json: bool) -> None:
    """Say what is wrong with a notebook, with cell, line and fix. Runs nothing."""
    from nb2prod.shells import api, render

    found = api.check(notebook, name=name)
    errors = sum(f.severity == "error" for f in found)

    def lines() -> Iterable[str]:
        yield from render.diagnostics(found)
        yield (
            f"{notebook}: {errors} error{'' if errors == 1 else 's'}"
            if errors
            else f"{notebook}: can be built"
        )

    _emit({"ok": not errors, "diagnostics": found}, as_json, lines)
    sys.exit(1 if errors else 0)


@cli.command()
@notebook_argument
@click.argument("what", required=False, metavar="[NAME|CELL]")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the graph to FILE, one page that needs no network.",
)
@json_option
def explain(notebook: str, name: str | None, what: str | None, page: str | None, as_json: bool) -> None:
    """Say why each line is in the package or out of it. Runs nothing.

    Without NAME or CELL: every cell in order, + for what is in, - for what stays out, ? for what the clean
    run decides; then the state, where it is computed and who reads it. A refusal stands below its line, with
    the edit that would satisfy it.

    \b
      nb2prod explain my.ipynb             the whole notebook
      nb2prod explain my.ipynb model       a name: every binding, which one each role
                                           means, and the training behind its state
      nb2prod explain my.ipynb 12          one cell, by its number or its id
      nb2prod explain my.ipynb --html graph.html
    """
    from nb2prod.shells import api, explained

    found = api.explain(notebook, what, name=name)
    written = [f"Wrote {page}. Open it in a browser."] if page else []
    if page:
        from nb2prod.shells import explained_page

        Path(page).write_text(explained_page.page(found), "utf-8")
    _emit(found, as_json, lambda: written or explained.text(found))
    sys.exit(0 if found.ok else 1)


@cli.command()
@notebook_argument
@click.option("-o", "--out", default="build", show_default=True, help="Folder for the package.")
@json_option
def build(notebook: str, name: str | None, out: str, as_json: bool) -> None:
    """Extract the serving code into a package you can read. Runs nothing."""
    from nb2prod.shells import api, render

    made = api.build(notebook, name=name, out=out)
    folder = str(Path(out) / made.name)
    data = {"name": made.name, "folder": folder, "files": sorted(made.files), "plan": made.plan}
    _emit({**data, "diagnostics": made.diagnostics}, as_json, lambda: render.bundle(made, folder))


@cli.command()
@notebook_argument
@run_options
@click.option(
    "--isolated", is_flag=True, help="Prove it also in an empty environment that holds requirements.txt."
)
@json_option
def validate(
    notebook: str,
    name: str | None,
    pairs: tuple[tuple[str, str], ...],
    rtol: float | None,
    force: bool,
    accelerate: bool | None,
    isolated: bool,
    as_json: bool,
) -> None:
    """Run the notebook clean and prove that the package answers as it does.

    With --isolated also where nothing but its requirements.txt is installed: in a virtual environment under
    .nb2prod/envs, made with uv or pip and used again until the requirements change.
    """
    from nb2prod.shells import api, render

    made = api.validate(
        notebook,
        name=name,
        parameters=_parameters(pairs),
        rtol=rtol,
        force=force,
        isolated=isolated,
        accelerate=accelerate,
        watcher=render.Terminal(),
    )
    data = {"reused": made.reused, "package": made.package, "executed": made.executed, "report": made.report}

    def lines() -> Iterable[str]:
        yield from render.diagnostics(made.report.diagnostics)
        yield from render.report(made.report, reused=made.reused)
        yield f"  package     {made.package}"
        yield f"  executed    {made.executed}"

    _emit(data, as_json, lines)


@cli.command()
@notebook_argument
@run_options
@click.option("--endpoint", help="Name of the endpoint (default: the notebook's name).")
@json_option
def deploy(
    notebook: str,
    name: str | None,
    pairs: tuple[tuple[str, str], ...],
    rtol: float | None,
    force: bool,
    accelerate: bool | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Bring a notebook live: check, build, validate, register, deploy.

    Steps that are already done for this very content are not done again. A failed deploy leaves the
    version that was serving untouched.

    How its requests are bounded is said in pyproject.toml, under [tool.nb2prod]: max_body, max_rows,
    max_waiting, timeout_s, body_s, batch_rows and unseen; `nb2prod serve --help` tells what each is. Deploy
    again after a change of these: it brings them to the endpoint, without a new version.
    """
    from nb2prod.shells import api, render

    made = api.deploy(
        notebook,
        name=name,
        endpoint=endpoint,
        parameters=_parameters(pairs),
        rtol=rtol,
        force=force,
        accelerate=accelerate,
        watcher=render.Terminal(),
    )
    _emit(made, as_json, lambda: render.deployment(made))


@cli.command(help=DIFF_HELP, short_help="Say what changed between releases or a notebook, and what breaks.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@click.option("--name", help="Name of the notebook's model (default: the file's name).")
@click.option("--code", is_flag=True, help="Show the generated code's changes as a unified diff.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if old clients break.")
@json_option
def diff(a: str, b: str | None, name: str | None, code: bool, exit_code: bool, as_json: bool) -> None:
    from nb2prod.shells import api, difference

    found = api.diff(a, b, name=name)
    data = {**to_json(found), "breaks": found.breaks}
    _emit(data, as_json, lambda: difference.lines(found, code=code))
    sys.exit(1 if exit_code and found.breaks == "yes" else 0)


@cli.command()
@click.argument("what", metavar="NAME")
@click.option(
    "--onnx", type=click.Path(dir_okay=False), required=True, metavar="FILE", help="The file to write."
)
@click.option("--state", metavar="KEY", help="Which model, where the release has several.")
@json_option
def export(what: str, onnx: str, state: str | None, as_json: bool) -> None:
    """Write a model of a release as an ONNX file: the one that serves, for use elsewhere.

    NAME is a release (NAME, NAME@VERSION or NAME@ALIAS) or a package's folder.
    """
    from nb2prod.shells import api, render

    made = api.export(what, onnx=onnx, state=state)
    _emit(made, as_json, lambda: render.exported(made))


# --- what is live --------------------------------------------------------------------------------


@cli.command()
@click.argument("endpoint")
@click.option("--example", is_flag=True, help="Send the notebook's own example.")
@click.option("--data", help="The instances as JSON, @FILE, or - for standard input.")
@json_option
def predict(endpoint: str, example: bool, data: str | None, as_json: bool) -> None:
    """Ask a live endpoint. DATA is a list of instances, or {"instances": [...]}."""
    from nb2prod.shells import api

    if example == (data is not None):
        raise click.UsageError("Give either --example or --data.")
    answer = api.predict(endpoint, None if data is None else _instances(data))

    def lines() -> Iterable[str]:
        yield from (json.dumps(prediction, ensure_ascii=False) for prediction in answer["predictions"])
        click.echo(
            f"{answer['model_name']} version {answer['version']}, request {answer['request_id']}", err=True
        )

    _emit(answer, as_json, lines)


def _instances(data: str) -> Any:
    try:
        text = (
            sys.stdin.read()
            if data == "-"
            else Path(data[1:]).read_text("utf-8")
            if data[:1] == "@"
            else data
        )
    except OSError as error:
        raise UsageError(f"cannot read {data[1:]}: {error.strerror}", hint="Check the path.") from error
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--data is not JSON: {error}", hint="Say --data '[{\"a\": 1}]'") from error
    if isinstance(parsed, dict) and isinstance(parsed.get("instances"), list):
        return parsed["instances"]
    return parsed if isinstance(parsed, list) else [parsed]


@cli.command()
@click.argument("what", required=False, metavar="[NAME[@VERSION]|FOLDER]")
@click.option("--local", is_flag=True, default=True, hidden=True)
@click.option("--host", help="Address to listen on (default: 127.0.0.1, this machine only).")
@click.option("--port", type=int, help="Port to listen on (default: 8000).")
@click.option(
    "--drain-s", type=float, help="Seconds to answer on after SIGTERM, while readiness says 503 (default: 3)."
)
@click.option("--grpc-port", type=int, help="Port to listen on for gRPC as well (default: none).")
@limit_options
@json_option
def serve(
    what: str | None,
    local: bool,
    host: str | None,
    port: int | None,
    drain_s: float | None,
    grpc_port: int | None,
    as_json: bool,
    **limits: Any,
) -> None:
    """Serve a release or a package's folder right here, without Ray, until SIGTERM or Ctrl-C.

    For tests, small containers and edge: the same app that an endpoint runs. In containers of SageMaker and
    Vertex AI it answers where they ask. Where nothing else of nb2prod is installed: python -m nb2prod.serving

    Limits that are not given are those of [tool.nb2prod] in pyproject.toml, if it has them.
    """
    import logging

    from nb2prod.shells import api

    def told(serving: Any) -> None:
        _emit(serving, as_json, lambda: [str(serving)])
        sys.stdout.flush()

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    said = {name: value for name, value in limits.items() if value is not None}
    api.serve(what, host=host, port=port, drain_s=drain_s, grpc_port=grpc_port, limits=said, told=told)
    # a model that never comes back must not keep the process: its thread would be waited for
    os._exit(0)


@cli.command()
@json_option
def status(as_json: bool) -> None:
    """List the endpoints: state, version, replicas, URL, and how each release serves."""
    from nb2prod.shells import api, render

    found = api.status()
    _emit({"endpoints": found}, as_json, lambda: render.statuses(found))


@cli.command()
@click.argument("endpoint")
@click.option("-n", "--lines", default=100, show_default=True, help="How many lines.")
@json_option
def logs(endpoint: str, lines: int, as_json: bool) -> None:
    """Show the last log lines of an endpoint: errors with notebook cell and line."""
    from nb2prod.shells import api

    found = api.logs(endpoint, lines=lines)
    _emit({"endpoint": endpoint, "lines": found}, as_json, lambda: found)


@cli.command()
@json_option
def dashboard(as_json: bool) -> None:
    """Print the URL of the Ray dashboard, and the token that it asks for once."""
    from nb2prod.shells import api

    found = api.dashboard()
    token = [f"token: {found.token}"] if found.token else []
    _emit(found, as_json, lambda: [found.url, *token])


@cli.command()
@click.option("--host", help="Address to listen on (default: 127.0.0.1, this machine only).")
@click.option("--port", type=int, help="Port of the endpoints (default: 8000).")
@click.option("--grpc-port", type=int, help="Their port for gRPC (default: the one after --port).")
@json_option
def up(host: str | None, port: int | None, grpc_port: int | None, as_json: bool) -> None:
    """Start the local cluster and restore every endpoint."""
    from nb2prod.shells import api

    info = api.up(host=host, port=port, grpc_port=grpc_port)
    beside = f", gRPC at {info.grpc}" if info.grpc else ""
    _emit({"url": info.url, "grpc": info.grpc}, as_json, lambda: [f"The cluster is up: {info.url}{beside}"])


@cli.command()
@json_option
def down(as_json: bool) -> None:
    """End the cluster that this project started, and no other. Releases and endpoints are kept."""
    from nb2prod.shells import api

    ended = api.down()
    text = "The cluster is down. `nb2prod up` restores its endpoints." if ended else "No cluster was running."
    _emit({"ended": ended}, as_json, lambda: [text])


@cli.command()
@json_option
def doctor(as_json: bool) -> None:
    """Look whether this machine has what nb2prod needs."""
    from nb2prod.shells import api

    found = api.doctor()
    marks = {True: "✓", False: "✗", None: "·"}

    def lines() -> Iterable[str]:
        for item in found:
            yield f"{marks[item.ok]} {item.name:<14} {item.detail}"
            if item.hint:
                yield f"    {item.hint}"

    bad = any(item.ok is False for item in found)
    _emit({"ok": not bad, "findings": found}, as_json, lines)
    sys.exit(3 if bad else 0)


@cli.command()
@click.argument("name")
@json_option
def new(name: str, as_json: bool) -> None:
    """Write a starter notebook NAME.ipynb that deploys as it is."""
    from nb2prod.shells import api

    path = api.new(name)
    _emit({"path": path}, as_json, lambda: [f"Wrote {path}. Next: nb2prod deploy {path}"])


# --- the way out ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """The entry point. Turns every error into a message and an exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        code = cli.main(args=arguments, prog_name="nb2prod", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        if as_json:
            click.echo(json.dumps({"error": "NB002", "message": error.format_message()}))
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. What was serving still serves.", err=True)
        sys.exit(130)
    except Nb2prodError as error:
        _fail(error, as_json)
    except OSError as error:
        told = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        hint = "Free some space, or choose a folder that can be written to; what was serving still serves."
        _fail(SetupError(f"cannot read or write: {told}", code="NB403", hint=hint), as_json)
    except Exception as error:
        # The last line of defence: an unforeseen error still gets a code and a way to report it.
        if os.environ.get("NB2PROD_DEBUG"):
            raise
        hint = "This is a fault in nb2prod. NB2PROD_DEBUG=1 shows the traceback; please report it."
        _fail(Nb2prodError(f"{type(error).__name__}: {error}", hint=hint), as_json)


def _fail(error: Nb2prodError, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(error.to_json(), indent=1, ensure_ascii=False, default=str))
    else:
        from nb2prod.shells import render

        for line in render.error(error):
            click.echo(line, err=True)
    sys.exit(error.exit_code)
