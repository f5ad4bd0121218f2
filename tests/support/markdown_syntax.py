"""Syntax trees of Python: what is called, bound, handed over; no judgement of texts here."""

import ast
from pathlib import Path

from markdown_elements import ELEMENTS, PLACES

PACKAGE = Path(__file__).parents[2]
WRAPPERS = {"one_of"}  # our own functions that hand on what they are given, looked at where they are called
PARAMETER, STARS = object(), object()
COMPREHENSIONS = (ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)


def kept(node: ast.AST) -> str:
    """The key of a value of our own in the session's state, as written; empty for all else, widgets included."""
    key = None
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "st.session_state":
        key = node.slice
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("st.session_state.get", "st.session_state.pop"):
        key = node.args[0]
    if isinstance(key, ast.Name) and key.id.isupper():
        return key.id
    return key.value if isinstance(key, ast.Constant) and str(key.value).startswith("_") else ""


def wrapper(call: ast.Call) -> bool:
    return getattr(around(call), "name", "") in WRAPPERS


def callee(func: ast.AST) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def drawn(call: ast.Call) -> list[ast.AST]:
    """The arguments of a call that an element draws as Markdown."""
    name = callee(call.func)
    names = ELEMENTS.get(name, ()) if isinstance(call.func, ast.Attribute) else ()
    if ast.unparse(call.func).startswith("log."):
        return []
    out = [one.value for one in call.keywords if one.arg == "help"]
    how = next((one.value for one in call.keywords if one.arg == "format_func"), None)
    if names == ("*",):
        return [*call.args, *out]
    for place, value in zip(PLACES.get(name, names), call.args):
        if place in names and place != "help":
            out.append(how if place == "options" and how is not None else value)
    for one in call.keywords:
        if one.arg in names and one.arg != "help":
            out.append(how if one.arg == "options" and how is not None else one.value)
    return out


def argument(call: ast.Call, order, name: str):
    """What a call hands to a parameter; None where it leaves the default, STARS where that cannot be seen."""
    for one in call.keywords:
        if one.arg == name:
            return one.value
    order = list(order)
    if name in order:
        at = order.index(name)
        if any(isinstance(one, ast.Starred) for one in call.args[: at + 1]):
            return STARS
        if at < len(call.args):
            return call.args[at]
    return None


def numeric(annotation) -> bool:
    return annotation is not None and ast.unparse(annotation) in {
        "int", "float", "bool", "int | None", "float | None", "np.ndarray", "slice",
    }  # fmt: skip


def around(node: ast.AST):
    """The innermost function or lambda or comprehension that a node stands in."""
    node = getattr(node, "parent", None)
    kinds = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)
    while node is not None and not isinstance(node, kinds):
        node = getattr(node, "parent", None)
    return node


def bound(function: ast.AST) -> dict:
    """Name -> PARAMETER or the expressions that are bound to it."""
    out = {}
    if isinstance(function, COMPREHENSIONS):
        for one in function.generators:
            for name, value in looped(one.target, one.iter):
                out.setdefault(name, []).append(value)
        return out
    if isinstance(function, ast.FunctionDef):
        for node in ast.walk(function):
            if around(node) is function:
                for target, value in bindings(node):
                    out.setdefault(target, []).append(value)
    every = function.args
    for one in (*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg):
        if one and one.arg not in out:
            out[one.arg] = PARAMETER
    return out


def default(function: ast.FunctionDef, name: str):
    """A parameter's default, an expression."""
    every = function.args
    places = dict(zip([one.arg for one in (*every.posonlyargs, *every.args)][::-1], every.defaults[::-1]))
    return (places | dict(zip([one.arg for one in every.kwonlyargs], every.kw_defaults))).get(name)


def ordered(function: ast.FunctionDef) -> list[str]:
    return [one.arg for one in (*function.args.posonlyargs, *function.args.args) if one.arg not in ("self", "cls")]


def bindings(node: ast.AST) -> list[tuple[str, ast.AST]]:
    if isinstance(node, ast.Assign):
        return [pair for target in node.targets for pair in paired(target, node.value)]
    if isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None:
        return paired(node.target, node.value)
    if isinstance(node, ast.For):
        return looped(node.target, node.iter)
    if isinstance(node, ast.NamedExpr):
        return paired(node.target, node.value)
    if isinstance(node, ast.ExceptHandler) and node.name:
        return [(node.name, ast.Name(id="an error", ctx=ast.Load(), lineno=node.lineno, col_offset=0))]
    if isinstance(node, ast.withitem) and node.optional_vars is not None:
        return paired(node.optional_vars, node.context_expr)
    return []


def paired(target: ast.AST, value: ast.AST) -> list[tuple[str, ast.AST]]:
    if isinstance(target, (ast.Tuple, ast.List)):
        if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
            return [pair for one, each in zip(target.elts, value.elts) for pair in paired(one, each)]
        return [(name, value) for name in targets(target)]
    return [(name, value) for name in targets(target)]


def looped(target: ast.AST, over: ast.AST) -> list[tuple[str, ast.AST]]:
    """The names of a loop; of `enumerate` and `zip` each with its own part, of literal rows each with its column."""
    parts = target.elts if isinstance(target, ast.Tuple) else ()
    name = callee(over.func) if isinstance(over, ast.Call) else ""
    if parts and name == "enumerate":
        return [(one, ast.Constant(0)) for one in targets(parts[0])] + looped(parts[1], over.args[0])
    if parts and name == "zip" and len(over.args) == len(parts):
        return [pair for one, each in zip(parts, over.args) for pair in looped(one, each)]
    rows = over.elts if isinstance(over, (ast.Tuple, ast.List)) else ()
    if parts and rows and all(isinstance(row, ast.Tuple) and len(row.elts) == len(parts) for row in rows):
        return [pair for row in rows for pair in paired(target, row)]
    return [(one, over) for one in targets(target)]


def targets(target: ast.AST) -> list[str]:
    return [one.id for one in ast.walk(target) if isinstance(one, ast.Name)]


def sources(*folders: str) -> dict[str, str]:
    """The package's own files, by module."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((PACKAGE / folder).rglob("*.py"))
    }
