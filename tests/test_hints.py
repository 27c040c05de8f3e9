"""Every refusal carries the edit that satisfies it: each hint is followed here by hand.

A notebook mended so must not only extract: its package answers as the notebook does.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nb2prod.errors import Nb2prodError, NotebookError, ParityError
from nb2prod.extract import check, extract
from nb2prod.notebook import read
from nb2prod.shells import api
from nb2prod.validation import expand
from tests import plans
from tests.made import TINY, notebook
from tests.test_docs import used_codes
from tests.test_extract import EXAMPLE, Cells, refusals, same_answer

NO_ERRORS = {f"NB{n}" for n in (100, 108, 110, 111, 116, 135, 136, 137, 210, 218, 236, 238)}
"""Warnings and notes, and the code that stands for any other."""


@dataclass(frozen=True)
class Case:
    """A notebook that is refused, words of the hint, and the notebooks that following it makes."""

    cells: Cells
    hint: str
    mended: tuple[Cells, ...]
    options: dict[str, Any] = field(default_factory=dict)
    mended_options: dict[str, Any] = field(default_factory=dict)


MODEL = ("model", "request['a'] + 1")
HELPER = ("", "def f(x):\n    return x + missing")
SEEN = ("", "seen = list(range(2))")
FITTED = (
    "",
    "class Mean:\n"
    "    def fit(self, X):\n        self.mean = sum(X) / len(X)\n"
    "    def predict(self, x):\n        return x - self.mean\n"
    "X = list(range(3))\nmean = Mean()",
)

SCORER = (
    "",
    "class Scorer:\n"
    "    def __init__(self, by):\n        self.by = by\n"
    "    def __call__(self, row):\n        return row['a'] * self.by",
)

GENERIC = "from functools import singledispatch\n@singledispatch\ndef f(x):\n    return 1"
ACCESSOR = (
    "import pandas as pd\n"
    "class Money:\n"
    "    def __init__(self, s):\n        self.s = s\n"
    "    def cents(self):\n        return (self.s * 100).tolist()"
)
MONEY = "register_series_accessor('money')"
CENTS = "pd.Series([request['a']]).money.cents()"
LISTING = (
    "class Base:\n    known = {}\n    def __init_subclass__(cls):\n        Base.known[cls.__name__] = cls"
)
COUNTED = (
    "from collections import defaultdict\ncounts = defaultdict(int, {3: 1})\n"
    "def counted(x):\n    return counts[x] + len(counts)"
)
NESTED = (
    "from collections import defaultdict\nfrom functools import partial\n"
    "counts = defaultdict(partial(defaultdict, int))\ncounts[0][3] = 1\n"
    "def counted(x):\n    return counts[0][x] + len(counts[0])"
)
DROPPING = (
    "class Model:\n"
    "    def __init__(self):\n        self.w = 2\n        self.extra = {}\n"
    "    def __getstate__(self):\n        return {'w': self.w}\n"
    "    def __setstate__(self, state):\n        vars(self).update({'extra': {}, **state})\n"
    "    def score(self, k):\n        return self.extra.get(k, self.w)\n"
    "m = Model()\nm.extra[9] = 1"
)
KEEPING = DROPPING.replace("{'w': self.w}", "vars(self)")
TAGGED = (
    "import numpy as np\n"
    "class Tagged(np.ndarray):\n"
    "    def of(self, k):\n        return float(self[0]) * getattr(self, 'by', 1) + k\n"
    "w = np.ones(2).view(Tagged)\nw.by = 3"
)
TAGGED_STORED = (
    "    def __reduce__(self):\n"
    "        make, given, state = super().__reduce__()\n"
    "        return make, given, (state, vars(self))\n"
    "    def __setstate__(self, state):\n"
    "        super().__setstate__(state[0])\n"
    "        vars(self).update(state[1])\n"
)
BESIDE = (
    "import numpy as np\n"
    "class Tagged:\n"
    "    def __init__(self, values, by):\n        self.values, self.by = values, by\n"
    "    def of(self, k):\n        return float(self.values[0]) * self.by + k\n"
    "w = Tagged(np.ones(2), 3)"
)

CACHED = (
    "",
    "from functools import lru_cache\nrates = {'a': 2}\n@lru_cache\ndef rate(x):\n    return rates.get(x, 1)",
)

# --- what the text alone shows --------------------------------------------------------------------

MENDED: dict[str, Case] = {
    "NB120 syntax": Case(
        (EXAMPLE, ("model", "request['a'] +* 2")),
        "Correct the cell.",
        ((EXAMPLE, ("model", "request['a'] * 2")),),
    ),
    "NB120 syntax elsewhere": Case(
        (("", "x = ("), EXAMPLE, MODEL),
        "Correct the cell, or tag it `skip`.",
        ((("", "x = ()"), EXAMPLE, MODEL), (("skip", "x = ("), EXAMPLE, MODEL)),
    ),
    "NB120 depth": Case(
        (EXAMPLE, ("model", "request['a']" + " + 1" * 3000)),
        "Split it into several statements.",
        ((EXAMPLE, ("model", f"x = request['a']{' + 1' * 30}\nx{' + 1' * 30}")),),
    ),
    "NB121": Case(
        (("", "print 1"), EXAMPLE, MODEL), "write print(...)", ((("", "print(1)"), EXAMPLE, MODEL),)
    ),
    "NB122": Case(
        (EXAMPLE, MODEL, ("check", "%%bash\nls")),
        "Remove `%%bash`, or the tag.",
        ((EXAMPLE, MODEL, ("check", "assert True")), (EXAMPLE, MODEL, ("", "%%bash\nls"))),
    ),
    "NB130": Case((EXAMPLE, ("", "request['a'] + 1")), "add the tag `model`", ((EXAMPLE, MODEL),)),
    "NB131": Case(
        (("", "request = {'a': 3}"), MODEL), "tag it `example`", ((("example", "request = {'a': 3}"), MODEL),)
    ),
    "NB132": Case(
        (("example", "print({'a': 3})"), ("model", "1")),
        "`request = ...`",
        ((("example", "request = {'a': 3}"), MODEL),),
    ),
    "NB133": Case(
        (EXAMPLE, ("model skip", "request['a']")),
        "Remove one of the two tags",
        ((EXAMPLE, ("model", "request['a']")),),
    ),
    "NB134": Case(
        (EXAMPLE, ("preprocess model", "x = request['a']\nx + 1")),
        "Split it: one role a cell.",
        ((EXAMPLE, ("preprocess", "x = request['a']"), ("model", "x + 1")),),
    ),
    "NB201": Case(
        (HELPER, EXAMPLE, ("model", "f(request['a'])")),
        "Bind `missing` in an earlier cell",
        ((("", "missing = 1"), HELPER, EXAMPLE, ("model", "f(request['a'])")),),
    ),
    "NB201 misspelt": Case(
        (("", "limit = 2"), EXAMPLE, ("model", "request['a'] + limt")),
        "Did you mean `limit`?",
        ((("", "limit = 2"), EXAMPLE, ("model", "request['a'] + limit")),),
    ),
    "NB202": Case(
        (("skip", "k = 2"), EXAMPLE, ("model", "request['a'] * k")),
        "Remove the tag `skip` from cell 1.",
        ((("", "k = 2"), EXAMPLE, ("model", "request['a'] * k")),),
    ),
    "NB203": Case(
        (EXAMPLE, ("model", "request['a'] * k"), ("", "k = max([2])")),
        "Move cell 3 up, before this one.",
        ((EXAMPLE, ("", "k = max([2])"), ("model", "request['a'] * k")),),
    ),
    "NB203 in a helper": Case(
        (("", "def f(x):\n    return x * k"), EXAMPLE, ("model", "f(request['a'])"), ("", "k = max([2])")),
        "Move cell 4 up, before this one.",
        ((("", "k = max([2])"), ("", "def f(x):\n    return x * k"), EXAMPLE, ("model", "f(request['a'])")),),
    ),
    "NB203 in one cell": Case(
        (EXAMPLE, ("", "def f(x, k=k):\n    return x * k\nk = 2"), ("model", "f(request['a'])")),
        "Move line 3 up, before this line.",
        ((EXAMPLE, ("", "k = 2\ndef f(x, k=k):\n    return x * k"), ("model", "f(request['a'])")),),
    ),
    "NB204 computed": Case(
        (EXAMPLE, ("", "x = request['a']"), ("model", "x + request['b']")),
        "Tag this cell with the role it belongs to, or move the line into the role cell.",
        (
            (EXAMPLE, ("preprocess", "x = request['a']"), ("model", "x + request['b']")),
            (EXAMPLE, ("model", "x = request['a']"), ("model", "x + request['b']")),
            (EXAMPLE, ("model", "x = request['a']\nx + request['b']")),
        ),
    ),
    "NB204 by a role's function": Case(
        (EXAMPLE, ("", "def f(r):\n    return r['a']"), ("", "x = f(request)"), ("model", "x + 1")),
        "Tag this cell with the role it belongs to",
        (
            (
                EXAMPLE,
                ("", "def f(r):\n    return r['a']"),
                ("preprocess", "x = f(request)"),
                ("model", "x + 1"),
            ),
        ),
    ),
    "NB204 changed": Case(
        (EXAMPLE, ("preprocess", "x = [request['a']]"), ("", "x[0] = 5"), ("model", "x[0]")),
        "Tag this cell `model`, or move the line into the model cell.",
        (
            (EXAMPLE, ("preprocess", "x = [request['a']]"), ("model", "x[0] = 5"), ("model", "x[0]")),
            (EXAMPLE, ("preprocess", "x = [request['a']]"), ("model", "x[0] = 5\nx[0]")),
        ),
    ),
    "NB204 the request changed": Case(
        (EXAMPLE, ("", "request['a'] = 9"), MODEL),
        "Tag this cell `model`, or move the line into the model cell.",
        (
            (EXAMPLE, ("model", "request['a'] = 9"), MODEL),
            (EXAMPLE, ("model", "request['a'] = 9\nrequest['a'] + 1")),
        ),
    ),
    "NB206": Case(
        (("", "k = 2\ndel k"), EXAMPLE, ("model", "request['a'] * k")),
        "Delete it after the role cells, or not at all.",
        (
            (("", "k = 2"), EXAMPLE, ("model", "request['a'] * k"), ("", "del k")),
            (("", "k = 2"), EXAMPLE, ("model", "request['a'] * k")),
        ),
    ),
    "NB207": Case(
        (EXAMPLE, ("model", "import math")),
        "an expression on its last line, or an assignment",
        (
            (EXAMPLE, ("model", "import math\nmath.sqrt(request['a'])")),
            (EXAMPLE, ("model", "import math\nanswer = math.sqrt(request['a'])")),
        ),
    ),
    "NB207 of two names": Case(
        (EXAMPLE, ("model", "x = y = 0\nif request['a']:\n    x = 1\nelse:\n    y = 2")),
        "Name the answer on a last line: `x` or `y`.",
        ((EXAMPLE, ("model", "x = y = 0\nif request['a']:\n    x = 1\nelse:\n    y = 2\ny")),),
    ),
    "NB207 on some paths": Case(
        (EXAMPLE, ("model", "if request['a']:\n    y = 1")),
        "Bind `y` on every path: give it a value above this line.",
        ((EXAMPLE, ("model", "y = 0\nif request['a']:\n    y = 1")),),
    ),
    "NB207 of what is shown": Case(
        (EXAMPLE, ("model", "print(request['a'] + 1)")),
        "End the cell with `request['a'] + 1` alone: `print` shows it, and gives nothing.",
        ((EXAMPLE, ("model", "request['a'] + 1")),),
    ),
    "NB207 of a class": Case(
        (EXAMPLE, ("model", "class M:\n    def score(self, row):\n        return row['a']")),
        "End the cell with what an object of `M` answers",
        (
            (
                EXAMPLE,
                ("model", "class M:\n    def score(self, row):\n        return row['a']\nM().score(request)"),
            ),
        ),
    ),
    "NB208 a parameter": Case(
        (EXAMPLE, ("model", "def model(x, threshold):\n    return x['a'] > 2")),
        "Give `threshold` a default, or one of the example's names (`request`)",
        (
            (EXAMPLE, ("model", "def model(x, threshold=2):\n    return x['a'] > threshold")),
            (
                EXAMPLE,
                ("preprocess", "x = request['b']"),
                ("model", "def model(x, request):\n    return x > request['a']"),
            ),
        ),
    ),
    "NB208 no parameter": Case(
        (EXAMPLE, ("model", "def model():\n    return 1")),
        "Give it a parameter",
        ((EXAMPLE, ("model", "def model(request):\n    return request['a']")),),
    ),
    "NB209": Case(
        (
            ("", "n = max([0])"),
            EXAMPLE,
            ("model", "def model(x):\n    global n\n    n += x['a']\n    return n"),
        ),
        "Drop `global n` and return the value under a local name",
        (
            (
                ("", "n = max([0])"),
                EXAMPLE,
                ("model", "def model(x):\n    grown = n + x['a']\n    return grown"),
            ),
        ),
    ),
    "NB209 of what is only counted": Case(
        (
            ("", "n = 0\ndef f(x):\n    global n\n    n += 1\n    return x * 2"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Drop this line and `global n`: no answer reads it",
        ((("", "n = 0\ndef f(x):\n    return x * 2"), EXAMPLE, ("model", "f(request['a'])")),),
    ),
    "NB212": Case(
        (("", "a = 1\ndef f(x):\n    return x + a"), EXAMPLE, ("model", "a = 5\nf(request['a']) + a")),
        "Pass `a` to the function as an argument, or give it another name here.",
        (
            (
                ("", "a = 1\ndef f(x, a):\n    return x + a"),
                EXAMPLE,
                ("model", "a = 5\nf(request['a'], a) + a"),
            ),
            (("", "a = 1\ndef f(x):\n    return x + a"), EXAMPLE, ("model", "b = 5\nf(request['a']) + b")),
        ),
    ),
    "NB213": Case(
        (
            ("", "flag = max([0, 1])\nif flag:\n    def f(x):\n        return x"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Define `f` once, without a condition.",
        ((("", "flag = max([0, 1])\ndef f(x):\n    return x"), EXAMPLE, ("model", "f(request['a'])")),),
    ),
    "NB214": Case(
        (
            ("", "k = max([2, 5])\ndef scale(x):\n    return x * k"),
            EXAMPLE,
            ("preprocess", "x = scale(request['a'])"),
            ("", "k = max([1, 0])"),
            ("model", "scale(x)"),
        ),
        "Give the two values two names, or pass the value as an argument.",
        (
            (
                (
                    "",
                    "k = max([2, 5])\ndef scale(x):\n    return x * k\ndef again(x):\n    return x * k2",
                ),
                EXAMPLE,
                ("preprocess", "x = scale(request['a'])"),
                ("", "k2 = max([1, 0])"),
                ("model", "again(x)"),
            ),
            (
                ("", "k = max([2, 5])\ndef scale(x, k):\n    return x * k"),
                EXAMPLE,
                ("preprocess", "x = scale(request['a'], k)"),
                ("", "k = max([1, 0])"),
                ("model", "scale(x, k)"),
            ),
        ),
    ),
    "NB214 of two helpers": Case(
        (
            ("", "k = max([1])\ndef f(x, s=k):\n    return x * s"),
            ("", "k = max([3, 4])\ndef h(x, s=k):\n    return x + s"),
            EXAMPLE,
            ("model", "f(request['a']) + h(1)"),
        ),
        "Give the two values two names.",
        (
            (
                ("", "k = max([1])\ndef f(x, s=k):\n    return x * s"),
                ("", "k2 = max([3, 4])\ndef h(x, s=k2):\n    return x + s"),
                EXAMPLE,
                ("model", "f(request['a']) + h(1)"),
            ),
        ),
    ),
    "NB215": Case(
        (("", "X = [1]"), EXAMPLE, ("model", "fitted = sum(X)")),
        "Tag the cell that answers the example, not the one that trains",
        ((("", "X = [1]"), ("", "fitted = sum(X)"), EXAMPLE, ("model", "fitted + request['a']")),),
    ),
    "NB215 of what the example is made of": Case(
        (("", "X = [[1, 2], [3]]"), ("example", "request = X[:1]"), ("model", "[sum(row) for row in X]")),
        "Read `request` here in place of `X`, of which the example is made.",
        (
            (
                ("", "X = [[1, 2], [3]]"),
                ("example", "request = X[:1]"),
                ("model", "[sum(row) for row in request]"),
            ),
        ),
    ),
    "NB215 of what is to be called": Case(
        (SCORER, EXAMPLE, ("model", "predict = Scorer(max([2]))")),
        "End the cell with what `predict` answers: `predict(request)` on a line below.",
        ((SCORER, EXAMPLE, ("model", "predict = Scorer(max([2]))\npredict(request)")),),
    ),
    "NB215 of what is to be called in a later role": Case(
        (SCORER, EXAMPLE, ("preprocess", "row = dict(request)"), ("model", "predict = Scorer(max([2]))")),
        "`predict(row)` on a line below.",
        (
            (
                SCORER,
                EXAMPLE,
                ("preprocess", "row = dict(request)"),
                ("model", "predict = Scorer(max([2]))\npredict(row)"),
            ),
        ),
    ),
    "NB216": Case(
        (EXAMPLE, ("postprocess", "z = request['a']"), ("model", "y = z + 1"), ("postprocess", "y * 2")),
        "Tag cell 2 with an earlier role",
        ((EXAMPLE, ("preprocess", "z = request['a']"), ("model", "y = z + 1"), ("postprocess", "y * 2")),),
    ),
    "NB216 in another order": Case(
        (EXAMPLE, ("model", "z = request['a']"), ("preprocess", "y = z + 1")),
        "each reads what those before it give, in the order preprocess, model, postprocess",
        ((EXAMPLE, ("preprocess", "z = request['a']"), ("model", "y = z + 1")),),
    ),
    "NB216 below a later role": Case(
        (("example", "request = [3, 1]"), ("model", "request[0] * 2"), ("preprocess", "request.sort()")),
        "Order the cells as they are to run: move this cell above cell 2.",
        ((("example", "request = [3, 1]"), ("preprocess", "request.sort()"), ("model", "request[0] * 2")),),
    ),
    "NB217": Case(
        (("", "import math"), EXAMPLE, ("model", "math = math.floor(request['a'])\nmath + 1")),
        "Give the new value another name than `math`.",
        ((("", "import math"), EXAMPLE, ("model", "whole = math.floor(request['a'])\nwhole + 1")),),
    ),
    "NB219 asked before": Case(
        (
            CACHED,
            ("", "total = rate('b')"),
            ("", "rates['b'] = 3"),
            EXAMPLE,
            ("model", "rate('b') + request['a']"),
        ),
        "Move this line above the first call of `rate`, or end the cell with `rate.cache_clear()`.",
        (
            (
                CACHED,
                ("", "rates['b'] = 3"),
                ("", "total = rate('b')"),
                EXAMPLE,
                ("model", "rate('b') + request['a']"),
            ),
            (
                CACHED,
                ("", "total = rate('b')"),
                ("", "rates['b'] = 3\nrate.cache_clear()"),
                EXAMPLE,
                ("model", "rate('b') + request['a']"),
            ),
        ),
    ),
    "NB219 bound anew": Case(
        (
            ("", "k = max([2])\ndef f(x, k=k):\n    return x * k\nk = max([1])"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Put this line into a cell of its own, after the definition.",
        (
            (
                ("", "k = max([2])\ndef f(x, k=k):\n    return x * k"),
                ("", "k = max([1])"),
                EXAMPLE,
                ("model", "f(request['a'])"),
            ),
        ),
    ),
    "NB219 changed, then bound anew": Case(
        (
            ("", "k = list(range(3))\ndef f(x, k=k):\n    return x * len(k)"),
            ("", "k.append(1)\nk = max([1])"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Change it before the definition, or give the two values two names.",
        (
            (
                ("", "k = list(range(3))\nk.append(1)\ndef f(x, k=k):\n    return x * len(k)"),
                ("", "k = max([1])"),
                EXAMPLE,
                ("model", "f(request['a'])"),
            ),
            (
                ("", "k = list(range(3))\ndef f(x, k=k):\n    return x * len(k)"),
                ("", "k.append(1)\nother = max([1])"),
                EXAMPLE,
                ("model", "f(request['a'])"),
            ),
        ),
    ),
    "NB219 changed after it was computed with": Case(
        (
            ("", "k = list(range(3))\ndef f(x, n=len(k)):\n    return x * n"),
            ("", "k.append(1)"),
            EXAMPLE,
            ("model", "f(request['a']) + k[0]"),
        ),
        "make a copy in a line above that",
        (
            (
                ("", "k = list(range(3))\nk.append(1)\ndef f(x, n=len(k)):\n    return x * n"),
                EXAMPLE,
                ("model", "f(request['a']) + k[0]"),
            ),
            (
                ("", "k = list(range(3))\nold = list(k)\ndef f(x, n=len(old)):\n    return x * n"),
                ("", "k.append(1)"),
                EXAMPLE,
                ("model", "f(request['a']) + k[0]"),
            ),
        ),
    ),
    "NB227": Case(
        (("", "class C:\n    k = 1"), ("", "C.k = 2"), EXAMPLE, ("model", "C.k + request['a']")),
        "Make the change part of the definition of `C`.",
        ((("", "class C:\n    k = 2"), EXAMPLE, ("model", "C.k + request['a']")),),
    ),
    "NB227 of what is registered": Case(
        (
            ("", f"{GENERIC}\ndef g(x):\n    return 2\nf.register(str, g)"),
            EXAMPLE,
            ("model", "f(request['a']) + f('a')"),
        ),
        "Write `@f.register(str)` above the definition of what is registered",
        (
            (
                ("", f"{GENERIC}\n@f.register\ndef g(x: str):\n    return 2"),
                EXAMPLE,
                ("model", "f(request['a']) + f('a')"),
            ),
        ),
    ),
    "NB227 of an accessor": Case(
        (("", f"{ACCESSOR}\npd.api.extensions.{MONEY}(Money)"), EXAMPLE, ("model", CENTS)),
        "')` above the definition of `Money`, instead of this line.",
        ((("", ACCESSOR.replace("class", f"@pd.api.extensions.{MONEY}\nclass")), EXAMPLE, ("model", CENTS)),),
    ),
    "NB227 of classes made in a loop": Case(
        (
            ("", f"{LISTING}\nfor k in range(3):\n    type(f'T{{k}}', (Base,), {{'k': k}})"),
            EXAMPLE,
            ("model", "Base.known['T1'].k + request['a']"),
        ),
        "Write each one out as a `class` at the top of a cell; or make objects of one class",
        (
            (
                ("", f"{LISTING}\nclass T1(Base):\n    k = 1"),
                EXAMPLE,
                ("model", "Base.known['T1'].k + request['a']"),
            ),
        ),
    ),
    "NB227 of a base class": Case(
        (
            (
                "",
                "class Base:\n    known = {}\n"
                "    def __init_subclass__(cls):\n        Base.known[cls.__name__] = cls\n"
                "class Two(Base):\n    by = 1",
            ),
            ("", "class Two(Base):\n    by = 2"),
            EXAMPLE,
            ("model", "Base.known['Two'].by * request['a']"),
        ),
        "Put the classes into a dict of their own, below the last one, and read that.",
        (
            (
                ("", "class Base:\n    pass\nclass Two(Base):\n    by = 2\nknown = {'Two': Two}"),
                EXAMPLE,
                ("model", "known['Two'].by * request['a']"),
            ),
        ),
    ),
    "NB227 of a registry that other code changes": Case(
        (
            ("", "steps = []\ndef step(f):\n    steps.append(f)\n    return f"),
            ("", "@step\ndef f(x):\n    return x + 1"),
            ("", "steps.sort(key=id)"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Drop this, and write out what `steps` holds in one line, below the last definition.",
        (
            (
                ("", "def f(x):\n    return x + 1"),
                ("", "steps = [f]\nsteps.sort(key=id)"),
                EXAMPLE,
                ("model", "f(request['a'])"),
            ),
        ),
    ),
    "NB227 of an object": Case(
        (
            (
                "",
                "class Known:\n"
                "    def __init__(self):\n        self.all = {}\n"
                "    def __call__(self, f):\n        self.all[f.__name__] = f\n        return f\n"
                "known = Known()",
            ),
            ("", "@known\ndef double(x):\n    return 2 * x"),
            EXAMPLE,
            ("model", "known.all['double'](request['a'])"),
        ),
        'below the last definition, as `known = {"double": double}`, and read that in place of `known`',
        (
            (
                ("", "def double(x):\n    return 2 * x"),
                ("", 'known = {"double": double}'),
                EXAMPLE,
                ("model", "known['double'](request['a'])"),
            ),
        ),
    ),
    "NB227 of a library": Case(
        (("", "import string\nstring.digits = 'x'"), EXAMPLE, ("model", "len(string.digits) + request['a']")),
        "Write a function or a subclass of your own, and call that.",
        (
            (
                ("", "import string\ndef digits():\n    return 'x'"),
                EXAMPLE,
                ("model", "len(digits()) + request['a']"),
            ),
        ),
    ),
    "NB228 of a decorator": Case(
        (
            (
                "",
                "def few(f):\n    n = 0\n    def inner(x):\n        nonlocal n\n        n += 1\n"
                "        return f(x) if n < 9 else 0\n    return inner\n"
                "@few\ndef g(x):\n    return x",
            ),
            EXAMPLE,
            ("model", "g(request['a'])"),
        ),
        "Pass `n` to the function as an argument",
        (
            (
                (
                    "",
                    "def few(f):\n    def inner(x, n):\n"
                    "        return f(x) if n < 9 else 0\n    return inner\n@few\ndef g(x):\n    return x",
                ),
                EXAMPLE,
                ("model", "g(request['a'], 1)"),
            ),
        ),
    ),
    "NB228": Case(
        (
            SEEN,
            ("", "def f(x):\n    seen.append(x)\n    return len(seen)"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Pass `seen` to the function as an argument and work on a copy, or return the new value.",
        (
            (
                SEEN,
                ("", "def f(x, seen):\n    own = seen.copy()\n    own.append(x)\n    return len(own)"),
                EXAMPLE,
                ("model", "f(request['a'], seen)"),
            ),
            (
                SEEN,
                ("", "def f(x):\n    return [*seen, x]"),
                EXAMPLE,
                ("model", "len(f(request['a']))"),
            ),
        ),
    ),
    "NB228 of a memo": Case(
        (
            (
                "",
                "known = {}\ndef f(x):\n    if x not in known:\n        known[x] = x * 2\n"
                "    return known[x]",
            ),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Drop `known`, and write `@functools.lru_cache(maxsize=None)` above `def f`.",
        (
            (
                ("", "import functools\n@functools.lru_cache(maxsize=None)\ndef f(x):\n    return x * 2"),
                EXAMPLE,
                ("model", "f(request['a'])"),
            ),
        ),
    ),
    "NB228 of a class": Case(
        (
            ("", "class Log:\n    n = 0\n\n    def add(self, x):\n        Log.n += x\n        return Log.n"),
            EXAMPLE,
            ("model", "Log().add(request['a'])"),
        ),
        "Keep what changes in an object of the request, or pass it as an argument",
        (
            (
                (
                    "",
                    "class Log:\n    n = 0\n\n    def add(self, x):\n        self.n += x\n"
                    "        return self.n",
                ),
                EXAMPLE,
                ("model", "Log().add(request['a'])"),
            ),
            (
                ("", "class Log:\n    def add(self, n, x):\n        n += x\n        return n"),
                EXAMPLE,
                ("model", "Log().add(0, request['a'])"),
            ),
        ),
    ),
    "NB228 in a role": Case(
        (SEEN, ("", "def kept():\n    return seen"), EXAMPLE, ("model", "kept().pop() + request['a']")),
        "Keep the new value under a name of the role's own, or work on a copy of what `seen` holds.",
        (
            (
                SEEN,
                ("", "def kept():\n    return seen"),
                EXAMPLE,
                ("model", "mine = kept().copy()\nmine.pop() + request['a']"),
            ),
            (
                SEEN,
                ("", "def kept():\n    return seen"),
                EXAMPLE,
                ("model", "last = kept()[-1]\nlast + request['a']"),
            ),
        ),
    ),
    "NB230": Case(
        (("", "limit = 2"), EXAMPLE, ("model", "globals()['limit'] + request['a']")),
        "Read the names directly, or keep the values in a dict and look them up there.",
        (
            (("", "limit = 2"), EXAMPLE, ("model", "limit + request['a']")),
            (("", "values = {'limit': 2}"), EXAMPLE, ("model", "values['limit'] + request['a']")),
        ),
    ),
    "NB231": Case(
        (
            ("", "def f(x, seen=[]):\n    seen.append(x)\n    return len(seen)"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Write `seen=None`, and make the value inside the function.",
        (
            (
                ("", "def f(x, seen=None):\n    seen = seen or []\n    seen.append(x)\n    return len(seen)"),
                EXAMPLE,
                ("model", "f(request['a'])"),
            ),
        ),
    ),
    "NB232 on data of the notebook": Case(
        (FITTED, EXAMPLE, ("model", "mean.fit(X)\nmean.predict(request['a'])")),
        "Move the training to a cell of its own above",
        ((FITTED, ("", "mean.fit(X)"), EXAMPLE, ("model", "mean.predict(request['a'])")),),
    ),
    "NB232 on the request": Case(
        (FITTED, EXAMPLE, ("model", "X = [request['a']]\nmean.fit(X)\nmean.predict(request['a'])")),
        "Fit `mean` before the role cells; here, only use it",
        ((FITTED, ("", "mean.fit(X)"), EXAMPLE, ("model", "mean.predict(request['a'])")),),
    ),
    "NB233": Case(
        (
            EXAMPLE,
            ("preprocess", "for i in range(0):\n    a = 0\nx = request['a']"),
            ("model", "def f(x):\n    return x + a\nx"),
        ),
        "Bind `a` on every path: give it a value before the loop or condition.",
        (
            (
                EXAMPLE,
                ("preprocess", "a = 0\nfor i in range(0):\n    a = 0\nx = request['a']"),
                ("model", "def f(x):\n    return x + a\nf(x)"),
            ),
        ),
    ),
    "NB124": Case(
        (("", "x = max([1])\n%%time\ny = 2"), EXAMPLE, ("model", "request['a'] + x")),
        "Move it to the first line",
        ((("", "%%time\nx = max([1])\ny = 2"), EXAMPLE, ("model", "request['a'] + x")),),
    ),
    "NB125": Case(
        (("", "%sql\nselect 1"), EXAMPLE, MODEL),
        "Tag the cell `skip`",
        ((("skip", "%sql\nselect 1"), EXAMPLE, MODEL),),
    ),
    "NB126": Case(
        (("", "%run setup.py"), EXAMPLE, ("model", "request['a'] + k")),
        "Bind `k` in a cell of this notebook",
        ((("", "k = max([2])"), EXAMPLE, ("model", "request['a'] + k")),),
    ),
    "NB126 of a file": Case(
        (
            ("", "import pathlib\nexec(pathlib.Path('lib.py').read_text())"),
            EXAMPLE,
            ("model", "request['a'] + k"),
        ),
        "Bind `k` in a cell of this notebook",
        ((("", "k = max([2])"), EXAMPLE, ("model", "request['a'] + k")),),
    ),
    "NB123": Case(
        (EXAMPLE, ("model", "files = !ls\nlen(files) + request['a']")),
        "or write it in Python",
        ((EXAMPLE, ("model", "import os\nfiles = os.listdir('/')\nlen(files) + request['a']")),),
    ),
    "NB235": Case(
        (
            ("", "def f(x):\n    return x if __name__ == '__main__' else 0"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Remove the condition on `__name__`",
        ((("", "def f(x):\n    return x"), EXAMPLE, ("model", "f(request['a'])")),),
    ),
    "NB235 around the answer": Case(
        (EXAMPLE, ("model", "if __name__ == '__main__':\n    answer = request['a']")),
        "Remove the condition on `__name__`",
        ((EXAMPLE, ("model", "answer = request['a']")),),
    ),
    "NB235 of a class in a block": Case(
        (
            ("", "from dataclasses import dataclass"),
            EXAMPLE,
            (
                "model",
                "if request['a']:\n    @dataclass\n    class A:\n        a: int\nelse:\n    A = None\n"
                "repr(A and A(request['a']))",
            ),
        ),
        "Define it at the top of a cell above the role cells.",
        (
            (
                ("", "from dataclasses import dataclass\n@dataclass\nclass A:\n    a: int"),
                EXAMPLE,
                ("model", "repr(A(request['a']) if request['a'] else None)"),
            ),
        ),
    ),
    "NB235 of a class that reads past itself": Case(
        (
            EXAMPLE,
            (
                "model",
                "limit = request['a'] * 2\nclass Rule:\n    limit = limit\n    ok = limit > 3\nRule.ok",
            ),
        ),
        "Give the role's `limit` a name of its own",
        (
            (
                EXAMPLE,
                (
                    "model",
                    "role_limit = request['a'] * 2\nclass Rule:\n    limit = role_limit\n    ok = limit > 3\n"
                    "Rule.ok",
                ),
            ),
        ),
    ),
    "NB237": Case(
        (
            ("", "import random\ndef f(x, noise=random.random()):\n    return x > noise"),
            EXAMPLE,
            ("model", "f(request['a'])"),
        ),
        "Do that in a line above, give the value a name, and use the name here",
        (
            (
                ("", "import random\nnoise = random.random()\ndef f(x, noise=noise):\n    return x > noise"),
                EXAMPLE,
                ("model", "f(request['a'])"),
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_a_notebook_mended_as_told_extracts_and_answers(name: str, tmp_path: Path) -> None:
    case, code = MENDED[name], name.partition(" ")[0]
    hints = [d.hint or "" for d in refusals(tmp_path, case.cells) if d.code == code]
    assert any(case.hint in hint for hint in hints), hints
    for i, cells in enumerate(case.mended):
        folder = tmp_path / str(i)
        folder.mkdir()
        same_answer(folder, cells)


def test_the_hint_of_a_warning_ends_it(tmp_path: Path) -> None:
    """NB218: to make the copy oneself says that it is meant."""
    cells = (SEEN, EXAMPLE, ("model", "seen.append(7)\nlen(seen) + request['a']"))
    (found,) = check(read(notebook(tmp_path, *cells)))
    assert (found.code, found.severity) == ("NB218", "warning")
    assert "changes `seen` in place:" in found.message
    assert "`seen = copy.deepcopy(seen)` above this line" in (found.hint or "")
    role = "seen = copy.deepcopy(seen)\nseen.append(7)\nlen(seen) + request['a']"
    mended = (("", "import copy"), SEEN, EXAMPLE, ("model", role))
    assert check(read(notebook(tmp_path, *mended))) == ()
    same_answer(tmp_path, mended)


# --- what only the clean run shows ----------------------------------------------------------------

PARAMETER = "k = 1\nj = 2"
KERNEL_ONLY = "import sys\nassert 'ipykernel' in sys.modules\nvalue = 2\n"

LINE = (
    "import pandas as pd\nimport statsmodels.formula.api as smf\n"
    "df = pd.DataFrame({'x': [1.0, 2.0, 3.0, 4.0], 'y': [1.0, 4.1, 9.0, 16.2]})"
)
LOCKED = (
    "import threading\n"
    "class Mean:\n"
    "    def __init__(self):\n        self.lock = threading.Lock()\n        self.mean = sum([1, 2]) / 2\n"
    "    def predict(self, x):\n        return x - self.mean\n"
    "mean = Mean()"
)
LEVELS = (
    "import pandas as pd\n"
    "df = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([['a'], ['x', 'y']]))"
)

WRAPPER = """

