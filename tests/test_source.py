"""What the sources keep to: imports go downwards, formulas have one home, docstrings are true."""

import ast
import inspect
import pickle
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lstmfast
from lstmfast import interop, ops

PACKAGE = Path(lstmfast.__file__).parent
NATIVE = Path(__file__).parent.parent / "native"
# From the lowest floor up: modules, or folders for all in them that is not named itself.
FLOORS = (
    "kernels",
    "capi",
    "kernels.jit fallback arguments registry seeding",
    "cuda.runtime cuda.kernels",
    "disk samples ops.placement ops.checks cuda.runtime.foreign",
    "cuda.__init__ cuda.array cuda.device",
    "whole ops.activations ops.options ops.weights ops.norms",
    "ops",
    "cuda.lstm cuda.ops cuda.support",
    "ops.dispatch",
    "ops.__init__",
    "config interop threadpool data",
    "initializers regularizers constraints losses metrics optimizers activations",
    "layers",
    "callbacks",
    "model",
    "__init__ models saving utils preprocessing",
    "inspection torch keras onnx examples",
)
HOMES_OF_GATES = {
    "kernels/activations.py",
    "kernels/cell.py",
    "cuda/kernels/ptx.py",  # what the simulator does in place of the instruction tanh.approx
}


def sources():
    """Return the package's files by module name, without `lstmfast.`."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def parsed(path):
    """Return the syntax tree of a file, without what only type checkers read."""
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


def floor(module):
    """Return the floor of a module: its own if it is named, else its package's."""
    named = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
    while module not in named:
        module, dot, _ = module.rpartition(".")
        assert dot, f"{module}: put it on a floor"
    return named[module]


def resolved(name, modules):
    """Return a dotted name within lstmfast as one of its modules."""
    if name == "":
        return "__init__"
    if name in modules or name == "capi":
        return name
    return f"{name}.__init__" if f"{name}.__init__" in modules else None


def packages_of(name, module):
    """Yield the packages of ours whose `__init__` an import runs first, but the importer's own.

    Of `lstmfast` and `lstmfast.ops` it has always run: importing anything begins with them.
    """
    parts = name.split(".")
    for end in range(1, len(parts) + 1 if name else 1):
        package = ".".join(parts[:end])
        within = f"{module}.".startswith(f"{package}.")
        if (PACKAGE / package.replace(".", "/")).is_dir() and package != "ops" and not within:
            yield f"{package}.__init__"


