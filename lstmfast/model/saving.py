"""Between a model and a file: which tensors, and the config that tells what they are.

The config is `{"model": ..., "compile": ... or null, "training": ... or null}`. The
model is a graph, in which each layer names its inputs; a chain is its simplest case, and the only
one so far. "training" is `{"iterations": ..., "rng": ...}`, and in a backup of a running fit also
`"fit"`: where that was, as `packing` writes it, with tensors `fit/...`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import layers, losses, optimizers
from ..arguments import Array, Shape, construct, integer, keys
from ..layers import Layer
from ..layers.checks import DTYPES
from ..ops.placement import assign_all, to_host
from ..optimizers import Optimizer
from ..whole import held
from . import files, packing
from .chain import shapes_through

if TYPE_CHECKING:
    from . import Model

__all__ = ["Backup", "generator_of", "load", "load_weights", "read_backup", "save"]

INPUT = "input"  # what the first layer's input is called in the graph

Shapes = dict[str, tuple[int, ...]]


def save(model: Model, path: files.StrPath, include_optimizer: bool, fit: Any = None) -> None:
    """Write a built model; see `Model.save`. `fit` is what a running fit is at: `Run.get_state`."""
    names = [name for name, _ in _named_params(model.layers)]
    params = map(to_host, model.params)
    tensors = dict(zip((f"layers/{name}" for name in names), params, strict=True))
    config: dict[str, Any] = {"model": _model_config(model), "compile": _compile_config(model)}
    config["training"] = None
    if include_optimizer:
        optimizer = model.optimizer
        iterations = _checked_iterations(model) if optimizer else 0
        config["training"] = {"iterations": iterations, "rng": model.rng.bit_generator.state}
        for slot, arrays in optimizer.slots.items() if optimizer else ():
            kept = map(to_host, arrays)
            tensors |= dict(zip((f"optimizer/{slot}/{n}" for n in names), kept, strict=True))
        if fit is not None:
            config["training"]["fit"], more = packing.pack(fit, "fit")
            tensors |= more
    files.write(path, config, tensors)


def _checked_iterations(model: Model) -> int:
    """Return the optimizer's steps; ValueError unless its slots are of the model's weights."""
    optimizer = model.optimizer
    assert optimizer is not None
    integer("optimizer: iterations", optimizer.iterations, 0)
    expected = optimizer.slot_names if optimizer.iterations else ()
    sizes = [(param.shape, param.dtype) for param in model.params]
    same = all([(a.shape, a.dtype) for a in kept] == sizes for kept in optimizer.slots.values())
    if set(optimizer.slots) != set(expected) or not same:
        found = f"{sorted(optimizer.slots)} after {optimizer.iterations} steps"
        expected_text = f"{sorted(expected)} of this model's weights, or include_optimizer=False"
        raise ValueError(f"optimizer: expected the slots {expected_text}, got {found}")
    return optimizer.iterations


def load(file: files.Reader, make: Callable[..., Model]) -> Model:
    """Return `make(layers, ...)` of an open file, compiled and ready to go on; see `lstmfast.load`.

    No weight is drawn: the layers adopt the file's tensors before they go into the model.
    """
    config = keys("config", file.config, ("model", "compile", "training"))
    graph = keys("model", config["model"], MODEL_KEYS)
    chain = _chain(graph)
    compiled = None if config["compile"] is None else _compiled(config["compile"])
    iterations, rng, fit = _training(config["training"])
    optimizer = compiled["optimizer"] if compiled else None

    input_shape = _input_shape(graph["input_shape"])
    shapes = _expected(chain, input_shape, optimizer if iterations else None)
    file.check_names({*shapes, *packing.specs(fit)})
    tensors = file.read(shapes, _dtypes(chain, input_shape, shapes, graph["dtype"]))

    _adopt(chain, input_shape, tensors, graph["dtype"])
    model = make(chain, dtype=graph["dtype"], seed=graph["seed"], name=graph["name"])
    if compiled:
        model.compile(**compiled)
    if optimizer:
        optimizer.restore(iterations, _slots(optimizer if iterations else None, chain, tensors))
    if rng is not None:
        model.rng = rng
    return model


def load_weights(model: Model, path: files.StrPath) -> None:
    """Copy a file's layer tensors into a built model, all or none; see `Model.load_weights`."""
    assert model.input_shape is not None
    shapes = _expected(model.layers, model.input_shape, None)
    with files.opened(path) as file:
        file.check_names(set(shapes), "layers/")
        dtypes = _dtypes(model.layers, model.input_shape, shapes, model.dtype)
        tensors = file.read(shapes, dtypes)
    assign_all(model.params, list(tensors.values()))