class Wrapped:
    def __init__(self, inner): self._inner = inner
    def __getattr__(self, name):
        {}return getattr(self._inner, name)
    def added(self, x): return x + self._inner.low
class Fitted:
    def __init__(self, data): self.low, self.high = min(data), max(data)
model = Wrapped(Fitted([3, 1, 2]))
"""
RUN: dict[str, Case] = {
    "NB310 of an import that was wrapped": Case(
        (
            ("", "from functools import lru_cache\nfrom math import sqrt\nsqrt = lru_cache(None)(sqrt)"),
            EXAMPLE,
            ("model", "sqrt(request['a'])"),
        ),
        "Write a `def` in a cell of its own that calls `sqrt`",
        (
            (
                (
                    "",
                    "from functools import lru_cache\nfrom math import sqrt\n@lru_cache(None)\ndef root(x):\n"
                    "    return sqrt(x)",
                ),
                EXAMPLE,
                ("model", "root(request['a'])"),
            ),
        ),
    ),
    "NB112": Case(
        (("", PARAMETER), EXAMPLE, MODEL),
        "Tag the cell that binds their defaults with `parameters`.",
        ((("parameters", PARAMETER), EXAMPLE, MODEL),),
        {"parameters": {"k": 3}},
        {"parameters": {"k": 3}},
    ),
    "NB113": Case(
        (("parameters", PARAMETER), EXAMPLE, MODEL),
        "bind a default for the new one in that cell",
        ((("parameters", f"{PARAMETER}\nm = 0"), EXAMPLE, MODEL),),
        {"parameters": {"m": 3}},
        {"parameters": {"m": 3}},
    ),
    "NB115": Case(
        (EXAMPLE, MODEL), "Installed: ", ((EXAMPLE, MODEL),), {"kernel": "nope"}, {"kernel": "python3"}
    ),
    "NB220": Case(
        (("example", "row = (1, 2)"), ("model", "[x + 1 for x in row]")),
        "Make it a list.",
        ((("example", "row = [1, 2]"), ("model", "[x + 1 for x in row]")),),
    ),
    "NB220 unbound": Case(
        (("example", "if max([0]):\n    row = 1"), ("model", "row + 1")),
        "Bind it on every path",
        ((("example", "row = 1"), ("model", "row + 1")),),
    ),
    "NB221": Case(
        (("example", "row = {1: 2}"), ("model", "len(row)")),
        "str(k)",
        ((("example", "row = {str(k): v for k, v in {1: 2}.items()}"), ("model", "len(row)")),),
    ),
    "NB221 levels": Case(
        (("", f"{LEVELS}"), ("example", "row = df.head(1)"), ("model", "row.sum(axis=1)")),
        "df.columns = ['_'.join(map(str, c)) for c in df.columns]",
        (
            (
                ("", f"{LEVELS}\ndf.columns = ['_'.join(map(str, c)) for c in df.columns]"),
                ("example", "row = df.head(1)"),
                ("model", "row.sum(axis=1)"),
            ),
        ),
    ),
    "NB221 inside": Case(
        (("example", "q = {'stars': {10: 5}}"), ("model", "sum(k * n for k, n in q['stars'].items())")),
        "make `int(k)` of it in the role cell",
        (
            (
                ("example", "q = {'stars': {str(k): v for k, v in {10: 5}.items()}}"),
                ("model", "sum(int(k) * n for k, n in q['stars'].items())"),
            ),
        ),
    ),
    "NB219 remembered": Case(
        (CACHED, ("", "rate(3)\nsame = rates\nsame[3] = 9"), EXAMPLE, ("model", "rate(request['a'])")),
        "Move the change above its first call, or write `rate.cache_clear()` below it.",
        (
            (CACHED, ("", "same = rates\nsame[3] = 9\nrate(3)"), EXAMPLE, ("model", "rate(request['a'])")),
            (
                CACHED,
                ("", "rate(3)\nsame = rates\nsame[3] = 9\nrate.cache_clear()"),
                EXAMPLE,
                ("model", "rate(request['a'])"),
            ),
        ),
    ),
    "NB222": Case(
        (("example", "rows = []"), ("model", "[x + 1 for x in rows]")),
        "at least one row",
        ((("example", "rows = [1]"), ("model", "[x + 1 for x in rows]")),),
    ),
    "NB223": Case(
        (("example", "rows = [1, 2]"), ("model", "[x for x in rows if x > 1]")),
        "Keep every row, in order: mark bad rows",
        ((("example", "rows = [1, 2]"), ("model", "[x if x > 1 else None for x in rows]")),),
    ),
    "NB223 None": Case(
        (("example", "rows = [2, 1]"), ("model", "rows.sort()")),
        "End the cell in the answer",
        ((("example", "rows = [2, 1]"), ("model", "rows.sort()\nrows")),),
    ),
    "NB223 alone": Case(
        (("", "import numpy as np"), ("example", "rows = [2, 1]"), ("model", "np.array([rows]).squeeze()")),
        "`.ravel()`",
        ((("", "import numpy as np"), ("example", "rows = [2, 1]"), ("model", "np.array([rows]).ravel()")),),
    ),
    "NB224 names": Case(
        (
            ("", "import pandas as pd"),
            ("example", "rows = pd.DataFrame({'a': [1]})"),
            ("model", "pd.concat([rows, rows], axis=1)"),
        ),
        "`.add_suffix(...)` before `pd.concat`",
        (
            (
                ("", "import pandas as pd"),
                ("example", "rows = pd.DataFrame({'a': [1]})"),
                ("model", "pd.concat([rows, rows.add_suffix('_2')], axis=1)"),
            ),
        ),
    ),
    "NB224": Case(
        (("example", "word = 'a'"), ("model", "word.encode()")),
        "text",
        ((("example", "word = 'a'"), ("model", "word.upper()")),),
    ),
    "NB225": Case(
        (EXAMPLE, MODEL, ("reference", "[{'a': 1}]")),
        "a list of what requests will hold",
        ((EXAMPLE, MODEL, ("reference", "[{'a': 1, 'b': 2}]")),),
    ),
    "NB229": Case(
        (
            ("", "seen = [1]\nboth = {'s': seen}"),
            EXAMPLE,
            ("model", "seen.append(1)\nlen(both['s'])+request['a']"),
        ),
        "Make it a copy before this cell: `seen = copy.deepcopy(seen)`.",
        (
            (
                ("", "import copy\nseen = [1]\nboth = {'s': seen}"),
                ("", "seen = copy.deepcopy(seen)"),
                EXAMPLE,
                ("model", "seen.append(1)\nlen(both['s'])+request['a']"),
            ),
        ),
    ),
    "NB310 of a dict that is read only": Case(
        (
            ("", "from types import MappingProxyType\nlimits = MappingProxyType({'low': len([1])})"),
            EXAMPLE,
            ("model", "request['a'] + limits['low']"),
        ),
        "Make it a dict where serving code reads it: `dict(...)` around it.",
        ((("", "limits = {'low': len([1])}"), EXAMPLE, ("model", "request['a'] + limits['low']")),),
    ),
    "NB310 of a module": Case(
        (
            (
                "",
                "try:\n    import no_such_json as js\n    print(js)\n"
                "except ImportError:\n    import json as js\n    print(js)",
            ),
            EXAMPLE,
            ("model", "js.dumps(request)"),
        ),
        "Write `import json as js` in a line of its own",
        ((("", "import json as js"), EXAMPLE, ("model", "js.dumps(request)")),),
    ),
    "NB310 of a formula": Case(
        (
            ("", f"{LINE}\ndef sq(x):\n    return x**2\nfit = smf.ols('y ~ sq(x)', df).fit()"),
            ("example", "rows = pd.DataFrame({'x': [1.0, 2.5]})"),
            ("model", "fit.predict(rows)"),
        ),
        "name a column in place of a call of `sq`: compute it in lines of your own",
        (
            (
                ("", f"{LINE}\nfit = smf.ols('y ~ xx', df.assign(xx=df['x'] ** 2)).fit()"),
                ("example", "rows = pd.DataFrame({'x': [1.0, 2.5]})"),
                ("model", "fit.predict(rows.assign(xx=rows['x'] ** 2))"),
            ),
        ),
    ),
    "NB310 of a wrapper": Case(
        (("", WRAPPER.format("")), EXAMPLE, ("model", "model.high + model.added(request['a'])")),
        'begin it with `if name.startswith("_"): raise AttributeError(name)`',
        (
            (
                ("", WRAPPER.format('if name.startswith("_"): raise AttributeError(name)\n        ')),
                EXAMPLE,
                ("model", "model.high + model.added(request['a'])"),
            ),
        ),
    ),
    "NB310 of a part": Case(
        (("", LOCKED), EXAMPLE, ("model", "mean.predict(request['a'])")),
        "Set that part to None before the role cells, or make it in the method that uses it",
        (
            (("", f"{LOCKED}\nmean.lock = None"), EXAMPLE, ("model", "mean.predict(request['a'])")),
            (("", f"{LOCKED}\nmiddle = mean.mean"), EXAMPLE, ("model", "request['a'] - middle")),
        ),
    ),
    "NB228 of a defaultdict": Case(
        (("", COUNTED), EXAMPLE, ("model", "counted(request['a'])")),
        "Write `counts = dict(counts)` in a cell above the roles, and `.get(key, default)` where",
        (
            (
                ("", COUNTED.replace("counts[x]", "counts.get(x, 0)")),
                ("", "counts = dict(counts)"),
                EXAMPLE,
                ("model", "counted(request['a'])"),
            ),
            (("", COUNTED), ("", "counts = dict(counts)"), EXAMPLE, ("model", "counted(request['a'])")),
        ),
    ),
    "NB228 of defaultdicts in one": Case(
        (("", NESTED), EXAMPLE, ("model", "counted(request['a'])")),
        "Write `counts = {key: dict(inner) for key, inner in counts.items()}` in a cell above the roles",
        (
            (
                ("", NESTED),
                ("", "counts = {key: dict(inner) for key, inner in counts.items()}"),
                EXAMPLE,
                ("model", "counted(request['a'])"),
            ),
        ),
    ),
    "NB316": Case(
        (("", DROPPING), EXAMPLE, ("model", "m.score(request['a'])")),
        "Let `Model.__getstate__` keep `extra`, or set `m.extra` to what a copy has",
        (
            (("", KEEPING), EXAMPLE, ("model", "m.score(request['a'])")),
            (("", f"{DROPPING}\nm.extra = {{}}"), EXAMPLE, ("model", "m.score(request['a'])")),
        ),
    ),
    "NB316 of an array": Case(
        (("", TAGGED), EXAMPLE, ("model", "w.of(request['a'])")),
        "or write `__reduce__` and `__setstate__` in `Tagged` that keep it.",
        (
            (("", BESIDE), EXAMPLE, ("model", "w.of(request['a'])")),
            (("", TAGGED.replace("w =", f"{TAGGED_STORED}w =", 1)), EXAMPLE, ("model", "w.of(request['a'])")),
        ),
    ),
    "NB312": Case(
        (
            ("", "def by_two(x):\n    return 2 * x"),
            ("", "known = [it for name, it in list(globals().items()) if name.startswith('by_')]"),
            EXAMPLE,
            ("model", "[f(request['a']) for f in known]"),
        ),
        "so that the text names it: `known = [by_two]`.",
        (
            (
                ("", "def by_two(x):\n    return 2 * x"),
                ("", "known = [by_two]"),
                EXAMPLE,
                ("model", "[f(request['a']) for f in known]"),
            ),
        ),
    ),
    "NB312 of a loop": Case(
        (
            ("", "fs = []\nfor k in [1, 2]:\n    def f(x, k=k):\n        return x * k\n    fs.append(f)"),
            EXAMPLE,
            ("model", "[f(request['a']) for f in fs]"),
        ),
        "define it once above, with what differs as a parameter, and keep `functools.partial(f, ...)`.",
        (
            (
                ("", "import functools\ndef f(k, x):\n    return x * k"),
                ("", "fs = []\nfor k in [1, 2]:\n    fs.append(functools.partial(f, k))"),
                EXAMPLE,
                ("model", "[f(request['a']) for f in fs]"),
            ),
        ),
    ),
    "NB205": Case(
        (("", "from kernel_only import *"), EXAMPLE, ("model", "value + request['a']")),
        "Import by name: `from module import name`.",
        ((("", "from kernel_only import value"), EXAMPLE, ("model", "value + request['a']")),),
    ),
}


@pytest.mark.parametrize("name", RUN)
def test_a_notebook_mended_as_told_runs(name: str, tmp_path: Path) -> None:
    case, code = RUN[name], name.partition(" ")[0]

    def run(folder: Path, cells: Cells, options: dict[str, Any]) -> None:
        folder.mkdir()
        (folder / "kernel_only.py").write_text(KERNEL_ONLY, "utf-8")
        book = expand(read(notebook(folder, *cells)))
        plans.run(book, extract(book).plan, **options)

    with pytest.raises(Nb2prodError) as caught:
        run(tmp_path / "refused", case.cells, case.options)
    hints = [d.hint or "" for d in caught.value.diagnostics if d.code == code]
    assert any(case.hint in hint for hint in hints), caught.value.diagnostics
    for i, cells in enumerate(case.mended):
        run(tmp_path / str(i), cells, case.mended_options)


# --- what only the proof shows --------------------------------------------------------------------

ROWS = ("example", "rows = pd.DataFrame({'a': [1, 3]})")
ASKED = "rows.assign(b=rows.index.isin(rows.query({}).index))['b']"
DOUBLE = "from joblib import Parallel, delayed\ndef double(x):\n    return 2 * x"
WAIT = (
    "import asyncio\n{}"
    "async def double(x{}):\n    async with lock:\n        await asyncio.sleep(0.001)\n        return 2 * x"
)
LOCK = "lock = asyncio.Lock()\n"
POOLED = """def double(x):
    return 2 * x
