"""IPython's cells as plain Python: each example as a real shell runs it, each statement on its line."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output

from nb2prod.notebook.magics import plain_code


class Shell(InteractiveShell):
    """A real shell that writes down commands instead of running them, for they take long."""

    def system(self, cmd: str) -> None:
        self.user_ns["seen"].append(cmd)

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> list[str]:
        return [cmd]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    made = Shell(ipython_dir=str(tmp_path_factory.mktemp("ipython")))
    yield made
    for name in ("display", "get_ipython", "__IPYTHON__"):
        vars(builtins).pop(name, None)  # which the shell has put there, for all code of the process


BEFORE = "def f(x=1):\n    return x * 10\nseen = []\ndata = {'a': 1}\n"


def ran(shell: InteractiveShell, source: str) -> dict[str, Any]:
    """What a cell binds in a shell, by name; a cell that fails fails the test."""
    for name in set(shell.user_ns) - set(shell.user_ns_hidden) - {"_", "__", "___"}:
        del shell.user_ns[name]
    with capture_output():
        exec(BEFORE, shell.user_ns)
        before = set(shell.user_ns)
        shell.run_cell(source).raise_error()
    return {
        name: "captured" if isinstance(value, CapturedIO) else value
        for name, value in shell.user_ns.items()
        if name not in before - {"seen", "data"} and not name.startswith("_")
    }


SAME = {
    "plain Python": "a = 1\nb = a",
    "a continuation that looks like a magic": "x = (f(3)\n% 7)\ny = 2",
    "the same beside a magic": "%matplotlib --list\nx = (f(3)\n% 7)\ny = 2",
    "%time": "%time x = f(2)\ny = x",
    "%time over lines": "%time x = max(1, \\\n  2)\ny = 3",
    "%time of two statements": "%time x = 1; y = 2",
    "%time that gives nothing": "%time",
    "%time's option": "%time --no-raise-error x = 1",
    "%time before a comment": "%time x = 1 # one",
    "the value of %time": "y = %time f(3)\nz = y",
    "the value of %time over lines": "y = %time max(1, \\\n  2)\nz = y",
    "the value of %time of an assignment is None": "y = %time x = 3",
    "the value of %time of two statements": "y = %time x = 1; x + 1",
    "%time with two targets": "x, y = %time (1, 2)",
    "%time for an item": "data['b'] = %time f()",
    "%time with a type": "x: int = %time f()",
    "%time in a branch": "if True:\n    %time x = 1\n    y = 2",
    "the value of %time in a function": "def g():\n    y = %time f(4)\n    return y\nx = g()\ndel g",
    "%time of another magic": "%time files = !echo hi\nx = 1",
    "%time in a loop": "for i in range(2):\n    %time x = f(i)",
    "letters beyond ASCII before a magic": "é = %time f(2)",
    "%timeit binds nothing": "x = 1\n%timeit -n1 -r1 x = 2\ny = x",
    "%timeit's result": "t = %timeit -n1 -r1 seen.append(1)\nx = 2",
    "%prun": "%prun -q x = f()\ny = x",
    "%prun gives None": "y = %prun -q f()",
    "%%time": "%%time\nx = 1\ny = 2",
    "%%time below blank lines": "\n\n%%time\nx = 1",
    "%%time in an indented cell": "  %%time\n  x = 1\n  y = 2",
    "%%time's option": "%%time --no-raise-error\nx = 1",
    "%%time over a magic": "%%time\n\n# so\n%time x = 1\n!echo hi\ny = 2",
    "%%capture": "%%capture\nprint(1)\nx = 1",
    "%%capture into a name": "%%capture out\nprint(1)\nx = 1",
    "%%capture with an option": "%%capture --no-stderr out\nx = 1",
    "%%capture of a cell that ends in a semicolon binds nothing": "%%capture out\nx = 1;",
    "%%capture over %%time": "%%capture out\n%%time\nx = f(2)",
    "%%time over %%capture": "%%time\n%%capture out\nx = f(2)",
    "%%prun": "%%prun -q\nx = 1\ny = f(x)",
    "%%prun with a first statement": "%%prun -q x = 1\ny = x",
    "%%timeit binds nothing": "%%timeit -n1 -r1\nx = 1\ny = f(x)",
    "%%bash into a name": "%%bash --out listing\necho hi",
    "shell lines": "!echo hi\nx = 1\nfiles = !echo hi\ny = 2",
    "a shell line in a loop": "for i in range(2):\n    !echo hi\n    x = i",
    "a shell line that Python cannot tokenise": "!echo \"don't (\nx = 1\n%time y = 2\n!echo [\nz = 3",
    "many of them": "\n".join(f"!echo \"{n} don't\nx{n} = {n}" for n in range(20)),
    "help": "x = 1\nf?\n?f\nf??\ny = 2",
    "help over an item": "x = 1\nseen[0]?\ny = 2",
    "calls without brackets": "/print 3\n,print a b\nx = 1",
    "prompts pasted along": ">>> x = 1\n>>> y = 2\n>>> if x:\n...     z = 3",
    "IPython's prompts pasted along": "In [1]: x = 1\n   ...: y = 2",
    "one such prompt": "In [12]: x = 1",
    "a cell of one line that is a magic": "pip --help x",
    "a cell of one line that times": "time x = 3",
    "indentation": "  x = 1\n  y = 2\n  %time z = 3",
    "tabs": "\tx = 1\n\tif x:\n\t\t%time y = 2\n",
    "form feeds": "\x0cx = 1\n%time y = 2\nz = 'a\x0cb'",
    "odd line ends inside a text": "x = 'a\u2028b\x85c'\n%time y = x\nz = 2",
    "a magic inside a text is none": 'x = """\n%time y = 1\n!ls\n"""\n%time z = 2',
    "a magic after a comment": "# first\n%time x = 1",
    "trailing blank lines": "%time x = 1\n\n\n",
    "%env": "%env NB2PROD_TEST=1\nx = 1",
    "a very long line": "%time x = [" + "1, " * 2_000 + "]\ny = len(x)",
}


@pytest.mark.parametrize("source", SAME.values(), ids=SAME)
def test_binds_what_the_cell_binds(shell: InteractiveShell, source: str) -> None:
    plain = plain_code(source)
    assert plain.code.count("\n") == source.count("\n")
    ast.parse(plain.code)
    expected = ran(shell, source)
    got = ran(shell, plain.code)
    assert _comparable(got) == _comparable(expected)


def _comparable(names: dict[str, Any]) -> dict[str, Any]:
    timings = {"t"}
    return {name: type(v).__name__ if name in timings else v for name, v in names.items()}


REFUSED = {
    "a cell magic below a comment": ("# so\n%%time\nx = 1", 2),
    "a cell magic below code": ("x = 1\n\n%%time\ny = 2", 3),
    "code beside %%time": ("%%time x = 1\ny = 2", 1),
    "a comment beside %%time": ("%%time # so\ny = 2", 1),
    "two names for %%capture": ("%%capture a b\nx = 1", 1),
    "an option that %%capture has not": ("%%capture -x\nx = 1", 1),
    "no body": ("%%time", 1),
    "%time over brackets": ("x = 1\n%time y = max(1,\n  2)", 3),
    "%time of no Python": ("x = 1\n%time y = = 2", 2),
    "%timeit of no Python": ("x = 1\n%timeit print x", 2),
    "below a magic": ("%matplotlib --list\n!echo hi\nx = = 1", 3),
    "below a magic of two lines": ("%time x = max(1, \\\n 2)\ny = = 1", 3),
    "below magics, at a dedent": ("%matplotlib --list\nif 1:\n        x = 1\n    y = 2", 4),
    "inside %%time": ("\n%%time\nx = 1\ny = = 2", 4),
    "inside %%timeit": ("%%timeit -n1 -r1\nx = 1\ny = = 2", 3),
    "a magic below another statement of its line": ("x = 1; %time y = 2", 1),
    "a magic in brackets": ("x = [1,\n%time 2]", 2),
}


@pytest.mark.parametrize(("source", "line"), REFUSED.values(), ids=REFUSED)
def test_what_ipython_refuses_python_refuses_at_that_line(
    shell: InteractiveShell, source: str, line: int
) -> None:
    with capture_output():
        assert not shell.run_cell(source).success
    with pytest.raises(SyntaxError) as caught:
        ast.parse(plain_code(source).code)
    assert caught.value.lineno == line


@pytest.mark.parametrize(
    ("source", "magic", "code"),
    [
        ("%%bash\nls", "bash", ""),
        ("%%script python\nx = 1", "script", ""),
        ("%%html\n<b>", "html", ""),
        ("%%writefile a.py\nx = 1", "writefile", ""),
        ("%%!\nls", "!", ""),
        ("%%capture\n%%bash\nls", "bash", ""),
        ("%%R -i df -o fit,res\nfit <- 1", "R", "fit := get_ipython().user_ns['fit']"),
        ("%%bigquery frame --project p\nselect 1", "bigquery", "frame := get_ipython().user_ns['frame']"),
        ("%%sql rows <<\nselect 1", "sql", "rows := get_ipython().user_ns['rows']"),
        ("%%timeit\n# nothing", "timeit", "def _(): pass"),
        ("%%timeit?", None, "get_ipython().run_line_magic('pinfo', '%%timeit')"),
    ],
)
def test_what_rules_a_cell(source: str, magic: str | None, code: str) -> None:
    plain = plain_code(source)
    assert plain.magic == magic
    assert code in plain.code
    assert bool(plain.code) == bool(code)


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("%timeit f(x)", {"f", "x"}),
        ("t = %timeit -o -n 3 f(x)", {"f", "x"}),
        ("%timeit y = f(x); y + z", {"f", "x", "y", "z"}),
        ("y = %prun -l 7 f(x)", {"f", "x"}),
        ("%%timeit -n1\ny = f(x)", {"f", "x"}),
    ],
)
def test_what_timed_code_reads_is_seen(source: str, reads: set[str]) -> None:
    tree = ast.parse(plain_code(source).code)
    loads = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert loads - {"get_ipython"} == reads


def test_what_percent_store_restores_is_bound() -> None:
    code = plain_code("%store -r first second\nx = 1").code
    assert "first := get_ipython()" in code
    assert "second := get_ipython()" in code
    assert code.split("\n")[1] == "x = 1"


def test_a_function_keeps_a_timed_assignment_as_a_call(shell: InteractiveShell) -> None:
    source = "def g():\n    %time q = 1\n    return q\n"
    assert "run_line_magic('time', 'q = 1')" in plain_code(source).code
    with capture_output(), pytest.raises(NameError):  # IPython binds it nowhere that `return` would look
        shell.run_cell(source + "g()").raise_error()


def test_a_cell_of_sql_is_not_slow() -> None:
    source = "%sql select a\n" + "\n".join(f", column_{n} as c{n}?" for n in range(2_000))
    assert plain_code(source).code.count("\n") == source.count("\n")


# --- any cell ------------------------------------------------------------------------------------

NAMES = st.sampled_from(["alpha", "beta", "gamma"])
VALUES = st.one_of(
    st.integers(0, 9).map(str), st.builds("f({})".format, st.integers(0, 9)), st.just("[1, 2]")
)
SIMPLE = st.one_of(
    st.builds("{} = {}".format, NAMES, VALUES),
    st.builds("%time {} = {}".format, NAMES, VALUES),
    st.builds("{} = %time {}".format, NAMES, VALUES),
    st.builds("{} = %time {} = {}".format, NAMES, NAMES, VALUES),
    st.builds("%time {} = {}; {} = {}".format, NAMES, VALUES, NAMES, VALUES),
    st.builds("{} = %time max(1, \\\n    {})".format, NAMES, st.integers(0, 9)),
    st.builds("%prun -q {} = {}".format, NAMES, VALUES),
    st.builds("{} = %prun -q {}".format, NAMES, VALUES),
    st.builds("%timeit -n1 -r1 {} = {}".format, NAMES, VALUES),
    st.builds("{} = (7\n% {})".format, NAMES, st.integers(1, 9)),
    st.builds("{} = '''\n%time x = {}\n!ls'''".format, NAMES, VALUES),
    st.sampled_from(
        ["!true", "!true \\\n  yes", "!true \"don't (", "%env", "f?", "# comment", "", "    ", "print(1);"]
    ),
    st.builds("{} = !echo {}".format, NAMES, st.integers(0, 9)),
    st.builds("seen.append({})".format, VALUES),
)


def _block(head: str, lines: list[str]) -> str:
    return "\n".join([head, *(f"    {line}" for text in lines for line in text.split("\n")), "    pass"])


LINES = st.one_of(
    SIMPLE,
    st.builds(_block, st.sampled_from(["if True:", "for i in range(2):", "with open('/dev/null'):"]),
              st.lists(SIMPLE, min_size=1, max_size=3)),
)  # fmt: skip
HEADERS = st.lists(
    st.sampled_from(["", "%%time", "%%capture", "%%capture out", "%%prun -q", "%%timeit -n1 -r1", "  "]),
    max_size=3,
)


@settings(max_examples=150, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])  # fmt: skip
@given(HEADERS, st.lists(LINES, min_size=1, max_size=6), st.sampled_from(["", "\n"]))
def test_any_cell_binds_the_same_on_the_same_lines(
    shell: InteractiveShell, headers: list[str], lines: list[str], end: str
) -> None:
    source = "\n".join([*headers, *lines]) + end
    assume(
        "%%timeit" not in source or "%prun" not in source
    )  # which would bind the notebook's names all the same
    # what `%%timeit` runs through another magic stays bound: such a name counts as unbound, and is refused
    assume(not any(header.startswith("%%timeit") for header in headers[:-1]))
    # a magic over blanks alone runs nothing; it is refused as one without a body
    assume(not headers or any(line.strip() for line in lines))
    try:
        expected = ran(shell, source)
    except Exception as error:
        event("the cell itself fails")
        assume(isinstance(error, SyntaxError))
        with pytest.raises(SyntaxError):
            ast.parse(plain_code(source).code)
        return
    event("compared")
    plain = plain_code(source)
    assert plain.code.count("\n") == source.count("\n")
    rows = source.split("\n")
    assert all(name in rows[line - 1] for line, name in _bindings(plain.code))
    got = ran(shell, plain.code)
    if plain.magic == "timeit":  # a function that nothing calls stands for its code
        got, expected = ({**names, "seen": None} for names in (got, expected))
    assert got == expected


def _bindings(code: str) -> Iterator[tuple[int, str]]:
    """(line, name) of all that plain code binds."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