class Backup(NamedTuple):
    """What a file keeps of a running fit, for one model: read, and not yet taken over."""

    model: Model
    weights: list[Array]
    iterations: int
    slots: dict[str, list[Array]]
    rng: np.random.Generator
    fit: Any

    def restore(self) -> None:
        """Bring model and optimizer to where they were; Ctrl-C is answered after it."""
        model, optimizer = self.model, self.model.optimizer
        assert optimizer is not None
        slots = {name: [slot.copy() for slot in kept] for name, kept in self.slots.items()}
        with held():
            assign_all(model.params, self.weights)
            optimizer.restore(self.iterations, slots)
            optimizer.to(model.device)
            model.rng.bit_generator.state = self.rng.bit_generator.state


def read_backup(model: Model, path: files.StrPath) -> Backup:
    """Return a backup of a running fit of this built and compiled model.

    Raises
    ------
    ValueError
        When the file is damaged, no such backup, or of another model or optimizer.
    """
    assert model.input_shape is not None and model.optimizer is not None
    with files.opened(path) as file:
        config = keys("config", file.config, ("model", "compile", "training"))
        iterations, rng, fit = _training(config["training"])
        if rng is None or not isinstance(fit, dict):
            raise ValueError("training: expected a backup of a fit, got a model without it")
        _check_same_optimizer(model.optimizer, config["compile"])
        own = _expected(model.layers, model.input_shape, model.optimizer if iterations else None)
        extra = packing.specs(fit)
        file.check_names({*own, *extra})
        dtypes = _dtypes(model.layers, model.input_shape, own, model.dtype)
        tensors = file.read(
            own | {name: shape for name, (shape, _) in extra.items()},
            dtypes | {name: dtype for name, (_, dtype) in extra.items()},
        )
        weights = [tensors[f"layers/{name}"] for name, _ in _named_params(model.layers)]
        slots = _slots(model.optimizer if iterations else None, model.layers, tensors)
        return Backup(model, weights, iterations, slots, rng, packing.unpack(fit, tensors))


def _check_same_optimizer(optimizer: Optimizer, config: Any) -> None:
    config = keys("compile", config, ("optimizer", "loss", "metrics"))
    kept = config["optimizer"]
    found = kept.get("class") if isinstance(kept, dict) else kept
    if found != type(optimizer).__name__:
        raise ValueError(f"optimizer: expected {type(optimizer).__name__}, got {found!r}")


# Configs out.


def _model_config(model: Model) -> dict[str, Any]:
    names = [INPUT, *(layer.name for layer in model.layers)]
    nodes = [
        {"class": type(layer).__name__, "config": layer.get_config(), "inputs": [source]}
        for layer, source in zip(model.layers, names, strict=False)
    ]
    return {
        "name": model.name,
        "dtype": model.dtype,
        "seed": model.seed,
        "input_shape": list(model.input_shape or ()),
        "layers": nodes,
        "outputs": names[-1:],
    }


MODEL_KEYS = ("name", "dtype", "seed", "input_shape", "layers", "outputs")


def _compile_config(model: Model) -> dict[str, Any] | None:
    if model.optimizer is None:
        return None
    loss = None if model.loss is None else model.loss.get_config()
    return {"optimizer": model.optimizer.get_config(), "loss": loss, "metrics": model.metrics}


def compiled_like(model: Model) -> dict[str, Any]:
    """Return the arguments for `Model.compile` of another model, with a new optimizer."""
    return _compiled(_compile_config(model))


# Configs in.


def _chain(graph: Any) -> list[Layer]:
    """Return new layers, not built; ValueError unless the graph is a chain of known ones."""
    if graph["dtype"] not in DTYPES:
        raise ValueError(f"dtype: expected one of {DTYPES}, got {graph['dtype']!r}")
    if not isinstance(graph["layers"], list) or not graph["layers"]:
        raise ValueError(f"layers: expected a list of one or more, got {graph['layers']!r}")
    chain: list[Layer] = []
    source = INPUT
    for index, node in enumerate(graph["layers"]):
        chain.append(_layer(f"layers[{index}]", node, source))
        source = chain[-1].name
    if graph["outputs"] != [source]:
        raise ValueError(f"outputs: expected {[source]}, got {graph['outputs']!r}")
    return chain


