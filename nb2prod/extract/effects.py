"""What calls change in place, by the names that the usual libraries give them.

The tables hold what is sure. Of what they do not name, the clean run gives evidence: it compares
values before and after. Sources: the libraries' references (pandas, numpy, scikit-learn, scipy,
torch, xgboost, lightgbm) and Python's data model.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_BUILTIN = (
    "add append appendleft clear difference_update discard extend extendleft insert intersection_update"
    " move_to_end pop popitem popleft remove reverse rotate setdefault sort subtract"
    " symmetric_difference_update update register writelines __delattr__ __delitem__ __setattr__ __setitem__"
    " __iadd__ __iand__ __ifloordiv__ __ilshift__ __imatmul__ __imod__ __imul__ __ior__ __ipow__ __irshift__"
    " __isub__ __itruediv__ __ixor__"
)
_NUMPY = "fill itemset partition put resize setfield setflags shuffle"
_SCIPY = "eliminate_zeros prune setdiag sort_indices sum_duplicates"
_SKLEARN = "fit fit_predict fit_transform partial_fit set_fit_request set_output set_params"
_TORCH = "add_module backward load_state_dict register_buffer register_module register_parameter zero_grad"
_BOOSTERS = "add_valid boost load_model model_from_string reset_parameter set_attr set_param shuffle_models"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MUTATORS = frozenset(" ".join([_BUILTIN, _NUMPY, _SCIPY, _SKLEARN, _TORCH, _BOOSTERS]).split())
"""Methods that change their receiver."""

FITS = frozenset({"fit", "fit_predict", "fit_transform", "partial_fit"})
"""Methods that train their receiver on their arguments."""

_MODES = frozenset({"requires_grad_", "share_memory_"})
"""Methods of torch that change how something is used, not its values."""

_CHANGING = (
    "bisect.insort bisect.insort_left bisect.insort_right delattr heapq.heapify heapq.heappop heapq.heappush"
    " heapq.heappushpop heapq.heapreplace next numpy.copyto numpy.fill_diagonal numpy.place numpy.put"
    " numpy.put_along_axis numpy.putmask numpy.random.shuffle operator.delitem operator.setitem"
    " random.shuffle setattr torch.nn.utils.clip_grad_norm_ torch.nn.utils.clip_grad_value_"
)
_IN_PLACE = _words(
    "operator.iadd operator.iand operator.iconcat operator.ifloordiv operator.ilshift operator.imatmul"
    " operator.imod operator.imul operator.ior operator.ipow operator.irshift operator.isub"
    " operator.itruediv operator.ixor"
)
"""Functions that change their first argument, and give it."""

_FIRST = frozenset(_CHANGING.split()) | _IN_PLACE
"""Functions that change their first argument."""

_VIEWS = frozenset({"get", "items", "ravel", "reshape", "values", "view"})
"""Methods that give parts of their receiver."""

VIEWS = _words(
    "asfreq detach diagonal expand narrow numpy permute ravel reshape select squeeze "
    "swapaxes t to_numpy transpose unflatten unsqueeze view view_as"
)
"""Methods that give their receiver under another form."""

MASKS = _words("between contains duplicated endswith isin isna isnull notna notnull startswith")
"""Methods of which the result tells elements apart."""

GIVING_ITSELF = _words("__enter__ __iter__ fit partial_fit set_output set_params")
"""Methods that give their receiver."""

VIEW_ATTRIBUTES = _words("T at data flat iat iloc loc real imag values")
"""Attributes that do."""

GIVING_PARTS = _words("get pop popitem popleft setdefault __getitem__ __next__ send")
"""Methods that give one part of their receiver, or what they are given instead."""

SHALLOW = _words("list dict set tuple collections.defaultdict collections.deque collections.OrderedDict")
"""Containers of Python: a copy of them holds the same parts."""

PLAIN = (
    SHALLOW
    | {"collections.Counter", "frozenset", "function", "iter", "library", "method", "module"}
    | {
        "literal",
        "scalars",
    }
)
"""What no class of the notebook is."""

_ITERATORS = _words(
    "iter map filter zip enumerate reversed itertools.count itertools.cycle itertools.chain "
    "itertools.islice itertools.repeat itertools.accumulate"
)
USED_UP = _ITERATORS - {"itertools.repeat"}
"""What is another after it has been iterated over."""

HOLDING_DATA = frozenset({"record", "types.SimpleNamespace"})
"""What makes objects of which the attributes are data: they have no method that changes them."""

FILLED_BY_READING = frozenset({"collections.defaultdict"})
"""What gets an item when one is read that it lacks."""

LOOKING_UP = _words("applymap format_map map safe_substitute substitute translate")
"""Methods that read items of what they are given: `ages.map(names)`."""

MOVED_BY_CALLS = _words(
    "numpy.random.default_rng numpy.random.RandomState numpy.random.Generator random.Random torch.Generator"
)
"""What is another after each call of a method: the next random number is another one."""

SAME = _IN_PLACE | _words(
    "memoryview numpy.array_split numpy.asanyarray numpy.asarray numpy.asarray_chkfinite"
    " numpy.ascontiguousarray numpy.asfortranarray numpy.asmatrix numpy.atleast_1d numpy.atleast_2d"
    " numpy.atleast_3d numpy.broadcast_to numpy.diagonal numpy.dsplit numpy.expand_dims numpy.flip"
    " numpy.fliplr numpy.flipud numpy.frombuffer numpy.hsplit numpy.imag numpy.ma.array"
    " numpy.ma.asanyarray numpy.ma.asarray numpy.ma.masked_array numpy.moveaxis numpy.nditer numpy.ravel"
    " numpy.real numpy.require numpy.reshape numpy.rollaxis numpy.rot90 numpy.split numpy.squeeze"
    " numpy.swapaxes numpy.transpose numpy.vsplit numpy.lib.stride_tricks.as_strided"
    " numpy.lib.stride_tricks.sliding_window_view sklearn.utils.check_array sklearn.utils.check_X_y"
    " sklearn.utils.validation.check_array sklearn.utils.validation.check_X_y torch.as_tensor"
    " torch.from_numpy torch.squeeze torch.unsqueeze torch.transpose types.MappingProxyType typing.cast"
    " vars"
)
"""Functions that give what they are given, or another form of it."""

PARTS = _words("next min max getattr operator.getitem random.choice functools.reduce heapq.heappop")
"""Functions that give a part of what they are given."""

SHALLOW_COPIES = (
    _ITERATORS
    | SHALLOW
    | _words(
        "sorted frozenset copy.copy collections.ChainMap collections.Counter dataclasses.replace "
        "heapq.nlargest heapq.nsmallest itertools.chain.from_iterable itertools.dropwhile "
        "itertools.takewhile random.sample types.SimpleNamespace"
    )
)
"""Functions that give something new with the same parts."""

ZIPPED = _words(
    "zip enumerate itertools.combinations itertools.groupby itertools.pairwise "
    "itertools.permutations itertools.product itertools.zip_longest"
)
"""Functions that give tuples of the parts of what they are given."""

RECORDS = frozenset({"collections.namedtuple", "dataclasses.make_dataclass", "typing.NamedTuple"})
"""Functions that make classes of which the objects hold what they are given."""

KINDS = MOVED_BY_CALLS | RECORDS
"""Functions whose results are known by what made them."""

CHANGING_ARGUMENTS = frozenset({"shuffle"})
"""Methods that change what they are given."""

ONLY_LOOKING = _words("copy.copy copy.deepcopy hasattr id isinstance type")
"""Functions that leave what they are given alone, iterators too."""

_ITERATING = _words("all any dict frozenset list max min set sorted sum tuple enumerate zip map filter")
ASKED_BY = dict.fromkeys(_ITERATING, ("__iter__", "__next__", "__getitem__")) | {
    "len": ("__len__",),
    "str": ("__str__", "__repr__"),
    "print": ("__str__", "__repr__"),
    "repr": ("__repr__",),
    "format": ("__format__", "__str__"),
    "bool": ("__bool__", "__len__"),
    "int": ("__int__", "__index__"),
    "float": ("__float__",),
    "hash": ("__hash__",),
    "abs": ("__abs__",),
    "round": ("__round__",),
    "iter": ("__iter__",),
    "reversed": ("__reversed__", "__len__", "__getitem__"),
}
"""What builtins call of their arguments."""

_BINARY = _words(
    "add arctan2 bitwise_and bitwise_or bitwise_xor copysign divide dot equal float_power floor_divide"
    " fmax fmin fmod greater greater_equal heaviside hypot left_shift less less_equal logaddexp logaddexp2"
    " logical_and logical_or logical_xor matmul maximum minimum mod multiply not_equal power remainder"
    " right_shift subtract true_divide"
)
_UNARY = _words(
    "abs absolute arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil conj conjugate cos cosh deg2rad"
    " degrees erf erfc exp exp2 expit expm1 fabs floor gammaln invert isfinite isinf isnan log log10 log1p"
    " log2 log_expit logical_not logit ndtr ndtri negative positive rad2deg radians reciprocal rint sign"
    " sin sinh sqrt square tan tanh trunc"
)


def written_from(function: str) -> int:
    """From which position on a function of numpy or scipy takes what it writes to."""
    module, _, name = function.rpartition(".")
    if module not in ("numpy", "scipy.special"):
        return 1000
    return 1 if name in _UNARY else 2 if name in _BINARY else 3 if name == "clip" else 1000


TYPES = _words("bytearray dict list object set super")
"""Types of Python, through which methods are called with the object as first argument."""

_LOWER_TYPES = _words("array defaultdict deque ndarray recarray")


def is_type(name: str, method: str) -> bool:
    """Whether a dotted name of a library is likely that of a class, on whose objects `method` acts."""
    last = name.rpartition(".")[2]
    if method == "register" or (name.startswith("pandas.") and method in ("add", "subtract")):
        return False  # of the class itself; pandas gives a new sum
    return "." in name and (last in _LOWER_TYPES or (last[:1].isupper() and not last.isupper()))


def shares(call: ast.Call) -> bool | None:
    """Whether a call may give its argument back, by `copy=False` or `copy=flag`; None if it does not say."""
    asked = [k.value for k in call.keywords if k.arg in ("copy", "deep")]
    return not all(isinstance(a, ast.Constant) and a.value is True for a in asked) if asked else None


def writes_without_copy(function: str) -> bool:
    """Whether a function with `copy=False` writes to its argument."""
    return function in ("networkx.relabel_nodes", "numpy.nan_to_num") or function.startswith(
        "sklearn.preprocessing."
    )


def overwrites(call: ast.Call) -> bool:
    """Whether a function may use its arguments as room for its result: `solve(a, b, overwrite_a=True)`."""
    return any((k.arg or "").startswith("overwrite_") and not _is_false(k.value) for k in call.keywords)


_ONE_CALLS_OTHERS = _words(
    "decision_function inverse_transform predict predict_log_proba predict_proba score "
    "score_samples transform"
)


def alike(method: str) -> frozenset[str]:
    """Methods of the notebook that one may come to: a pipeline's `predict` calls `transform`."""
    return _ONE_CALLS_OTHERS if method in _ONE_CALLS_OTHERS else frozenset([method])


