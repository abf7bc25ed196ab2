"""Between a model and a file: which tensors, and the config that tells what they are.

The config is `{"model": ..., "compile": ... or null, "training": ... or null}`; what a model is, a
graph in which each layer names its inputs, `described` tells. "training" is
`{"iterations": ..., "rng": ...}`, and in a backup of a running fit also `"fit"`: where that was, as
`packing` writes it, with tensors `fit/...`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import losses, metrics, optimizers
from ..arguments import Array, construct, integer, keys, shown
from ..layers import Layer
from ..ops.placement import assign_all, to_host
from ..optimizers import Optimizer
from ..whole import held
from . import files, packing
from .described import described, graph_of
from .nested import Nested

if TYPE_CHECKING:
    from . import Model

__all__ = ["Backup", "generator_of", "load", "load_weights", "read_backup", "save"]

Shapes = dict[str, tuple[int, ...]]

COMPILED = ("optimizer", "loss", "metrics")
MORE = ("weighted_metrics", "loss_weights")


def save(model: Model, path: files.StrPath, include_optimizer: bool, fit: Any = None) -> None:
    """Write a built model; see `Model.save`. `fit` is what a running fit is at: `Run.get_state`."""
    names = [name for name, _ in _named_params(model.graph.layers)]
    params = [to_host(param) for layer in model.graph.layers for param in layer.params.values()]
    tensors = dict(zip((f"layers/{name}" for name in names), params, strict=True))
    config: dict[str, Any] = {"model": described(model), "compile": _compile_config(model)}
    config["training"] = None
    if include_optimizer:
        optimizer = model.optimizer
        iterations = _checked_iterations(model) if optimizer else 0
        config["training"] = {"iterations": iterations, "rng": model.rng.bit_generator.state}
        for slot, arrays in optimizer.slots.items() if optimizer else ():
            trained = (f"optimizer/{slot}/{name}" for name in _trained_names(model.graph.layers))
            tensors |= dict(zip(trained, map(to_host, arrays), strict=True))
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


def load(file: files.Reader) -> Any:
    """Return the model of an open file, compiled and ready to go on; see `lstmfast.load`.

    No weight is drawn: the layers adopt the file's tensors before they go into the model.
    """
    config = keys("config", file.config, ("model", "compile", "training"))
    graph, arguments = graph_of(config["model"], Nested.from_config)
    compiled = None if config["compile"] is None else _compiled(config["compile"])
    iterations, rng, fit = _training(config["training"])
    optimizer = compiled["optimizer"] if compiled else None
    remembered = optimizer if iterations else None

    shapes = graph.built_shapes([entry.shape or () for entry in graph.entries])
    own, trained = _expected(shapes), _trained_of(graph.layers, shapes)
    expected = {f"layers/{name}": size for name, size in own.items()}
    expected |= _of_slots(own, remembered, trained)
    file.check_names({*expected, *packing.specs(fit)})
    tensors = file.read(expected, _dtypes(shapes, expected, arguments["dtype"]))

    _adopt(shapes, tensors, arguments["dtype"])
    make, ends = Nested.makes[arguments.pop("class")], arguments.pop("keys")
    model: Any = make(graph, **arguments)
    model.name_ends(*ends)
    if compiled:
        model.compile(**compiled)
    if optimizer:
        optimizer.restore(iterations, _slots(remembered, trained, tensors))
    if rng is not None:
        model.rng = rng
    return model


def load_weights(model: Model, path: files.StrPath) -> None:
    """Copy a file's layer tensors into a built model, all or none; see `Model.load_weights`."""
    shapes = model.graph.built_shapes(model.input_shapes or [])
    expected = {f"layers/{name}": size for name, size in _expected(shapes).items()}
    with files.opened(path) as file:
        file.check_names(set(expected), "layers/")
        tensors = file.read(expected, _dtypes(shapes, expected, model.dtype))
    assign_all(
        [w for layer in model.graph.layers for w in layer.params.values()], list(tensors.values())
    )


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
            assign_all(model._all_params(), self.weights)
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
    assert model.optimizer is not None
    shapes = model.graph.built_shapes(model.input_shapes or [])
    with files.opened(path) as file:
        config = keys("config", file.config, ("model", "compile", "training"))
        iterations, rng, fit = _training(config["training"])
        if rng is None or not isinstance(fit, dict):
            raise ValueError("training: expected a backup of a fit, got a model without it")
        _check_same_optimizer(model.optimizer, config["compile"])
        remembered = model.optimizer if iterations else None
        trained, sizes = _trained_names(model.graph.layers), _expected(shapes)
        own = {f"layers/{name}": size for name, size in sizes.items()}
        own |= _of_slots(sizes, remembered, trained)
        extra = packing.specs(fit)
        file.check_names({*own, *extra})
        dtypes = _dtypes(shapes, own, model.dtype)
        tensors = file.read(
            own | {name: shape for name, (shape, _) in extra.items()},
            dtypes | {name: dtype for name, (_, dtype) in extra.items()},
        )
        weights = [tensors[f"layers/{name}"] for name, _ in _named_params(model.graph.layers)]
        slots = _slots(remembered, trained, tensors)
        return Backup(model, weights, iterations, slots, rng, packing.unpack(fit, tensors))