def _layer(name: str, node: Any, source: str) -> Layer:
    node = keys(name, node, ("class", "config", "inputs"))
    if node["inputs"] != [source]:
        raise ValueError(f"{name}: expected the inputs {[source]}, got {node['inputs']!r}")
    if not isinstance(node["config"], dict) or not isinstance(node["config"].get("name"), str):
        raise ValueError(f"{name}: expected a config with a name, got {node['config']!r}")
    return construct(name, {**node["config"], "class": node["class"]}, layers.CLASSES)


def _compiled(config: Any) -> dict[str, Any]:
    """Return the arguments for `Model.compile`."""
    config = keys("compile", config, ("optimizer", "loss", "metrics"))
    return {
        "optimizer": construct("optimizer", config["optimizer"], optimizers.CLASSES),
        "loss": config["loss"] and construct("loss", config["loss"], losses.CLASSES),
        "metrics": config["metrics"],
    }


def _training(config: Any) -> tuple[int, np.random.Generator | None, Any]:
    """Return the optimizer's steps, the generator in its saved state, and what a fit was at.

    None for the latter two when not saved.
    """
    if config is None:
        return 0, None, None
    fit = ("fit",) if isinstance(config, dict) and "fit" in config else ()
    config = keys("training", config, ("iterations", "rng", *fit))
    rng = generator_of(config["rng"])
    return integer("iterations", config["iterations"], 0), rng, config.get("fit")


def generator_of(state: Any) -> np.random.Generator:
    """Return a generator in a saved state; ValueError where that is none."""
    rng = np.random.default_rng(0)
    try:
        rng.bit_generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"rng: expected the state of a PCG64, got {state!r}") from error
    return rng


def _input_shape(found: Any) -> Shape:
    if not isinstance(found, list) or not found:
        raise ValueError(f"input_shape: expected a list of sizes, got {found!r}")
    return tuple(None if size is None else integer("input_shape", size, 1) for size in found)


# Tensors.


def _named_params(chain: Iterable[Layer]) -> list[tuple[str, Array]]:
    return [
        (f"{layer.name}/{name}", param) for layer in chain for name, param in layer.params.items()
    ]


def _expected(chain: list[Layer], input_shape: Shape, optimizer: Optimizer | None) -> Shapes:
    """Return the name and shape of each tensor; with an optimizer, those of its slots too."""
    own: Shapes = {}
    for layer, shape in zip(chain, shapes_through(chain, input_shape), strict=False):
        for name, size in layer.param_shapes(shape).items():
            own[f"{layer.name}/{name}"] = size
    slots = optimizer.slot_names if optimizer else ()
    shapes = {f"layers/{name}": size for name, size in own.items()}
    return shapes | {f"optimizer/{slot}/{name}": own[name] for slot in slots for name in own}


def _dtypes(
    chain: list[Layer], input_shape: Shape, names: Iterable[str], dtype: str
) -> dict[str, str]:
    """Return the dtype of each tensor of `_expected`."""
    own: dict[str, str] = {}
    for layer, shape in zip(chain, shapes_through(chain, input_shape), strict=False):
        dtypes = layer.param_dtypes(layer.param_shapes(shape), dtype)
        own |= {f"layers/{layer.name}/{name}": of for name, of in dtypes.items()}
    return {name: own.get(name, dtype) for name in names}


def _adopt(chain: list[Layer], input_shape: Shape, tensors: dict[str, Array], dtype: str) -> None:
    for layer, shape in zip(chain, shapes_through(chain, input_shape), strict=False):
        names = layer.param_shapes(shape)
        params = {name: tensors[f"layers/{layer.name}/{name}"] for name in names}
        layer.adopt(params, shape, dtype)


def _slots(
    optimizer: Optimizer | None, chain: list[Layer], tensors: dict[str, Array]
) -> dict[str, list[Array]]:
    """Return what `optimizer.restore` takes."""
    names = [name for name, _ in _named_params(chain)]
    slots = optimizer.slot_names if optimizer else ()
    return {slot: [tensors[f"optimizer/{slot}/{name}"] for name in names] for slot in slots}
