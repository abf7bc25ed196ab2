"""Formulas by their shape in the syntax tree, whatever their variables are called.

`found(text)` says which of the formulas of lstmfast/kernels/cell.py, activations.py and philox.py
stand in a text of Python. A local name that is assigned once stands for what it is assigned; sums
and products may be written as operators, as calls (`np.add`, `builder.fmul`) or as `fma(a, b, c)`.
"""

import ast
import re
from functools import lru_cache
from itertools import combinations, product

PHILOX = {0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85}
PHILOX_NAMES = {"MULTIPLIERS", "KEY_STEPS", "ROUNDS"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
OPERATORS = {
    "add": ast.Add, "fadd": ast.Add, "mul": ast.Mult, "fmul": ast.Mult, "multiply": ast.Mult,
    "div": ast.Div, "fdiv": ast.Div, "divide": ast.Div, "true_divide": ast.Div,
    "sub": ast.Sub, "fsub": ast.Sub, "subtract": ast.Sub, "xor": ast.BitXor, "urem": ast.Mod,
    "bitwise_xor": ast.BitXor, "mod": ast.Mod, "remainder": ast.Mod,
}  # fmt: skip
# What takes a position in memory: there, too, products are added up.
POSITIONS = re.compile(r"at|(load|read|store|write)\w*|\w*words|Matrix|Panels")
DEPTH = 6  # names that stand for names


@lru_cache(None)
def found(text):
    """Return the names of all formulas in a text."""
    tree = AsOperators().visit(ast.parse(text))
    owners = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, *FUNCTIONS))]
    scopes = [Scope(owner) for owner in owners]
    return {name for name, is_in in SHAPES.items() if any(map(is_in, scopes))}


def called(node):
    """Return the last name of what a call calls."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


class AsOperators(ast.NodeTransformer):
    """Writes calls of two arguments that stand for an operator as that operator."""

    def visit_Call(self, node):
        self.generic_visit(node)
        operator = OPERATORS.get(called(node))
        if operator is None or len(node.args) != 2:
            return node
        return ast.BinOp(node.args[0], operator(), node.args[1])


class Scope:
    """One function (or a module) without the functions in it, and what its names stand for."""

    def __init__(self, owner):
        self.nodes = list(own_nodes(owner))
        self.values = {}
        for name, value in [pair for node in self.nodes for pair in assigned(node)]:
            self.values[name] = None if name in self.values else value
        self.positions = {id(part) for node in self.nodes for part in self.in_position(node)}

    def in_position(self, node, depth=DEPTH):
        """Yield the nodes of an index or of a pointer's offset, through the names in it."""
        parts = [node.slice] if isinstance(node, ast.Subscript) else []
        if isinstance(node, ast.Call) and POSITIONS.fullmatch(called(node)):
            parts = node.args[1:2] if called(node).startswith(("store", "write")) else node.args
        for part in parts:
            yield from self.through(part, depth)

    def through(self, node, depth):
        for part in ast.walk(node):
            yield part
            if isinstance(part, ast.Name) and depth and self.values.get(part.id) is not None:
                yield from self.through(self.values[part.id], depth - 1)

    def forms(self, node, depth=DEPTH):
        """Return what an expression may be: itself, the value of a name, both arms of an if."""
        if isinstance(node, ast.IfExp):
            return [*self.forms(node.body, depth), *self.forms(node.orelse, depth)]
        if isinstance(node, ast.Name) and depth and self.values.get(node.id) is not None:
            return [node, *self.forms(self.values[node.id], depth - 1)]
        return [node]

    def of(self, kind, *nodes):
        """Yield the two operands of each binary operation of a kind that the nodes may be."""
        for node in (form for given in nodes for form in self.forms(given)):
            if isinstance(node, ast.BinOp) and isinstance(node.op, kind):
                yield node.left, node.right

    def same(self, one, other):
        texts = ({ast.dump(form) for form in self.forms(node)} for node in (one, other))
        return bool(set.intersection(*texts))

    def is_one(self, node):
        """Is it 1, maybe through calls: like(x, 1), splat(real(1))?"""
        for form in self.forms(node):
            if isinstance(form, ast.Call) and form.args and self.is_one(form.args[-1]):
                return True
            if isinstance(form, ast.Constant) and form.value == 1 and form.value is not True:
                return True
        return False

    def expressions(self):
        return [n for n in self.nodes if isinstance(n, ast.expr) and id(n) not in self.positions]

    def products(self):
        """Return (a, b) of each product, and of those within fma(a, b, c)."""
        found = [pair for node in self.expressions() for pair in binary(node, ast.Mult)]
        return found + [tuple(node.args[:2]) for node in self.expressions() if is_fma(node)]

    def sums(self):
        """Yield (a, b) of each sum, also of those by fma and by +=."""
        for node in self.expressions():
            yield from binary(node, ast.Add)
            if is_fma(node):
                yield ast.BinOp(node.args[0], ast.Mult(), node.args[1]), node.args[2]
        yield from self.running(ast.Add)

    def terms(self):
        """Yield (a, b) of each product that is a term of a sum, or stored as it is."""
        for pair in self.sums():
            yield from self.of(ast.Mult, *pair)
        for node in self.nodes:
            if isinstance(node, ast.Assign):
                yield from self.of(ast.Mult, node.value)

    def differences(self):
        for node in self.expressions():
            yield from binary(node, ast.Sub)
        yield from self.running(ast.Sub)

    def running(self, kind):
        """Yield (x, y), and (a, y) where x = a stands somewhere, of each x += y."""
        for node in self.nodes:
            if isinstance(node, ast.AugAssign) and isinstance(node.op, kind):
                target = ast.unparse(node.target)
                yield ast.parse(target, mode="eval").body, node.value
                for other in self.nodes:
                    if isinstance(other, ast.Assign) and ast.unparse(other.targets[0]) == target:
                        yield other.value, node.value