def _check_same_optimizer(optimizer: Optimizer, config: Any) -> None:
    if not isinstance(config, dict) or "optimizer" not in config:
        raise ValueError(f"compile: expected an optimizer, got {shown(config)}")
    kept = config["optimizer"]
    found = kept.get("class") if isinstance(kept, dict) else kept
    if found != type(optimizer).__name__:
        raise ValueError(f"optimizer: expected {type(optimizer).__name__}, got {found!r}")


# Configs.


def _compile_config(model: Model) -> dict[str, Any] | None:
    """Of an only output its loss and metrics; of several the lists of them, in order."""
    if model.optimizer is None:
        return None
    heads = model._heads
    assert heads is not None
    given = [None if one is None else one.get_config() for one in heads.losses]
    plain, weighted = ([_metric_config(m) for m in each] for each in heads.given)
    found: dict[str, Any] = {"optimizer": model.optimizer.get_config()}
    if len(given) == 1:
        found |= {"loss": given[0], "metrics": plain[0]}
        return {**found, "weighted_metrics": weighted[0]} if weighted[0] else found
    found |= {"loss": given, "metrics": plain, "weighted_metrics": weighted}
    return {**found, "loss_weights": heads.shares}


def _metric_config(given: list[Any]) -> list[Any]:
    return [one if isinstance(one, str) else metrics.get(one).get_config() for one in given]


def compiled_like(model: Model) -> dict[str, Any]:
    """Return the arguments for `Model.compile` of another model, with a new optimizer."""
    return _compiled(_compile_config(model))


def _compiled(config: Any) -> dict[str, Any]:
    """Return the arguments for `Model.compile`."""
    extra = [name for name in MORE if isinstance(config, dict) and name in config]
    config = keys("compile", config, (*COMPILED, *extra))
    found = {name: config[name] for name in ("metrics", *extra)}
    for name in ("metrics", *extra):
        if not isinstance(found[name], list):
            raise ValueError(f"{name}: expected a list, got {shown(found[name])}")
    given = config["loss"]
    each = [_loss(one) for one in given] if isinstance(given, list) else _loss(given)
    made = construct("optimizer", config["optimizer"], optimizers.CLASSES)
    return {"optimizer": made, "loss": each, **found}


def _loss(config: Any) -> Any:
    return config and construct("loss", config, losses.CLASSES)


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


# Tensors.


def _named_params(layers: Iterable[Layer]) -> list[tuple[str, Array]]:
    return [
        (f"{layer.name}/{name}", param) for layer in layers for name, param in layer.params.items()
    ]


def _trained_names(layers: Iterable[Layer]) -> list[str]:
    """The names of what an optimizer changes, as `Model.params` has them."""
    return [f"{layer.name}/{name}" for layer in layers for name in layer.trained]


def _trained_of(layers: Iterable[Layer], shapes: dict[Layer, Any]) -> list[str]:
    """The same of layers that are not built, for inputs of these shapes."""
    return [
        f"{layer.name}/{name}"
        for layer in layers
        if layer.trainable
        for name in layer.param_shapes(shapes[layer])
        if name not in layer.statistics
    ]


def _expected(shapes: dict[Layer, Any]) -> Shapes:
    """Return the name and shape of each layer's tensors, for layers of these inputs."""
    return {
        f"{layer.name}/{name}": size
        for layer, shape in shapes.items()
        for name, size in layer.param_shapes(shape).items()
    }


def _of_slots(own: Shapes, optimizer: Optimizer | None, trained: Iterable[str]) -> Shapes:
    slots = optimizer.slot_names if optimizer else ()
    return {f"optimizer/{slot}/{name}": own[name] for slot in slots for name in trained}


def _dtypes(shapes: dict[Layer, Any], names: Iterable[str], dtype: str) -> dict[str, str]:
    """Return the dtype of each of these tensors."""
    own: dict[str, str] = {}
    for layer, shape in shapes.items():
        dtypes = layer.param_dtypes(layer.param_shapes(shape), dtype)
        own |= {f"layers/{layer.name}/{name}": of for name, of in dtypes.items()}
    return {name: own.get(name, dtype) for name in names}


def _adopt(shapes: dict[Layer, Any], tensors: dict[str, Array], dtype: str) -> None:
    for layer, shape in shapes.items():
        names = layer.param_shapes(shape)
        params = {name: tensors[f"layers/{layer.name}/{name}"] for name in names}
        layer.adopt(params, shape, dtype)


def _slots(
    optimizer: Optimizer | None, trained: Sequence[str], tensors: dict[str, Array]
) -> dict[str, list[Array]]:
    """Return what `optimizer.restore` takes."""
    slots = optimizer.slot_names if optimizer else ()
    return {slot: [tensors[f"optimizer/{slot}/{name}"] for name in trained] for slot in slots}