_TARGETS = frozenset({"out"})
"""Keywords that name what is written to."""


def receiver_changes(call: ast.Call) -> bool:
    """Whether a method call is sure to change the object that it is called on."""
    assert isinstance(call.func, ast.Attribute)
    method = call.func.attr
    if method == "partition" and call.args and isinstance(call.args[0], ast.Constant | ast.Name):
        return not isinstance(getattr(call.args[0], "value", None), str)  # a text's, which gives new ones
    if any(k.arg == "inplace" and not _is_false(k.value) for k in call.keywords):
        return True
    # torch's convention: one underscore at the end means in place
    in_place = method.endswith("_") and not method.endswith("__") and len(method) > 1
    return method in MUTATORS or (in_place and method not in _MODES)


def changes_first(function: str) -> bool:
    """Whether the function of a dotted name (imports resolved) changes its first argument."""
    is_ufunc_at = function.startswith("numpy.") and function.endswith(".at")
    is_torch_init = function.startswith("torch.nn.init.") and function.endswith("_")
    return function in _FIRST or is_ufunc_at or is_torch_init


def changes_keyword(keyword: str) -> bool:
    """Whether a function writes to what it is given under a keyword."""
    return keyword in _TARGETS


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def aliases(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Pairs (name, other): after the statement, `name` may stand for `other`, or for a part of it."""
    for child in ast.walk(node):
        match child:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _paired(target, value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                yield from _paired(target, value)
            case ast.NamedExpr(target=target, value=value):
                yield from _paired(target, value)
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                yield from _paired(target, value)
            case ast.withitem(optional_vars=target, context_expr=value) if target is not None:
                yield from _paired(target, value)


def _paired(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
    both = isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List)
    if both and len(target.elts) == len(value.elts):  # type: ignore[attr-defined]
        for one, other in zip(target.elts, value.elts, strict=True):  # type: ignore[attr-defined]
            yield from _paired(one, other)
        return
    names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    for other in _parts(value):
        yield from ((name, other) for name in names)


def _parts(value: ast.expr) -> Iterator[str]:
    """Names whose object, or a part of it, an expression without calls may give."""
    match value:
        case ast.Name(id=name):
            yield name
        case ast.Subscript(slice=ast.Slice(lower=None, upper=None, step=None)):
            return  # the idiom for a copy
        case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Starred(value=inner):
            yield from _parts(inner)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.BoolOp(values=parts):
            for part in parts:
                yield from _parts(part)
        case ast.Dict(values=parts):
            for part in parts:
                yield from _parts(part)
        case ast.IfExp(body=one, orelse=other):
            yield from _parts(one)
            yield from _parts(other)
        case ast.NamedExpr(value=inner):
            yield from _parts(inner)
        case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in _VIEWS:
            yield from _parts(inner)


_SETTINGS = frozenset({"backends", "config", "environ", "options", "rcParams"})
"""Parts of libraries that hold settings."""


def patch_of(node: ast.stmt, module: str) -> str | None:
    """`np.random.sample` if a statement sets an attribute of a module so; its settings may be set."""
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
            path = ast.unparse(child).split(".")
            if path[0] == module and not _SETTINGS & set(path):
                return ".".join(path)
    return None
