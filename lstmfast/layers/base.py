"""The base of all layers: names, building, devices, calls; their weights are in `weights`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from .. import constraints, initializers, regularizers
from ..arguments import LARGEST_SEED, Array, Shape, choice, construct, flag, integer, shown
from ..constraints import Constraint
from ..initializers import Initializer
from ..ops import activations
from ..ops.activations import Activation
from ..ops.checks import not_empty
from ..ops.dispatch import float_like
from ..ops.placement import check_device, on_device, to_device
from ..registry import snake_case
from ..regularizers import Regularizer
from ..seeding import generator
from ..whole import Attributes
from .checks import DTYPES, check_precision, held_params, sizes, sizes_of_all, with_batch
from .making import Made
from .stepping import Stepper, same_stepper
from .symbolic import connected, is_symbolic
from .weights import Weighted, kind_of

__all__ = ["Layer"]

SERIALIZERS: tuple[tuple[type, Any], ...] = (
    (Initializer, initializers.serialize),
    (Regularizer, regularizers.serialize),
    (Constraint, constraints.serialize),
    (Activation, activations.serialize),
)


UNTOLD = ("weights", *Made.common)  # in a config: never, or where they are not the usual


class Layer(Weighted, metaclass=Made):
    """What all layers share: names, building, weights in and out.

    Parameters
    ----------
    name : str, optional
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.
    input_shape : tuple, optional
        Without the batch.
    trainable : bool
        As the attribute; every layer's constructor takes it.
    dtype : {"float32", "float64"}, optional
        Of the weights, which is a Model's: another one is refused where the layer is built. Every
        layer's constructor takes it.

    Regularizers and constraints do nothing of themselves. A Model heeds them in `gradients` and
    training; without one, the loop says so:

    >>> y = layer.forward(x, training=True)
    >>> loss = loss_of(y) + layer.penalty()
    >>> layer.backward(dy)
    >>> layer.add_penalty_gradients()        # to layer.grads
    >>> optimizer.apply(list(layer.trained.values()), [layer.grads[name] for name in layer.trained])
    >>> layer.constrain()                    # changes layer.params

    Attributes
    ----------
    params : dict of str to ndarray
        The weights as the kernels read them, in a fixed order; empty until built. They are changed
        in place and never replaced but by `to`, so that optimizers may hold on to them. On "cuda"
        they, the inputs and the outputs are arrays of `lstmfast.cuda`.
    grads : dict of str to ndarray
        After `backward`: the gradient of each of `params`, with the same keys, order and shapes.
    input_shape : tuple or None
        The shape that the layer was told or built with; the first axis is the batch. Of a layer
        that takes a list of inputs (`takes_list`), here and in all methods: a tuple of shapes.
    device : str
        "cpu", or "cuda": where the weights are; see `to`.
    precision : str or None
        What products are calculated in, if not in the dtype; see `to`.
    trainable : bool
        False keeps the weights as they are: `trained` is empty, and training passes the layer over.

    Notes
    -----
    Layers can be copied and pickled at any time, with weights, gradients and a kept state. What
    `forward` keeps for `backward` stays behind: a copy goes forward first.
    """

    takes_ids = False
    takes_list = False  # is the input a list of arrays, and `input_shape` one of shapes?
    takes_mask = False  # has `forward` an argument `mask`?
    supports_masking = False  # does it take inputs with a mask?
    makes_mask = False  # does it find steps that do not count?
    stepwise = False  # does it do to each step alone what it does to all?
    is_operation = False  # one of Keras's operations on tensors, which are no layers there?
    draws = True  # from `rng` in training, as far as is known
    precision: str | None = None

    def takes_ids_at(self, position: int) -> bool:
        """Does the input at this place of a list take ids?"""
        return self.takes_ids

    @property
    def base_name(self) -> str:
        """What a name of ours begins with."""
        return snake_case(type(self).__name__)

    @property
    def single_output(self) -> bool:
        """Is the output one array, batch first, as a Model can hand it on?"""
        return True

    def __init__(
        self,
        name: str | None = None,
        seed: int | None = None,
        input_shape: Shape | None = None,
        *,
        trainable: bool = True,
        dtype: str | None = None,
    ):
        super().__init__()
        if hasattr(self, "call") and type(self).forward is Layer.forward:
            kind = f"{type(self).__name__} with call alone, which a subclass of Model may have"
            raise ValueError(f"layer: expected one with forward and backward, got {kind}")
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name: expected a word without '/', got {shown(name)}")
        self.name = name or snake_case(type(self).__name__)
        self.has_own_name = name is not None
        self.seed = None if seed is None else integer("seed", seed, 0, LARGEST_SEED)
        self.input_shape: Any = None if input_shape is None else with_batch(input_shape)
        self.rng: np.random.Generator | None = None  # of what is drawn in training: a Model's
        self.node: Any = None  # of its last call in a graph
        self._cache: Any = None
        self.set_common(trainable, dtype)

    def set_common(self, trainable: bool | None = None, dtype: str | None = None) -> None:
        """Take what every constructor takes, None for what it did not say."""
        if trainable is not None or not hasattr(self, "trainable"):
            self.trainable = flag("trainable", True if trainable is None else trainable)
        if dtype is not None or not hasattr(self, "told_dtype"):
            self.told_dtype = None if dtype is None else choice("dtype", dtype, DTYPES)

    def __getstate__(self) -> dict[str, Any]:
        """All but what is kept for a `backward`, and of graphs, which belongs to this object."""
        return {**self.__dict__, "_cache": None, "node": None}

    @property
    def output(self) -> Any:
        """The tensor that its last call in a graph gave, or a tuple of several; see `Input`."""
        return _ends(self, lambda node: node.outputs)

    @property
    def input(self) -> Any:
        """The tensor that its last call in a graph took, or a tuple of several."""
        return _ends(self, lambda node: node.inputs)

    # What each layer says of itself.

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight, in Keras's order and layout; {} of a layer without."""
        return {}

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output for an input of this shape, None for any size.

        Raises
        ------
        ValueError
            When the layer does not take such an input.
        """
        raise NotImplementedError

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the output; with `training`, keep what one `backward` needs."""
        raise NotImplementedError

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return the mask of the output, bool, its axes the first of the output's; None: no mask.

        Parameters
        ----------
        x : the input
        mask : ndarray of bool, or None
            The input's: which of its steps count; of a list of inputs a list.
        """
        return mask if self.supports_masking else None

    def backward(self, dy: Array, need_dx: bool = True) -> Any:
        """Fill `grads` and return the gradient of x, or None unless `need_dx`.

        All that it needs of the forward pass lies in `_cache`: a layer that is used several times
        in a graph gets each use's own put back there. Of a list of inputs the gradient is a list.

        Parameters
        ----------
        dy : ndarray
            Gradient of the output of the last `forward(x, training=True)`, in its shape and dtype.
            It may be overwritten.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON can hold them."""
        own = inspect.signature(type(self)).parameters.values()
        names = [
            one.name for one in own if one.kind is not one.VAR_KEYWORD and one.name not in UNTOLD
        ]
        names += ["name", "seed"] if len(names) < len(own) and "name" not in names else []
        config = {name: getattr(self, name) for name in names}
        for name, value in config.items():
            for kind, serialize in SERIALIZERS:
                if isinstance(value, kind):
                    config[name] = serialize(value)
        if config.get("input_shape") is not None:
            config["input_shape"] = list(config["input_shape"][1:])
        return {**config, **self._common()}

    def _common(self) -> dict[str, Any]:
        """Tell of `trainable` and `dtype` what is not the usual."""
        told = {} if self.trainable else {"trainable": False}
        return told if self.told_dtype is None else {**told, "dtype": self.told_dtype}

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Draw a weight, in Keras's layout, from the initializer of its role.

        A weight without a role is its own; without an attribute `<role>_initializer` it is drawn
        from Keras's usual one, "glorot_uniform".
        """
        role = self.roles.get(kind_of(name), name)
        made = getattr(self, f"{role}_initializer", "glorot_uniform")
        return initializers.get(made, f"{role}_initializer")(shape, rng)

    # In a graph: layers with several outputs, or with arguments that are tensors.

    def output_shapes(self, input_shape: Any, **constants: Any) -> list[Shape]:
        """Return the shape of each output of a call with these arguments."""
        return [self.output_shape(input_shape)]

    def outputs_of(self, **constants: Any) -> int:
        """Return how many outputs a call with these arguments has."""
        return 1

    def side_shapes(self, input_shape: Any) -> dict[str, Shape | list[Shape]]:
        """Return the arguments of `forward` that may be tensors, with the shape that each has."""
        return {}

    def needed_sides(self) -> tuple[str, ...]:
        """Name those that every call must have."""
        return ()

    def check_constant(self, name: str, value: Any) -> None:
        """Raise ValueError unless `forward` has an argument of this name."""
        known = set(inspect.signature(self.forward).parameters) - {"x", "mask", "lengths"}
        choice("argument", name, sorted(known))
        if not isinstance(value, (bool, int, float, str)):
            raise ValueError(f"{name}: expected a word, a number or a flag, got {shown(value)}")

    def backward_of(self, gradients: list[Any], need_dx: bool = True) -> Any:
        """Go back as `backward` does, from the gradient of each output, None for zeros."""
        return self.backward(gradients[0], need_dx)

    def side_gradients(self) -> dict[str, Any]:
        """Return, after `backward`, the gradient of each of `side_shapes`."""
        return {}

    def mask_arguments(self, mask: Any) -> dict[str, Any]:
        """Return what `forward` is told of a mask that came with its input."""
        return {"mask": mask}

    def stepper(self, batch_size: int) -> Stepper:
        """Return what takes one step at a time with a copy of the weights: for `Model.stream`."""
        if self.stepwise:
            return same_stepper(self)
        kind = type(self).__name__
        raise ValueError(f"{self.name}: expected a layer that can go step by step, got {kind}")

    # What follows from it.

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output, a tuple of several: `output_shapes`."""
        found = self.output_shapes(input_shape)
        return found[0] if len(found) == 1 else tuple(found)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Return a new layer of what `get_config` told; ValueError for any other argument."""
        return construct("config", {"class": cls.__name__, **config}, {cls.__name__: cls})

    def build(
        self,
        input_shape: Any,
        rng: np.random.Generator | None = None,
        dtype: str = "float32",
    ) -> None:
        """Draw the weights.

        Parameters
        ----------
        input_shape : tuple
            With the batch as first axis; None for the sizes that do not matter. Of a layer that
            takes a list: a list of them.
        rng : numpy.random.Generator, optional
            Where the weights come from, unless the layer has a `seed` of its own.
        dtype : {"float32", "float64"}

        Raises
        ------
        ValueError
            When the layer is built already or does not take such an input.
        """
        if self.built:
            raise ValueError(f"{self.name}: is built already")
        known = sizes_of_all if self.takes_list else sizes
        input_shape = known("input_shape", input_shape, 0)
        self.output_shape(input_shape)
        if self.seed is not None or rng is None:
            rng = generator(self.seed)
        draws = {
            name: self._inside(name, self._initial(name, shape, rng))
            for name, shape in self.weight_shapes(input_shape).items()
        }
        self.adopt(draws, input_shape, dtype)

    def adopt(self, params: dict[str, Array], input_shape: Shape, dtype: str) -> None:
        """Build with these `params` (copied, cast to `dtype`) in place of drawn ones."""
        if self.built:
            raise ValueError(f"{self.name}: is built already")
        self.check_dtype(choice("dtype", dtype, DTYPES))
        shapes = self.param_shapes(input_shape)
        self.params = held_params(params, shapes, self.param_dtypes(shapes, dtype))
        self.input_shape = self.input_shape or tuple(input_shape)
        self._regularizers = self._rules("regularizer", shapes)
        self._constraints = self._rules("constraint", shapes)
        self._dtype = dtype
        self.check_place(self.device, self.precision)
        if self.device != "cpu":
            self._move(self.device)

    def check_dtype(self, dtype: str) -> None:
        """Raise ValueError if the layer was told of another dtype than this, a Model's."""
        if self.told_dtype not in (None, dtype):
            raise ValueError(f"{self.name}: dtype: expected {dtype}, got {self.told_dtype}")

    def to(self, device: str, precision: str | None = None) -> Any:
        """Bring the layer to another device, and return it.

        What it keeps for a `backward` is lost, the state of a stateful layer is kept.

        Parameters
        ----------
        device : {"cpu", "cuda"}
            From then on the layer takes arrays there: of `lstmfast.cuda`, or any that tell of
            themselves by DLPack or `__cuda_array_interface__`. Its outputs are of `lstmfast.cuda`.
        precision : str, optional
            What products are calculated in, of float32 layers: "float32" (as None) or "bfloat16";
            on "cpu" also "int8", which cannot train; on "cuda" also "tf32" or "float16".

        Raises
        ------
        ValueError
            Where there is no GPU, and for what has no kernels there (`lstmfast.cuda.support`).
        """
        check_device(device)
        self.check_place(device, precision)
        self.device, self.precision = device, precision
        self._move(device)
        return self

    def check_place(self, device: str, precision: str | None) -> None:
        """Raise ValueError if the layer cannot be on this device, in this precision."""
        if device == "cuda":
            import_module("lstmfast.cuda.support").check_layer(self)
        check_precision(precision, device, [self.dtype] if self.built else DTYPES)

    def _move(self, device: str) -> None:
        self.params = {name: to_device(param, device) for name, param in self.params.items()}
        self.grads, self._cache = {}, None

    def param_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return the shape of each of `params` for an input of this shape."""
        self.output_shape(input_shape)
        shapes = self.weight_shapes(input_shape)
        for ending in ("regularizer", "constraint"):
            for name, rule in self._rules(ending, shapes).items():
                rule.check(f"{self.roles[kind_of(name)]}_{ending}", shapes[name])
        return {
            name: shape[::-1] if name in self.transposed else shape
            for name, shape in shapes.items()
        }

    def param_dtypes(self, shapes: dict[str, Any], dtype: str) -> dict[str, str]:
        """Return the dtype of each of `params`, whose shapes are given, in a layer of `dtype`."""
        return dict.fromkeys(shapes, dtype)

    def check_input(self, x: Array) -> None:
        """Raise ValueError unless x holds real numbers or truth values in a shape that is taken."""
        for name, one in self._inputs(x) if self.takes_list else (("x", x),):
            if one.dtype.kind not in "biuf":
                raise ValueError(f"{name}: expected real numbers, got dtype {one.dtype}")
        shape: Any = [one.shape for one in x] if self.takes_list else x.shape
        self.output_shape(shape)

    def __call__(self, x: Any, **arguments: Any) -> Any:
        """Return the output for x; the first call builds the layer for the shape and dtype of x.

        Of a tensor of a graph (see `Input`), the tensor that will come out. Arguments are those of
        `forward`.
        """
        if is_symbolic(x):
            return connected(self, x, arguments)
        self._build_for(x)
        return self.forward(x, **arguments)

    # Helpers.

    def as_it_is(self) -> Attributes:
        """What `build` and `to` set, for `whole.or_as_before`."""
        names = ("input_shape", "params", "grads", "_cache", "_dtype", "_regularizers",
                 "_constraints", "device", "precision")  # fmt: skip
        return [(self, name, getattr(self, name)) for name in names]

    def _placed(self, name: str, array: Any) -> Any:
        """Return an array that is where the layer is: itself, or what shares its memory."""
        if self.device == "cpu":
            if not isinstance(array, np.ndarray):
                found = type(array).__name__
                raise ValueError(f"{name}: expected a NumPy array, got {found} (see `to`)")
            return array
        if not on_device(array):
            expected = f"an array on the GPU, where {self.name} is"
            raise ValueError(f"{name}: expected {expected}, got {type(array).__name__}")
        return import_module("lstmfast.cuda.runtime.foreign").adopt_in_order(array, name)

    def _as_floats(self, x: Any, name: str = "x") -> Any:
        """Return x where the layer is, whole numbers and truth values as floats of its dtype."""
        x = self._placed(name, x)
        return x.astype(self.dtype) if x.dtype.kind in "biu" else x

    def _inputs(self, x: Any) -> list[tuple[str, Any]]:
        """Return each of a list of inputs with its name in errors; ValueError for other things."""
        if not isinstance(x, (list, tuple)):
            raise ValueError(f"x: expected a list of arrays, got {type(x).__name__}")
        return [(f"x[{i}]", one) for i, one in enumerate(x)]

    def _build_for(self, x: Any) -> None:
        if self.takes_list:
            x = [self._placed(name, one) for name, one in self._inputs(x)]
        else:
            x = self._placed("x", x)
        self.check_input(x)
        if not self.built:
            named = self._inputs(x) if self.takes_list else [("x", x)]
            dtypes = [self._dtype_of(name, one) for name, one in named]
            shapes = [(None, *one.shape[1:]) for _, one in named]
            dtype = next(filter(None, dtypes), self.told_dtype or "float32")
            self.build(shapes if self.takes_list else shapes[0], None, dtype)

    def _dtype_of(self, name: str, x: Array) -> str | None:
        """Return the dtype of floats, None of whole numbers; ValueError where none can be built."""
        whole = x.dtype.kind in "biu"
        if not self.takes_ids:
            not_empty(name, x if whole else float_like(name, x))
        return None if whole else x.dtype.name

    def _cached(self) -> Any:
        if self._cache is None:
            raise ValueError(f"{self.name}: backward needs a forward(x, training=True) before it")
        return self._cache

    def _known_input(self, letter: str) -> int | str:
        """Return the size of the last input axis, or its letter while that is open."""
        known = None if self.input_shape is None else self.input_shape[-1]
        return letter if known is None else known


def _ends(layer: Layer, ask: Callable[[Any], list[Any]]) -> Any:
    if layer.node is None:
        raise ValueError(f"{layer.name}: expected a layer that was called in a graph, got another")
    found = ask(layer.node)
    return found[0] if len(found) == 1 else tuple(found)