def own_nodes(owner):
    for child in ast.iter_child_nodes(owner):
        if not isinstance(child, FUNCTIONS):
            yield child
            yield from own_nodes(child)


def assigned(node):
    """Yield (name, value) of what a node assigns; value None where it is not told."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from unpacked(target, node.value)
    elif isinstance(node, (ast.AugAssign, ast.For, ast.comprehension)):
        yield from unpacked(node.target, None)


def unpacked(target, value):
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        alike = isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
        values = value.elts if alike else [None] * len(target.elts)
        for part, one in zip(target.elts, values, strict=True):
            yield from unpacked(part, one)


def binary(node, kind):
    if isinstance(node, ast.BinOp) and isinstance(node.op, kind):
        yield node.left, node.right


def is_fma(node):
    named = isinstance(node, ast.Call) and any(word in called(node) for word in ("fma", "mad"))
    return named and len(node.args) == 3


def orders(pair):
    return pair, pair[::-1]


# ---------------------------------------------------------------- the shapes


def has_update(scope):
    """f c_prev + i g: neither positions nor sums with constants or counts in them."""
    for pair in scope.sums():
        for one, other in product(*(list(scope.of(ast.Mult, part)) for part in pair)):
            numbers = [form for part in (*one, *other) for form in scope.forms(part)[:1]]
            names = {ast.dump(number) for number in numbers}
            if all(is_number(n) for n in numbers) and len(names) == 4:
                return True
    return False


def is_number(node):
    return isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call))


def has_mix(scope):
    """k x, and (1 - k) y elsewhere in the function; or what comes to the same, x - k x."""
    products = scope.products()
    for n, pair in enumerate(products):
        others = [part for other in products[:n] + products[n + 1 :] for part in other]
        for one, k in scope.of(ast.Sub, *pair):
            if scope.is_one(one) and any(scope.same(k, part) for part in others):
                return True
    return any(
        scope.same(whole, part)
        for whole, rest in scope.differences()
        for factors in scope.of(ast.Mult, rest)
        for part in factors
        if not isinstance(whole, ast.Constant)
    )


def has_step_towards(scope):
    """y + k (x - y), which is the same mix."""
    return any(
        scope.same(base, other)
        for pair in scope.sums()
        for base, moved in orders(pair)
        for factors in scope.of(ast.Mult, moved)
        for _, other in scope.of(ast.Sub, *factors)
    )


def has_slope(scope):
    """s (1 - s), and 1 - t t."""
    of_sigmoid = any(
        scope.is_one(one) and scope.same(s, other)
        for pair in scope.products()
        for s, rest in orders(pair)
        for one, other in scope.of(ast.Sub, rest)
    )
    return of_sigmoid or any(
        scope.is_one(one) and scope.same(*factors)
        for one, square in scope.differences()
        for factors in scope.of(ast.Mult, square)
    )


def has_scale(scope):
    """1 / (1 - k), and x / (1 - k)."""
    return any(
        scope.is_one(one) and is_number(k)
        for node in scope.expressions()
        for _, under in binary(node, ast.Div)
        for one, k in scope.of(ast.Sub, under)
    )


def has_peepholes(scope):
    """a s, b s and d t, each stored or added to something: two peepholes see the cell before."""
    terms = [pair for pair in scope.terms() if all(map(is_number, pair))]
    for (a, b), (c, d) in combinations(terms, 2):
        for (one, s), (other, same) in product(orders((a, b)), orders((c, d))):
            if scope.same(s, same) and not scope.same(one, other):
                own = (one, other, s)
                if any(all(not scope.same(x, y) for x in pair for y in own) for pair in terms):
                    return True
    return False


def has_truncation(scope):
    """k and n and n % k == 0, on one line or by an if within an if."""
    for node in scope.nodes:
        if isinstance(node, (ast.BoolOp, ast.If)):
            tests = list(conjunction(node))
            for n, k in (pair for test in tests for pair in divided(scope, test)):
                if any(scope.same(part, end) for test in tests for part in told(test)
                       for end in (n, k)):  # fmt: skip
                    return True
    return False


def conjunction(node):
    """Yield what must all be true within an `and`, or where an if and those right below lead."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        for value in node.values:
            yield from conjunction(value)
    elif isinstance(node, ast.If):
        yield from conjunction(node.test)
        for inner in node.body:
            if isinstance(inner, ast.If):
                yield from conjunction(inner)
    else:
        yield node


