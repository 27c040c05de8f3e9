"""Extraction: small notebooks, each one trap, with the answer of notebook and package compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nb2prod.domain import Bundle, Diagnostic
from nb2prod.errors import NotebookError
from nb2prod.extract import check, extract
from nb2prod.extract.extract import FIXED_FILES
from nb2prod.notebook import read
from nb2prod.validation import expand
from tests.harness import package_answer, run, whole
from tests.made import notebook

Cells = tuple[tuple[str, str], ...]


def extracted(folder: Path, cells: Cells) -> Bundle:
    return extract(read(notebook(folder, *cells)))


def same_answer(folder: Path, cells: Cells) -> tuple[Bundle, Any]:
    """The bundle, and the answer that notebook and package agree on."""
    book = read(notebook(folder, *cells))
    ran = run(book, extract(book).plan)
    bundle = whole(book, ran)
    got = package_answer(bundle, ran.stored, ran.request, folder)
    assert repr(got) == repr(ran.answer)
    return bundle, ran.answer


def refusals(folder: Path, cells: Cells) -> list[Diagnostic]:
    with pytest.raises(NotebookError) as caught:
        extracted(folder, cells)
    errors = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert all(d.hint for d in errors), "a refusal without the fix"
    return errors


EXAMPLE = ("example", "request = {'a': 3, 'b': 4}")

AGREE: dict[str, tuple[Cells, Any]] = {
    "an expression at the end is the answer": ((EXAMPLE, ("model", "request['a'] + 1")), 4),
    "a helper below the role's function is no role": (
        (EXAMPLE, ("model", "def f(x):\n    return double(x['a'])\ndef double(x):\n    return 2 * x")),
        6,
    ),
    "a partial takes what it leaves, by name from the first keyword on": (
        (
            ("", "from functools import partial\ndef f(x, k, b, *, c=1):\n    return x * k + b + c"),
            ("example", "x, b = 3, 5"),
            ("model", "predict = partial(f, k=2)"),
        ),
        12,
    ),
    "a partial of a method takes one value": (
        (
            ("", "from functools import partial"),
            ("example", "word = 'b'"),
            ("model", "predict = partial('a-b'.split, maxsplit=1)"),
            ("postprocess", "def joined(parts):\n    return '+'.join(parts)"),
        ),
        "a-+",
    ),
    "a partial of what gives a coroutine": (
        (
            ("", "from functools import partial\nasync def f(x, k):\n    return x['a'] * k"),
            EXAMPLE,
            ("model", "predict = partial(f, k=3)"),
        ),
        9,
    ),
    "a role function that is tried out below": (
        (EXAMPLE, ("model", "def f(x):\n    return x['a'] * 2\nprint(f(request))")),
        6,
    ),
    "a getter of an item": (
        (EXAMPLE, ("model", "from operator import itemgetter\npredict = itemgetter('a')")),
        3,
    ),
    "a trailing semicolon hides the value in the notebook only": (
        (EXAMPLE, ("model", "request['a'] + 1;")),
        4,
    ),
    "an assignment at the end is the answer": ((EXAMPLE, ("model", "y = request['a'] + 1")), 4),
    "what a later role reads is the result, the shown expression is not": (
        (EXAMPLE, ("preprocess", "x = request['a'] * 2\nx"), ("model", "x + 1")),
        7,
    ),
    "two results for two later roles": (
        (
            EXAMPLE,
            ("preprocess", "x = request['a']\nid_ = request['b']"),
            ("model", "y = x * 10"),
            ("postprocess", "{'id': id_, 'y': y}"),
        ),
        {"id": 4, "y": 30},
    ),
    "state named like the role": (
        (("", "model = max([2, 5])"), EXAMPLE, ("model", "model * request['a']")),
        15,
    ),
    "state named like the function of the role": (
        (("", "predict = max([2, 5])"), EXAMPLE, ("model", "predict * request['a']")),
        15,
    ),
    "state as the role cell saw it, re-bound later": (
        (("", "k = max([2, 5])"), EXAMPLE, ("model", "k * request['a']"), ("", "k = max([1, 0])")),
        15,
    ),
    "state re-bound by the role cell itself": (
        (("", "k = max([2, 5])"), EXAMPLE, ("model", "k = k + 1\nk * request['a']")),
        18,
    ),
    "state bound on one branch only inside the role": (
        (("", "k = max([2, 5])"), EXAMPLE, ("model", "if request['a'] > 5:\n    k = 0\nk * request['a']")),
        15,
    ),
    "one name, two values for two roles": (
        (
            ("", "k = max([2, 5])"),
            EXAMPLE,
            ("preprocess", "x = k * request['a']"),
            ("", "k = max([7, 1])"),
            ("model", "x + k"),
        ),
        22,
    ),
    "constants move along": (
        (("", "A = 2\nB = [A, 3]\nC = B + [4]"), EXAMPLE, ("model", "C[request['a'] - 1]")),
        4,
    ),
    "a list changed in place is no constant": (
        (("", "names = ['x']"), ("", "names.append('y')"), EXAMPLE, ("model", "len(names) + request['a']")),
        5,
    ),
    "a constant made of one that is changed is none either": (
        (
            ("", "base = [1]\nboth = [base, base]"),
            ("", "base.append(2)"),
            EXAMPLE,
            ("model", "len(both[0]) + request['a']"),
        ),
        5,
    ),
    "a constant re-bound by a function is none": (
        (
            ("", "k = 2\ndef grow():\n    global k\n    k = 5"),
            ("", "grow()"),
            EXAMPLE,
            ("model", "k * request['a']"),
        ),
        15,
    ),
    "a text that stands for a large value is no constant": (
        (("", "k = 'ab' * 3"), EXAMPLE, ("model", "len(k) + request['a']")),
        9,
    ),
    "a re-bound constant: the binding that reaches": (
        (("", "k = 2"), ("", "k = 5"), EXAMPLE, ("model", "k * request['a']"), ("", "k = 7")),
        15,
    ),
    "helpers, transitively": (
        (
            ("", "import math\ndef f(x):\n    return g(x) + K"),
            ("", "K = 1\ndef g(x):\n    return math.floor(x)"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        4,
    ),
    "mutual recursion": (
        (
            (
                "",
                "def even(n):\n    return n == 0 or odd(n - 1)\n"
                "def odd(n):\n    return n != 0 and even(n - 1)",
            ),
            EXAMPLE,
            ("model", "even(request['b'])"),
        ),
        True,
    ),
    "a function redefined: the latest before the call": (
        (
            ("", "def f(x):\n    return 1"),
            ("", "def f(x):\n    return 2"),
            EXAMPLE,
            ("model", "f(request)"),
            ("", "def f(x):\n    return 3"),
        ),
        2,
    ),
    "a lambda is a function": ((("", "f = lambda x: x + 1"), EXAMPLE, ("model", "f(request['a'])")), 4),
    "a constant re-bound by the role cell": (
        (("", "k = 2"), EXAMPLE, ("model", "k = k + request['a']\nk")),
        5,
    ),
    "a name deleted by the role cell": (
        (("", "k = max([2, 5])"), EXAMPLE, ("model", "y = k + request['a']\ndel k\ny")),
        8,
    ),
    "a function in the role cell reads what the cell binds only later": (
        (
            ("", "c = max([2, 5])"),
            EXAMPLE,
            ("model", "def f(x):\n    return x + c\ny = f(request['a'])\nc = 0\ny + c"),
        ),
        8,
    ),
    "a copy of state may be changed": (
        (
            ("", "seen = list(range(2))"),
            EXAMPLE,
            ("model", "seen = seen.copy()\nseen.append(request['a'])\nseen"),
        ),
        [0, 1, 3],
    ),
    "a helper that copies what it is given before it changes it": (
        (
            ("", "def add(d):\n    d = dict(d)\n    d['c'] = 1\n    return d"),
            EXAMPLE,
            ("", "add(request)"),
            ("model", "add(request)['c'] + request['a']"),
        ),
        4,
    ),
    "comprehension variables are no live-ins": (
        (("", "i = 99"), EXAMPLE, ("model", "sum(i * request['a'] for i in range(3))")),
        9,
    ),
    "a lambda's parameter is no live-in": (
        (("", "x = 99"), EXAMPLE, ("model", "(lambda x: x + 1)(request['a'])")),
        4,
    ),
    "a walrus binds": ((EXAMPLE, ("model", "y = (z := request['a']) + 1\nz + y")), 7),
    "a nested function in the role cell closes over the request": (
        (("", "K = 1"), EXAMPLE, ("model", "def f(y):\n    return request['a'] + y + K\nf(1)")),
        5,
    ),
    "default arguments are read at definition": (
        (
            ("", "k = max([2, 5])\ndef f(x, k=k):\n    return x * k"),
            ("", "k = max([1, 0])"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        15,
    ),
    "decorators and classes": (
        (
            (
                "",
                "import functools\nclass Base:\n    k = 2\nclass Scaler(Base):\n    def go(self, x):\n"
                "        return x * self.k\n@functools.lru_cache\ndef f(x):\n    return Scaler().go(x)",
            ),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        6,
    ),
    "an import that may fail": (
        (
            ("", "try:\n    import no_such_module as fast\nexcept ImportError:\n    fast = None"),
            EXAMPLE,
            ("model", "(fast is None, request['a'])"),
        ),
        (True, 3),
    ),
    "import aliases, submodules": (
        (
            ("", "import os.path as p\nimport xml.dom\nimport xml.sax"),
            EXAMPLE,
            (
                "model",
                "(p.join('a', 'b'), xml.dom.Node.TEXT_NODE, xml.sax.SAXException.__name__, request['a'])",
            ),
        ),
        ("a/b", 3, "SAXException", 3),
    ),
    "strings over several lines keep their text": (
        (EXAMPLE, ("model", 'text = """a\n  b\nc"""\n(text, request["a"])')),
        ("a\n  b\nc", 3),
    ),
    "blanks at the end of a line of text are text": (
        (
            ("", 'def f(x):\n    return """a  \n# b  """ + x'),
            EXAMPLE,
            ("model", 'f("""  \n""") + str(request["a"])'),
        ),
        "a  \n# b    \n3",
    ),
    "the end of a text is no comment": (
        (
            ("", 'text = """\n# no comment"""\ndef f(x):\n    return x + 1'),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        4,
    ),
    "an answer in brackets, hidden by a semicolon": (
        (EXAMPLE, ("model", "(\n    request['a']\n    + 1\n);  # why")),
        4,
    ),
    "two statements on a line": ((EXAMPLE, ("model", "x = request['a']; y = x + 1; print(y)\ny * 2")), 8),
    "loops and with": (
        (
            EXAMPLE,
            (
                "model",
                "import io\ntotal = 0\nfor k, v in request.items():\n    total += v\n"
                "with io.StringIO() as out:\n    out.write('x')\ntotal",
            ),
        ),
        7,
    ),
    "several cells of a role": (
        (EXAMPLE, ("model", "x = request['a']"), ("", "unrelated = 1"), ("model", "y = x + 1\ny")),
        4,
    ),
    "helper functions beside inline code of a role": (
        (EXAMPLE, ("model", "def double(x):\n    return 2 * x"), ("model", "double(request['a'])")),
        6,
    ),
    "function style": (
        (
            ("preprocess", "def preprocess(r):\n    return r['a'] * k"),
            ("", "k = max([2, 5])"),
            (
                "model",
                "LIMIT = 10\ndef helper(x):\n    return x > LIMIT\ndef model(x):\n    return helper(x)",
            ),
            EXAMPLE,
        ),
        True,
    ),
    "function style: the last function is the entry": (
        (("model", "def a(x):\n    return 0\ndef b(x):\n    return a(x) + x['b']"), EXAMPLE),
        4,
    ),
    "function style: further arguments by name": (
        (
            ("preprocess", "def preprocess(request):\n    return request['a']"),
            ("model", "def model(x, request):\n    return x + request['b']"),
            EXAMPLE,
        ),
        7,
    ),
    "function style: state after the roles, fitted later still": (
        (
            ("model", "def model(r):\n    return scaler['k'] * r['a']"),
            EXAMPLE,
            ("", "scaler = dict(k=0)"),
            ("", "scaler.update(k=5)"),
        ),
        15,
    ),
    "function style: an exploration later re-binds the state": (
        (
            ("", "k = max([2, 5])"),
            ("model", "def model(r):\n    return k * r['a']"),
            EXAMPLE,
            ("", "k = max([1, 0])"),
        ),
        15,
    ),
    "an inline role that calls another role's function": (
        (
            ("preprocess", "def preprocess(r):\n    return r['a'] * 2"),
            EXAMPLE,
            ("model", "x = preprocess(request)\nx + 1"),
        ),
        7,
    ),
    "inline, then a function": (
        (EXAMPLE, ("preprocess", "x = request['a'] * 2"), ("model", "def model(v):\n    return v + 1")),
        7,
    ),
    "magics and display lines stay behind": (
        (EXAMPLE, ("model", "x = request['a']\nprint(x)\nx + 1")),
        4,
    ),
    "an example of several names": (
        (("example", "a = 3\nb = [4]"), ("model", "b[0] + a")),
        7,
    ),
    "names that the pipeline uses itself": (
        (EXAMPLE, ("preprocess", "run = request['a']\npreprocess = 1"), ("model", "run + preprocess")),
        4,
    ),
    "a function's name taken for a value": (
        (("", "def f(x):\n    return x"), EXAMPLE, ("model", "f = f(request['a'])\nf + 1")),
        4,
    ),
    "state changed by the role cell: each request works on a copy": (
        (("", "seen = list(range(2))"), EXAMPLE, ("model", "x = request['a']\nseen.append(x)\nlen(seen)")),
        3,
    ),
    "state changed under another name, or through a helper": (
        (
            ("", "seen = list(range(2))\nkept = {'k': []}\ndef push(to, x):\n    to.append(x)"),
            EXAMPLE,
            ("model", "same = seen\nsame.append(1)\npush(kept['k'], request['a'])\n(seen, kept)"),
        ),
        ([0, 1, 1], {"k": [3]}),
    ),
    "state bound to itself, then changed": (
        (("", "seen = list(range(2))"), EXAMPLE, ("model", "seen = seen\nseen.append(request['a'])\nseen")),
        [0, 1, 3],
    ),
    "two values of one name in one module: the role's function takes its own under another name": (
        (
            ("", "k = max([2, 5])\ndef f(x):\n    return x * k"),
            EXAMPLE,
            ("model", "def g(x, n=k):\n    return x + n"),
            ("model", "x = f(request['a'])"),
            ("", "import operator"),
            ("model", "g(x) + operator.neg(k)"),
        ),
        15,
    ),
    "an import inside a block": (
        (
            ("", "import contextlib\nwith contextlib.suppress(ValueError):\n    import math as m\n    y = 1"),
            EXAMPLE,
            ("model", "m.floor(request['a'])"),
        ),
        3,
    ),
    "a role that awaits": (
        (
            ("", "import asyncio\nasync def double(x):\n    await asyncio.sleep(0)\n    return 2 * x"),
            EXAMPLE,
            ("preprocess", "x = await double(request['a'])"),
            ("model", "async with asyncio.timeout(5):\n    y = await double(x)\ny + 1"),
        ),
        13,
    ),
    "an asynchronous role function": (
        (EXAMPLE, ("model", "async def model(r):\n    return r['a'] + 1")),
        4,
    ),
    "a literal changed under another name is state": (
        (
            ("", "names = ['x']\nother = names"),
            ("", "other.append('y')"),
            EXAMPLE,
            ("model", "(names, request)"),
        ),
        (["x", "y"], {"a": 3, "b": 4}),
    ),
    "a value changed under another name between two roles": (
        (
            ("", "k = list(range(2))\nother = k"),
            EXAMPLE,
            ("preprocess", "x = k[0] + request['a']"),
            ("", "other[0] = 5"),
            ("model", "x + k[0]"),
        ),
        8,
    ),
    "the default of a parameter, changed after the definition": (
        (
            ("", "table = dict(a=1)\ndef f(x, t=table):\n    return t['a'] + x"),
            ("", "table['a'] = 5"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        8,
    ),
    "a function made by a function": (
        (
            ("", "k = max([2, 5])\ndef times(n):\n    def apply(x):\n        return n * x\n    return apply"),
            ("", "triple = times(k)"),
            EXAMPLE,
            ("model", "triple(request['a'])"),
        ),
        15,
    ),
    "a named tuple, a compiled pattern, a partial": (
        (
            ("", "import re\nfrom collections import namedtuple\nfrom functools import partial"),
            (
                "",
                "P = namedtuple('P', 'x y')\nWORD = re.compile('a+')\n"
                "half = partial(divmod, 9)\np = P(max([1]), 2)",
            ),
            EXAMPLE,
            ("model", "(tuple(p), tuple(P(1, request['a'])), WORD.findall('caab'), half(request['b']))"),
        ),
        ((1, 2), (1, 3), ["aa"], (2, 1)),
    ),
    "a constant made from its own name": (
        (("", "k = 3"), ("", "k = k + 2"), EXAMPLE, ("model", "k + request['a']")),
        8,
    ),
    "a constant in a default, bound anew in the same cell": (
        (("", "k = 3\ndef f(x, n=k):\n    return x * n\nk = 7"), EXAMPLE, ("model", "f(request['a']) + k")),
        16,
    ),
    "a second name of the example goes to the parameter of that name": (
        (
            ("example", "request = {'a': 3, 'b': 4}\nlimit = 2"),
            ("model", "def model(rows, limit):\n    return rows['a'] > limit"),
        ),
        True,
    ),
    "a second name of the example goes to the keyword of that name": (
        (
            ("example", "request = {'a': 3, 'b': 4}\nlimit = 2"),
            ("model", "def model(rows, *, limit):\n    return rows['a'] > limit"),
        ),
        True,
    ),
    "a constant with a type": ((("", "K: int = 2"), EXAMPLE, ("model", "K * request['a']")), 6),
    "pandas query reads @names": (
        (
            ("", "import pandas as pd\nlimit = max([2, 3])"),
            ("example", "request = pd.DataFrame({'a': [1, 5]})"),
            ("model", "request.query('a > @limit')['a'].tolist()"),
        ),
        [5],
    ),
}


@pytest.mark.parametrize("case", AGREE)
def test_package_answers_as_the_notebook(case: str, tmp_path: Path) -> None:
    cells, answer = AGREE[case]
    bundle, got = same_answer(tmp_path, cells)
    assert got == answer
    for text in bundle.files.values():
        assert "print(" not in text or "runtime" in text


REFUSED: dict[str, tuple[Cells, str, int | None, int | None, str]] = {
    "no model cell": ((EXAMPLE,), "NB130", None, None, "tagged `model`"),
    "no example cell": ((("model", "1"),), "NB131", None, None, "tagged `example`"),
    "example binds nothing": ((("example", "print(1)"), ("model", "1")), "NB132", 1, None, "binds no name"),
    "a name nothing binds": (
        (EXAMPLE, ("model", "x = 1\nrequest['a'] + missing")),
        "NB201",
        2,
        2,
        "`missing`",
    ),
    "a name that a helper needs": (
        (("", "def f(x):\n    return x + missing"), EXAMPLE, ("model", "f(request)")),
        "NB201",
        1,
        1,
        "`missing`",
    ),
    "bound in a skipped cell": (
        (("skip", "k = 2"), EXAMPLE, ("model", "request['a'] * k")),
        "NB202",
        3,
        1,
        "cell 1",
    ),
    "bound too late": ((EXAMPLE, ("model", "request['a'] * k"), ("", "k = 2")), "NB203", 2, 1, "cell 3"),
    "computed from the example outside the roles": (
        (EXAMPLE, ("", "x = request['a']"), ("model", "x + 1 + request['b']")),
        "NB204",
        2,
        1,
        "`x`",
    ),
    "changed by a helper that copies too late": (
        (
            ("", "def add(d):\n    d['c'] = 1\n    d = dict(d)\n    return d"),
            EXAMPLE,
            ("", "add(request)"),
            ("model", "add(request)['c'] + request['a']"),
        ),
        "NB204",
        3,
        1,
        "`request`",
    ),
    "changed between two roles": (
        (EXAMPLE, ("preprocess", "x = [request['a']]"), ("", "x[0] = 5"), ("model", "x[0]")),
        "NB204",
        3,
        1,
        "`x`",
    ),
    "deleted": ((("", "k = 2\ndel k"), EXAMPLE, ("model", "request['a'] * k")), "NB206", 3, 1, "`k`"),
    "no result": ((EXAMPLE, ("model", "if request['a']:\n    pass")), "NB207", 2, 1, "no result"),
    "only a print": ((EXAMPLE, ("model", "print(request)")), "NB207", 2, None, "no result"),
    "a parameter nothing supplies": (
        (EXAMPLE, ("model", "def model(x, threshold):\n    return x")),
        "NB208",
        2,
        1,
        "`threshold`",
    ),
    "a function without parameters": (
        (EXAMPLE, ("model", "def model():\n    return 1")),
        "NB208",
        2,
        1,
        "no argument",
    ),
    "a global counter": (
        (("", "n = max([0])"), EXAMPLE, ("model", "def model(x):\n    global n\n    n += 1\n    return n")),
        "NB209",
        3,
        3,
        "`n`",
    ),
    "a definition that depends on what ran": (
        (
            ("", "flag = max([0, 1])\ndef f(x):\n    return 1"),
            ("", "if flag:\n    y = 2\n    f = abs"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "NB213",
        4,
        1,
        "`f`",
    ),
    "the training cell tagged as model": (
        (("", "X = [1]\ny = [2]"), EXAMPLE, ("model", "fitted = sum(X) + sum(y)")),
        "NB215",
        3,
        1,
        "the request",
    ),
    "a syntax error": ((EXAMPLE, ("model", "x = 1\nx +* 2")), "NB120", 2, 2, "syntax error"),
    "an unterminated string": ((EXAMPLE, ("model", "x = 'a")), "NB120", 2, 1, "syntax error"),
    "python 2 print": ((EXAMPLE, ("", "x = 1\nprint x"), ("model", "request")), "NB121", 2, 2, "print x"),
    "a role ruled by a cell magic": ((EXAMPLE, ("model", "%%bash\nls")), "NB122", 2, 1, "%%bash"),
    "a helper reads what the role binds": (
        (("", "a = 1\ndef f(x):\n    return x + a"), EXAMPLE, ("model", "a = 5\nf(request['a']) + a")),
        "NB212",
        3,
        1,
        "`a`",
    ),
    "state changed by a helper": (
        (
            ("", "seen = list(range(2))\ndef f(x):\n    seen.append(x)\n    return len(seen)"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "NB228",
        1,
        3,
        "`seen`",
    ),
    "a result that a function may read, bound on some paths only": (
        (
            EXAMPLE,
            ("preprocess", "for i in range(0):\n    a = 0\nx = request['a']"),
            ("model", "def f(x):\n    return x + a\nx"),
        ),
        "NB233",
        2,
        1,
        "`a`",
    ),
    "a class changed after its definition": (
        (("", "class C:\n    k = 1"), ("", "C.k = 2"), EXAMPLE, ("model", "C.k + request['a']")),
        "NB227",
        2,
        1,
        "`C`",
    ),
    "two values of one name for two helpers": (
        (
            ("", "k = max([2, 5])\ndef adder(n):\n    def inner(x):\n        return x + n\n    return inner"),
            ("", "add = adder(k)\ndef f(x):\n    return add(x) * k"),
            ("", "k = max([1, 0])"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "NB214",
        2,
        2,
        "`k`",
    ),
    "a function that changes its default": (
        (
            ("", "def f(x, seen=[]):\n    seen.append(x)\n    return len(seen)"),
            EXAMPLE,
            ("model", "f(request)"),
        ),
        "NB231",
        1,
        1,
        "`seen`",
    ),
    "names that no text shows": (
        (("", "def f(n):\n    return globals()[n]"), EXAMPLE, ("model", "f('x') + request['a']")),
        "NB230",
        1,
        2,
        "globals",
    ),
    "training in a role cell": (
        (
            ("", "import math\nX, y = max([[1], [2]]), [1]\nmodel = math"),
            EXAMPLE,
            ("model", "model.fit(X, y)\nmodel.predict(request)"),
        ),
        "NB232",
        3,
        1,
        "`X`",
    ),
    "a block nested too deeply": (
        (EXAMPLE, ("model", "request['a'] + " + "(" * 90 + "1" + ")" * 90 + " + 1" * 3000)),
        "NB120",
        2,
        None,
        "nested too deeply",
    ),
    "a role that is skipped": ((EXAMPLE, ("model skip", "request")), "NB133", 2, None, "`skip`"),
    "two roles on one cell": ((EXAMPLE, ("model preprocess", "request")), "NB134", 2, None, "`preprocess`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_names_code_cell_line_and_fix(case: str, tmp_path: Path) -> None:
    cells, code, number, line, text = REFUSED[case]
    found = next((d for d in refusals(tmp_path, cells) if d.code == code), None)
    assert found is not None, refusals(tmp_path, cells)
    assert found.number == number
    assert line is None or found.line == line
    assert text in found.message
    assert (found.cell is None) == (number is None)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    cells = (("", "print 1"), ("", "x = ("), ("preproces", "a"), ("", "y"))
    found = check(read(notebook(tmp_path, *cells)))
    assert [d.code for d in found] == ["NB130", "NB131", "NB121", "NB120", "NB110"]


def test_a_shell_line_cut_in_two_is_told_of_its_backslash(tmp_path: Path) -> None:
    found = check(read(notebook(tmp_path, ("", "!echo a\n  b"), EXAMPLE, ("model", "request"))))
    assert [(d.code, d.number, d.line) for d in found] == [("NB120", 1, 2)]
    assert found[0].hint is not None
    assert r"goes on below only where it ends in `\`" in found[0].hint


def test_a_tag_misspelt_is_a_warning(tmp_path: Path) -> None:
    cells = (EXAMPLE, ("pre-process", "x = 1"), ("model", "request"), ("my-own-tag", "1"))
    found = check(read(notebook(tmp_path, *cells)))
    assert [(d.code, d.severity, d.number) for d in found] == [("NB110", "warning", 2)]
    assert "`preprocess`" in (found[0].hint or "")


def test_a_role_cell_without_code_has_no_part(tmp_path: Path) -> None:
    cells = (EXAMPLE, ("model", "request['a'] + 1"), ("postprocess", "# later"))
    bundle, answer = same_answer(tmp_path, cells)
    assert answer == 4
    (finding,) = bundle.diagnostics
    assert (finding.code, finding.severity, finding.number) == ("NB135", "warning", 3)


def test_a_star_import_is_looked_up(tmp_path: Path) -> None:
    cells = (("", "from math import *"), EXAMPLE, ("model", "(floor(request['a'] + 0.5), pow(2, 2))"))
    book = read(notebook(tmp_path, *cells))
    found = check(book)
    assert [(d.code, d.severity, d.number) for d in found] == [("NB205", "info", 3)]
    bundle = extract(expand(book))
    assert bundle.diagnostics == ()
    assert "from math import floor, pow\n" in bundle.files["model.py"]


def test_a_star_import_that_fails_is_refused(tmp_path: Path) -> None:
    cells = (EXAMPLE, ("", "from no_such_module import *"), ("model", "floor(request['a'])"))
    with pytest.raises(NotebookError, match="No module named") as caught:
        expand(read(notebook(tmp_path, *cells)))
    assert (caught.value.code, caught.value.number) == ("NB205", 2)


def test_two_moments_of_a_helper_are_refused(tmp_path: Path) -> None:
    cells = (
        ("", "k = max([2, 5])\ndef scale(x):\n    return x * k"),
        EXAMPLE,
        ("preprocess", "x = scale(request['a'])"),
        ("", "k = max([1, 0])"),
        ("model", "scale(x)"),
    )
    assert [d.code for d in refusals(tmp_path, cells)] == ["NB214"]


def test_nothing_but_what_is_needed(tmp_path: Path) -> None:
    cells = (
        (
            "",
            "import matplotlib.pyplot as plt\nimport pandas as pd\nimport os\nUNUSED = 1\n"
            "def unused():\n    return os",
        ),
        ("", "k = max([2, 5])\nother_model = max([1, 2])\nplt.plot([1])"),
        EXAMPLE,
        ("model", "y = k * request['a']\nplt.hist([y])\n# the answer\ny  # here"),
    )
    bundle, _ = same_answer(tmp_path, cells)
    text = "".join(t for f, t in bundle.files.items() if f not in FIXED_FILES)
    for word in ("plt", "pandas", "import os", "UNUSED", "unused", "other_model"):
        assert word not in text
    assert "    # the answer\n    return y  # here\n" in bundle.files["model.py"]
    assert [item.key for item in bundle.plan.state if item.expected] == ["k"]
    assert bundle.imports == ()


def test_same_notebook_same_bytes(tmp_path: Path) -> None:
    path = notebook(tmp_path, ("", "import re, os\nk = max([1])"), EXAMPLE, ("model", "(re, os, k, request)"))
    assert extract(read(path)) == extract(read(path))
    assert extract(read(path)).digest == extract(read(path)).digest


def test_every_generated_line_knows_its_cell(tmp_path: Path) -> None:
    cells = (
        ("", "import math\n\n\ndef f(x):\n    # floor\n    return math.floor(x)"),
        EXAMPLE,
        ("model", "# comment\nx = request['a']\n\nf(x)"),
    )
    bundle = extracted(tmp_path, cells)
    book = read(tmp_path / "made.ipynb")
    assert bundle.source_map
    for mapped in bundle.source_map:
        made = bundle.files[mapped.file].split("\n")[mapped.line - 1]
        original = book.cell(mapped.cell).source.split("\n")[mapped.cell_line - 1]
        assert made.strip().removeprefix("return ") == original.strip().removeprefix("return ")


def test_functions_inside_state_are_offered_a_home(tmp_path: Path) -> None:
    cells = (
        ("", "def embedded(x):\n    return x + extra\nextra = max([1, 2])"),
        ("", "pipe = [embedded]"),
        EXAMPLE,
        ("model", "pipe[0](request['a'])"),
    )
    plan = extracted(tmp_path, cells).plan
    assert plan.rehome == {"embedded": "helpers"}
    assert {(item.key, item.optional) for item in plan.state} == {("pipe", False), ("extra", True)}


def test_modules_are_valid_python_without_unused_imports(tmp_path: Path) -> None:
    for i, (cells, _) in enumerate(AGREE.values()):
        for name, text in extracted(tmp_path, cells).files.items():
            if name.endswith(".py"):
                path = tmp_path / f"case{i}" / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
    # what the cells' own code leaves unused is theirs: only imports and unknown names are ours
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F401,F811,F82,E9"]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