with {}PoolExecutor(2) as pool:
    doubled = list(pool.map(double, rows))
doubled
"""
PARALLEL = "Parallel(n_jobs=2{})(delayed(double)(x) for x in rows)"

PROOF: dict[str, Case] = {
    "a variable of the environment": Case(
        (
            ("", "import os\nos.environ['CURRENCY'] = 'EUR'"),
            EXAMPLE,
            ("model", "os.environ['CURRENCY'] * request['a']"),
        ),
        "Read it in a cell above, `value = os.environ['CURRENCY']`, and use that",
        (
            (
                ("", "import os\nos.environ['CURRENCY'] = 'EUR'"),
                ("", "value = os.environ['CURRENCY']"),
                EXAMPLE,
                ("model", "value * request['a']"),
            ),
        ),
    ),
    "a text with names": Case(
        (
            ("", "import pandas as pd\nlimit = len([1])\nasked = 'a > @limit'"),
            ROWS,
            ("model", ASKED.format("asked")),
        ),
        "Write the text itself in the call",
        ((("", "import pandas as pd\nlimit = len([1])"), ROWS, ("model", ASKED.format("'a > @limit'"))),),
    ),
    "other processes": Case(
        (("", DOUBLE), ("example", "rows = [1, 2]"), ("model", PARALLEL.format(""))),
        'write `n_jobs=1`, or `prefer="threads"`',
        (
            (
                ("", DOUBLE),
                ("example", "rows = [1, 2]"),
                ("model", PARALLEL.format(", prefer='threads'")),
            ),
        ),
    ),
    "a function of the role in other processes": Case(
        (
            ("", "from concurrent.futures import ProcessPoolExecutor"),
            ("example", "rows = [1, 2]"),
            ("model", POOLED.format("Process")),
        ),
        "write `ThreadPoolExecutor`",
        (
            (
                ("", "from concurrent.futures import ThreadPoolExecutor"),
                ("example", "rows = [1, 2]"),
                ("model", POOLED.format("Thread")),
            ),
        ),
    ),
    "a lock": Case(
        (
            ("", WAIT.format(LOCK, "")),
            ("example", "rows = [1, 2]"),
            ("model", "await asyncio.gather(*[double(x) for x in rows])"),
        ),
        "make it in the role code, and pass it on",
        (
            (
                ("", WAIT.format("", ", lock")),
                ("example", "rows = [1, 2]"),
                ("model", f"{LOCK}await asyncio.gather(*[double(x, lock) for x in rows])"),
            ),
        ),
    ),
    "a tuple": Case(
        (("", "prices = {('a', 1): 3}"), ("example", "q = {'key': ('a', 1)}"), ("model", "prices[q['key']]")),
        "Make `tuple(...)` of it in the role",
        (
            (
                ("", "prices = {('a', 1): 3}"),
                ("example", "q = {'key': ['a', 1]}"),
                ("model", "prices[tuple(q['key'])]"),
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", PROOF)
def test_a_notebook_mended_as_told_is_proven(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = PROOF[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParityError, match="the extracted package fails") as caught:
        api.validate(notebook(tmp_path, *case.cells))
    assert case.hint in (caught.value.hint or "")
    for cells in case.mended:
        api.validate(notebook(tmp_path, *cells))


# --- what the file itself shows -------------------------------------------------------------------


def refused_file(path: Path, name: str | None = None) -> tuple[str, str]:
    """The code and hint with which a file is refused."""
    with pytest.raises(NotebookError) as caught:
        read(path, name)
    return caught.value.code, caught.value.hint or ""


def test_nb101_check_the_path(tmp_path: Path) -> None:
    path = notebook(tmp_path, *TINY)
    assert refused_file(tmp_path / "mde.ipynb") == ("NB101", "Check the path.")
    extract(read(path))


def test_nb102_give_an_ipynb_file(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text("x = 1")
    code, hint = refused_file(tmp_path / "made.py")
    assert (code, hint[:32]) == ("NB102", "Give the path of an .ipynb file;")
    extract(read(notebook(tmp_path, *TINY)))


def test_nb107_resolve_the_conflict(tmp_path: Path) -> None:
    path = notebook(tmp_path, *TINY)
    text = path.read_text("utf-8")
    path.write_text(f"<<<<<<< HEAD\n{text}\n=======\n{text}\n>>>>>>> other\n", "utf-8")
    code, hint = refused_file(path)
    assert (code, hint[:16]) == ("NB107", "Resolve it first")
    path.write_text(text, "utf-8")
    extract(read(path))


def test_nb103_names_what_is_supported(tmp_path: Path) -> None:
    kernel = {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}}
    path = notebook(tmp_path, *TINY, metadata=kernel)
    # no edit makes another language Python: the hint says so
    assert "nb2prod extracts Python" in refused_file(path)[1]


def test_nb104_new_writes_a_starter(tmp_path: Path) -> None:
    code, hint = refused_file(notebook(tmp_path, ("", "")))
    assert (code, hint) == ("NB104", "`nb2prod new NAME` writes a starter notebook that deploys as it is.")
    extract(read(api.new("starter", folder=tmp_path)))


@pytest.mark.parametrize("name", ["my model", "2nd", "class", "größe"])
def test_nb105_the_name_told_is_a_good_one(name: str, tmp_path: Path) -> None:
    path = notebook(tmp_path, *TINY, name=name)
    code, hint = refused_file(path)
    assert code == "NB105"
    told = re.findall(r"--name (\w+)", hint)[0]
    assert extract(read(path, told)).name == told
    extract(read(path.rename(tmp_path / f"{told}.ipynb")))


def test_nb106_save_as_format_4(tmp_path: Path) -> None:
    path = notebook(tmp_path, *TINY)
    data = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**data, "nbformat": 5}), "utf-8")
    code, hint = refused_file(path)
    assert code == "NB106"
    assert "Save it as format 4" in hint
    path.write_text(json.dumps({**data, "nbformat": 4}), "utf-8")
    extract(read(path))


# --- none is left out -----------------------------------------------------------------------------


def test_every_refusal_of_a_notebook_is_mended_here() -> None:
    here = {name.partition(" ")[0] for name in [*MENDED, *RUN]}
    here |= {f"NB{n}" for n in re.findall(r"test_nb(\d{3})_", Path(__file__).read_text("utf-8"))}
    errors = {code for code in used_codes() if code[:3] in ("NB1", "NB2")} - NO_ERRORS
    assert errors == {code for code in here if code[:3] in ("NB1", "NB2")}