def divided(scope, test):
    """Yield (n, k) of n % k == 0, or of not n % k."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from scope.of(ast.Mod, test.operand)
    is_equal = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq)
    if is_equal and ast.unparse(test.comparators[0]) == "0":
        yield from scope.of(ast.Mod, test.left)


def told(test):
    """Yield n of a test whether n is above zero, or not zero."""
    if isinstance(test, (ast.Name, ast.Attribute)):
        yield test
    elif isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, right, operator = test.left, test.comparators[0], type(test.ops[0])
        for n, end, wanted in ((left, right, (ast.Gt, ast.NotEq)), (right, left, (ast.Lt,))):
            if operator in wanted and ast.unparse(end) == "0":
                yield n


def has_philox(scope):
    """Its constants, or the names that the home gives them."""
    for node in scope.nodes:
        names = {getattr(node, "attr", ""), getattr(node, "id", "")}
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value in PHILOX:
            return True
        if names & PHILOX_NAMES:
            return True
    return False


def has_round(scope):
    """The exclusive or of three words."""
    return any(
        list(scope.of(ast.BitXor, *pair))
        for node in scope.expressions()
        for pair in binary(node, ast.BitXor)
    )


SHAPES = {
    "update": has_update, "mix": has_mix, "step towards": has_step_towards, "slope": has_slope,
    "truncation": has_truncation, "philox": has_philox, "round": has_round, "scale": has_scale,
    "peepholes": has_peepholes,
}  # fmt: skip