def imported(node, module, modules):
    """Yield the modules of lstmfast that an import statement, or `import_module`, asks for."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        name = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
        if name.split(".")[0] == "lstmfast":
            yield resolved(name.removeprefix("lstmfast").lstrip("."), modules)
    if isinstance(node, ast.Import):
        names = [a.name for a in node.names if a.name.split(".")[0] == "lstmfast"]
        yield from (resolved(name.removeprefix("lstmfast").lstrip("."), modules) for name in names)
    elif isinstance(node, ast.ImportFrom):
        full = ["lstmfast", *module.split(".")]
        start = [".".join(full[: -node.level])] if node.level else []
        base = ".".join([*start, *([node.module] if node.module else [])])
        if base.split(".")[0] != "lstmfast":
            return
        base = base.removeprefix("lstmfast").lstrip(".")
        for alias in node.names:
            inner = resolved(f"{base}.{alias.name}".lstrip("."), modules)
            yield inner or resolved(base, modules)
            yield from packages_of(base, module)


def graph():
    """Return module -> the modules of lstmfast that it imports, anywhere in it."""
    modules = sources()
    return {
        module: {
            found
            for node in ast.walk(parsed(path))
            for found in imported(node, module, modules)
            if found != module
        }
        for module, path in modules.items()
    }


def test_imports_are_seen():
    """The reader below reads: statements of each form that the package uses."""
    found = graph()
    assert {"capi", "kernels.jit", "ops.__init__"} <= found["__init__"]
    assert {"capi", "kernels.isa", "kernels.table"} <= found["kernels.jit"]
    assert {"capi", "arguments", "ops.host", "ops.dispatch"} <= found["ops.__init__"]
    assert {"cuda.ops.__init__", "cuda.runtime.device"} <= found["ops.dispatch"]  # import_module
    assert {"kernels.activations", "kernels.simd"} <= found["kernels.vecmath"]
    assert {"__init__", "examples.corpus", "optimizers.__init__"} <= found[
        "examples.text_generation"
    ]
    assert None not in set().union(*found.values())


def test_imports_go_downwards():
    upwards = {
        (module, other)
        for module, others in graph().items()
        for other in others
        if floor(other) > floor(module)
    }
    assert upwards == set()


def test_every_package_is_installed():
    root = PACKAGE.parent
    folders = {
        str(path.parent.relative_to(root)).replace("/", ".")
        for path in PACKAGE.rglob("__init__.py")
    }
    text = (NATIVE.parent / "pyproject.toml").read_text()
    listed = re.search(r"^packages = \[(.*?)^\]", text, re.M | re.S)[1]
    assert set(re.findall(r'"([^"]+)"', listed)) == folders


def test_modules_of_ours_are_imported_by_constant_names():
    """What is imported by a name that is put together, nobody sees above."""
    found = {
        module: ast.unparse(node.args[0])
        for module, path in sources().items()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
        if not isinstance(node.args[0], ast.Constant)
    }
    assert found == {
        "__init__": "f'lstmfast.{_NAMES[name]}'",  # what is imported when it is first asked for
        "keras.layer": "f'{__package__}.{BACKEND}_bridge'",
        "cuda.runtime.device": "module",  # NVIDIA's
        "threadpool": "NAME",
    }


def test_imports_have_no_cycle():
    TopologicalSorter(graph()).prepare()  # raises CycleError


# ---------------------------------------------------------------- one home for the formulas


def called_names(tree):
    """Yield the last name of each function called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            target = node.func
            yield target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def test_gates_are_computed_in_one_place():
    homes = {
        str(path.relative_to(PACKAGE))
        for path in sources().values()
        if {"sigmoid", "tanh"} & set(called_names(parsed(path)))
    }
    assert homes == HOMES_OF_GATES


def test_the_cell_is_defined_once():
    steps = ("cell_forward", "cell_output", "cell_output_backward", "cell_backward")
    names = [
        (str(path.relative_to(PACKAGE)), node.name)
        for path in sources().values()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef) and node.name in steps
    ]
    assert names == [("kernels/cell.py", name) for name in steps]


def test_no_formula_in_c():
    own = [*NATIVE.glob("*.pyx"), *NATIVE.glob("*.pxi"), *NATIVE.glob("*.h"), *NATIVE.glob("*.c")]
    texts = {path.name: path.read_text() for path in own if path.name != "capi.c"}
    assert {"capi.pyx", "schedule.c"} <= texts.keys()
    for name, text in texts.items():
        assert not re.search(r"\b(sigmoid|tanh|exp)[fl]?\s*\(", text), name


# ---------------------------------------------------------------- docstrings


def documented(function):
    """Return the parameters that a numpydoc text describes, in order."""
    text = inspect.cleandoc(function.__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, re.M | re.S)
    if not section:
        return []
    rows = re.findall(r"^(\w+(?:, \w+)*)(?: :|$)", section[1], re.M)
    return [name for row in rows for name in row.split(", ")]


def public_functions():
    """Return every public function and class by name."""
    found = {name: getattr(lstmfast, name) for name in lstmfast.__all__}
    for module in (ops, interop):
        found |= {name: getattr(module, name) for name in module.__all__}
    return {name: f for name, f in sorted(found.items()) if callable(f)}


@pytest.mark.parametrize("name", ("lstm_forward", "lstm_backward"))
def test_every_parameter_is_documented(name):
    function = getattr(lstmfast, name)
    assert sorted(documented(function)) == sorted(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", public_functions())
def test_no_documented_parameter_is_stale(name):
    function = public_functions()[name]
    assert set(documented(function)) <= inspect.signature(function).parameters.keys()


def test_every_operation_can_be_pickled():
    """As others hand functions to their processes."""
    for name in ops.__all__:
        member = getattr(ops, name)
        if callable(member):
            assert pickle.loads(pickle.dumps(member)) is member, name
