"""Which texts reach a Streamlit element that draws Markdown without `md`: a walk over the syntax trees of the app.

A text is plain where it is a constant, a number, a call of `md`, or made of such; names are followed to what is bound
to them, parameters to the calls, calls to what the functions return. What cannot be followed counts as foreign.
"""

import ast

from markdown_syntax import (
    PARAMETER,
    STARS,
    WRAPPERS,
    argument,
    around,
    bindings,
    bound,
    callee,
    default,
    drawn,
    kept,
    numeric,
    ordered,
    sources,
    wrapper,
)

NUMBERS = {"abs", "bool", "float", "int", "len", "round", "sum", "md", "strftime"}
KEEPING = {
    "enumerate",
    "str",
    "sorted",
    "list",
    "tuple",
    "dict",
    "set",
    "zip",
    "reversed",
    "min",
    "max",
    "map",
    "next",
    "iter",
}
METHODS = {
    "capitalize", "casefold", "format", "get", "items", "join", "keys", "lower", "lstrip", "partition", "removeprefix",
    "removesuffix", "replace", "rstrip", "split", "strip", "title", "upper", "values",
}  # fmt: skip


class App:
    """The functions, constants, classes and imports of the package, by module."""

    def __init__(self, sources: dict[str, str]):
        self.trees = {name: ast.parse(text) for name, text in sources.items()}
        self.functions, self.constants, self.imports, self.calls, self.fields, self.classes = {}, {}, {}, {}, {}, {}
        self.where, self.called, self.session = {}, {}, {}
        self.busy, self.known, self.bound, self.returned, self.parameters = set(), {}, {}, {}, {}
        for module, tree in self.trees.items():
            self._read(module, tree)

    def _read(self, module: str, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                child.parent = node
            if isinstance(node, ast.FunctionDef):
                self.functions.setdefault(node.name, []).append((module, node))
            elif isinstance(node, ast.ImportFrom):
                for one in node.names:
                    self.imports[module, one.asname or one.name] = (node.module or "", one.name)
            elif isinstance(node, ast.Call):
                name = callee(node.func)
                self.calls.setdefault(name, []).append((module, node))
            elif isinstance(node, ast.Assign) and kept(node.targets[0]):
                self.session.setdefault(kept(node.targets[0]), []).append((module, node.value))
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
                self.where.setdefault(node.name, []).append(module)
                for one in node.body:
                    if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                        self.fields.setdefault(one.target.id, []).append((module, node.name, one))
        for node in tree.body:
            for target, value in bindings(node):
                self.constants[module, target] = value

    # ------------------------------------------------------------------------------------------------ the walk

    def foreign(self, only: str = "app.") -> list[tuple[str, int, str]]:
        """(module, line, argument) of every text in an element that draws Markdown and is not plain."""
        return [
            (module, value.lineno, ast.unparse(value))
            for module, tree in self.trees.items()
            if module.startswith(only)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and not self._own(node.func, module) and not wrapper(node)
            for value in drawn(node)
            if not self.plain(value, module)
        ]

    def _own(self, func: ast.AST, module: str) -> bool:
        """Whether a call is of a function of the package that is called as an element is."""
        if callee(func) in WRAPPERS:
            return False
        if isinstance(func, ast.Attribute) and self._module(func.value, module):
            return self.imports[module, func.value.id][0].startswith("lossprint")
        return False

    def plain(self, node: ast.AST, module: str) -> bool:
        """Whether a text is plain, whoever calls the function that it stands in."""
        return self._holds(self.needs(node, module), frozenset())

    def _holds(self, needs, seen: frozenset) -> bool:
        if needs is None:
            return False
        for need in needs - seen:
            function, name, module = self.parameters[need]
            order = ordered(function)
            values = [(argument(call, order, name), place) for place, call in self._calls_of(function)]
            if not values or any(value is STARS for value, _ in values):
                return False
            for value, place in values:
                value, place = (default(function, name), module) if value is None else (value, place)
                if not self._holds(self.needs(value, place), seen | needs):
                    return False
        return True

    def _calls_of(self, function):
        if id(function) not in self.called:
            self.called[id(function)] = [
                (place, call)
                for place, call in self.calls.get(function.name, ())
                if any(one is function for _, one in self._places(call.func, place))
            ]
        return self.called[id(function)]

    def needs(self, node: ast.AST | None, module: str):
        """The parameters that must be plain for an expression to be; None where it is foreign whatever they are."""
        if node is None or isinstance(node, ast.Constant):
            return NOTHING
        if id(node) in self.known:
            return self.known[id(node)]
        if id(node) in self.busy:  # a circle brings nothing in by itself
            return NOTHING
        self.busy.add(id(node))
        answer = getattr(self, f"_{type(node).__name__}", lambda node, module: None)(node, module)
        self.busy.discard(id(node))
        if not self.busy or answer is None:
            self.known[id(node)] = answer
        return answer

    def _all(self, nodes, module):
        out = NOTHING
        for node in nodes:
            needs = self.needs(node, module)
            if needs is None:
                return None
            out |= needs
        return out

    def _JoinedStr(self, node, module):
        return self._all(node.values, module)

    def _FormattedValue(self, node, module):
        spec = node.format_spec
        if spec and isinstance(spec.values[-1], ast.Constant) and str(spec.values[-1].value)[-1:] in ",fd%eg":
            return NOTHING  # a number, or the program stops
        return self.needs(node.value, module)

    def _IfExp(self, node, module):
        return self._all((node.body, node.orelse), module)

    def _BoolOp(self, node, module):
        return self._all(node.values, module)

    def _BinOp(self, node, module):
        return self._all((node.left, node.right), module)

    def _UnaryOp(self, node, module):
        return self.needs(node.operand, module)

    def _Compare(self, node, module):
        return NOTHING

    def _List(self, node, module):
        return self._all(node.elts, module)

    _Tuple = _Set = _List

    def _Dict(self, node, module):
        return self._all([*node.keys, *node.values], module)

    def _Starred(self, node, module):
        return self.needs(node.value, module)

    _NamedExpr = _Starred

    def _Subscript(self, node, module):
        return self._stored(kept(node)) if kept(node) else self.needs(node.value, module)

    def _stored(self, key: str):
        """What the session keeps under a key of ours."""
        values = self.session.get(key, ())
        plain = all(self._holds(self.needs(value, place), NOTHING) for place, value in values)
        return NOTHING if values and plain else None

    def _ListComp(self, node, module):
        return self.needs(node.elt, module)

    _GeneratorExp = _SetComp = _ListComp

    def _DictComp(self, node, module):
        return self._all((node.key, node.value), module)

    def _Lambda(self, node, module):
        return self.needs(node.body, module)

    def _Attribute(self, node, module):
        name, text = node.attr, ast.unparse(node)
        if name == "md" or name in FIXED or any(text == one or text.endswith(f".{one}") for one in FIXED):
            return NOTHING
        if self._module(node.value, module):
            source, original = self.imports[module, node.value.id]
            return self._global(self._inner(f"{source}.{original}"), name)
        whole = self.needs(node.value, module)
        if whole is not None:
            return whole
        hint = HINTS.get((module, ast.unparse(node.value)))
        fields = [one for one in self.fields.get(name, ()) if hint in (None, one[1])]
        for _, kind, one in fields:
            made = NOTHING if numeric(one.annotation) else self._made(name, kind)
            if made is None:
                return None
        known = [] if hint else self.functions.get(name, ())
        methods = [one for one in known if isinstance(one[1].parent, ast.ClassDef)]
        if not fields and not methods:
            return None
        return NOTHING if not methods or self._merged(methods) is not None else None

    def _made(self, field: str, kind: str):
        """What a field of a class of the package needs, over all places where one is made."""
        order = [one.target.id for one in self.classes[kind].body if isinstance(one, ast.AnnAssign)]
        made = self.calls.get(kind, ())
        for place, call in made:
            value = argument(call, order, field)
            needs = None if value is STARS else self.needs(value, place)
            if needs is None or not self._holds(needs, NOTHING):
                return None
        return NOTHING if made else None

    def _Name(self, node, module):
        function = around(node)
        while function is not None:
            values = self._bound(function, node.id)
            if values is PARAMETER:
                return self._parameter(function, node.id, module)
            if values:
                return self._all(values, module)
            function = around(function)
        return self._global(module, node.id)

    def _global(self, module: str, name: str):
        """A constant or a function of a module."""
        if name == "md":
            return NOTHING
        module, name = self._origin(module, name)
        if (module, name) in self.constants:
            return self.needs(self.constants[module, name], module)
        places = self._named(module, name)
        return self._merged(places) if places else None

    def _inner(self, source: str) -> str:
        source = source.removeprefix("lossprint.")
        return source if source in self.trees else f"{source}.__init__"

    def _origin(self, module: str, name: str) -> tuple[str, str]:
        """Where a name of a module comes from, through the modules that hand it on."""
        while (module, name) in self.imports and (module, name) not in self.constants:
            source, name = self.imports[module, name]
            module = self._inner(source)
        return module, name

    def _bound(self, function, name):
        key = id(function)
        if key not in self.bound:
            self.bound[key] = bound(function)
        return self.bound[key].get(name)

    def _parameter(self, function, name: str, module: str):
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        one = next((each for each in every if each.arg == name), None)
        if isinstance(function, ast.Lambda):
            return self._lambda(function, name, module)
        if one is None or name in ("self", "cls"):
            return None
        if numeric(one.annotation):
            return NOTHING
        self.parameters[id(function), name] = function, name, module
        return frozenset([(id(function), name)])

    def _lambda(self, node, name, module):
        """A parameter of a lambda: its default, or of `format_func` what it goes over."""
        defaults = dict(zip([one.arg for one in node.args.args][::-1], node.args.defaults[::-1]))
        if name in defaults:
            return self.needs(defaults[name], module)
        call = node.parent.parent if isinstance(node.parent, ast.keyword) else None
        over = argument(call, ("label", "options"), "options") if isinstance(call, ast.Call) else None
        return None if over in (None, STARS) else self.needs(over, module)

    def _Call(self, node, module):
        if kept(node):
            return self._stored(kept(node))
        name = callee(node.func)
        values = [*node.args, *(one.value for one in node.keywords if one.arg != "key")]
        if name in NUMBERS:
            return NOTHING
        if name == "fromkeys":
            return self._all(values, module)
        if name == "map" and isinstance(node.args[0], ast.Name) and node.args[0].id in KEEPING:
            return self._all(node.args[1:], module)
        if name == "derived":  # of a run, by a function of the page
            return self.needs(node.args[1], module)
        if self._kind(node.func, module):
            return self._all(values, module)
        places = self._places(node.func, module)
        if isinstance(node.func, ast.Name) and name in KEEPING and not places:
            return self._all(values, module)
        method = isinstance(node.func, ast.Attribute) and not self._module(node.func.value, module)
        if method and name in METHODS:
            return self._all([node.func.value, *values[name in ("get", "pop") :]], module)
        if not places:  # a function that was handed over, such as `show`, is plain where `md` is what it is
            return self.needs(node.func, module) if isinstance(node.func, ast.Name) else None
        out = NOTHING
        for place, function in places:
            needs = self._returns(function, place)
            if needs is None:
                return None
            order = ordered(function)
            for need in needs:
                inner, parameter, _ = self.parameters[need]
                if inner is not function:
                    out |= {need}
                    continue
                value = argument(node, order, parameter)
                where = module if value is not None else place
                value = default(function, parameter) if value is None else value
                handed = None if value is STARS else self.needs(value, where)
                if handed is None:
                    return None
                out |= handed
        return out

    def _kind(self, func, module) -> bool:
        """Whether a call makes an object of a class of the package."""
        module, name = self._origin(module, func.id) if isinstance(func, ast.Name) else (module, callee(func))
        return name in self.classes and any(
            where == module or not isinstance(func, ast.Name) for where in self.where[name]
        )

    def _module(self, node, module) -> bool:
        """Whether a name is that of something imported, and not of a variable."""
        if not isinstance(node, ast.Name) or (module, node.id) not in self.imports:
            return False
        if self._inner(".".join(self.imports[module, node.id])) not in self.trees:
            return False
        function = around(node)
        while function is not None:
            if self._bound(function, node.id):
                return False
            function = around(function)
        return True

    def _places(self, func, module):
        """The functions that a name may mean: of an imported module or name, else the methods of that name."""
        name = callee(func)
        if isinstance(func, ast.Name):
            return self._named(module, name)
        if isinstance(func, ast.Attribute) and self._module(func.value, module):
            source, original = self.imports[module, func.value.id]
            return self._named(self._inner(f"{source}.{original}"), name)
        return [one for one in self.functions.get(name, []) if isinstance(one[1].parent, ast.ClassDef)]

    def _named(self, module: str, name: str):
        """The functions of a module by name, its own or imported into it."""
        module, name = self._origin(module, name)
        return [one for one in self.functions.get(name, []) if one[0] == module]

    def _merged(self, places):
        """Functions that are handed on by name: what they return, with every parameter seen as foreign."""
        for place, function in places:
            needs = self._returns(function, place)
            if needs is None or any(self.parameters[need][0] is function for need in needs):
                return None
        return NOTHING

    def _returns(self, function, module):
        if numeric(function.returns):
            return NOTHING
        if id(function) not in self.returned:
            self.returned[id(function)] = [
                one.value
                for one in ast.walk(function)
                if isinstance(one, (ast.Return, ast.Yield)) and around(one) is function
            ]
        values = self.returned[id(function)]
        return self._all(values, module) if values else None


NOTHING = frozenset()
# Attributes that hold words of the program: the noun of a sample, titles of scores, of which split a curve is.
FIXED = {"__name__", "bands.source", "found.source", "media.alike", "noun", "row.title", "self.words"}
HINTS = {("app.views.overview.page", "one"): "Suggestion"}  # of which class a variable is, where names do not tell


def app() -> App:
    return App(sources("app", "audit", "scoring"))
