"""What the compiled extension gives to Python (its C-level API: capi.pxd)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]] | None
_List = list[np.ndarray[Any, np.dtype[Any]]]
_Strides = tuple[int, int]
_Anew = tuple[_Array, _Strides, _Array, _Array] | None
_Weights = Sequence[tuple[_Array, ...]]  # of each part: W_ih, W_hh, b, p, W_hr, gain_x, ...

CHUNK: int
MAX_THREADS: int
MAX_LAYERS: int
LARGEST_SUM: int
ACTIVATIONS: tuple[str, ...]

def _choose_isa() -> bool: ...
def best_isa() -> str: ...
def isa() -> str: ...
def bind_kernel(kind: int, name: str, pointer: int) -> None: ...
def bind_isa(register_bytes: int) -> None: ...
def threshold(rate: float) -> int: ...
def dropout_scale(rate: float) -> float: ...
def stream(part: int, purpose: int) -> int: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def follow_num_threads(count: int) -> None: ...
def limit_num_threads(count: int, told: int) -> None: ...
def thread_pool() -> str: ...
def call_keeping_own(function: Callable[..., Any], *arguments: Any) -> Any: ...

class Block:
    def __init__(self, size: int) -> None: ...
    def __buffer__(self, flags: int) -> memoryview: ...

class PackedQuads:
    def __init__(self, K: int, N: int, B: _Array, b_k: int, b_n: int) -> None: ...
    def product(self, M: int, A: _Array, a_row: int, C: _Array, bias: _Array) -> None: ...

class Handle:
    input_size: int
    hidden_size: int
    state_size: int
    output_size: int
    parts: int
    is_double: bool
    training: bool
    arguments: tuple[int, int, bool, bool, int, dict[str, float]]
    fresh: bool
    x_static: _Array
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        is_double: bool,
        training: bool,
        batch_size: int,
        options: dict[str, float],
    ) -> None: ...
    def load(self, weights: _Weights) -> None: ...
    def borrow(self, weights: _Weights) -> None: ...
    def store(self, rooms: _Weights) -> None: ...
    def forward(
        self,
        T: int,
        B: int,
        x: _Array,
        x_strides: _Strides,
        taken: tuple[_Array, _Array, _Strides | None] | None,
        h0: _Array,
        c0: _Array,
        y: _Array,
        y_strides: _Strides,
        h_n: _Array,
        c_n: _Array,
        cells: _Array,
        cells_strides: _Strides,
        reserve: Block | None,
        seed: int,
        anew: _Anew = None,
        x_static: _Array = None,
    ) -> None: ...
    def backward(
        self,
        T: int,
        B: int,
        x: _Array,
        x_strides: _Strides,
        taken: tuple[_Array, _Array, _Strides | None] | None,
        h0: _Array,
        c0: _Array,
        y: _Array,
        y_strides: _Strides,
        reserve: Block | None,
        seed: int,
        dy: _Array,
        dy_strides: _Strides,
        dh_n: _Array,
        dc_n: _Array,
        dcells: _Array,
        dcells_strides: _Strides,
        dx: _Array,
        dx_strides: _Strides,
        dh0: _Array,
        dc0: _Array,
        gradients: _Weights,
        anew: _Anew = None,
        dreset_h: _Array = None,
        dreset_c: _Array = None,
        x_static: _Array = None,
        dx_static: _Array = None,
    ) -> None: ...
    def new_reserve(self, T: int, B: int) -> Block: ...
    def run(self, B: int, x: _Array, h: _Array, c: _Array, out: _Array) -> bool: ...
    def set_static(self, x_static: _Array) -> None: ...
    def reset(self) -> None: ...
    def clear_if_fresh(self, h: _Array, c: _Array) -> None: ...
    def step(self, B: int, x: _Array, h: _Array, c: _Array, out: _Array) -> bool: ...

class Recurrence:
    has_h0: bool
    def __init__(
        self,
        is_double: bool,
        T: int,
        B: int,
        I: int,
        H: int,
        x: _Array,
        mask: _Array,
        W_ih: _Array,
        W_hh: _Array,
        b: _Array,
        h0: _Array,
        y: _Array,
        kind: int,
        alpha: float,
        beta: float,
    ) -> None: ...
    def forward(self) -> None: ...
    def backward(
        self,
        dy: _Array,
        dh_n: _Array,
        dz: _Array,
        dh0: _Array,
        dW_ih: _Array,
        dW_hh: _Array,
        db: _Array,
        active: _Array,
    ) -> None: ...

def product(
    kind: int,
    M: int,
    N: int,
    K: int,
    A: _Array,
    a_row: int,
    B: _Array,
    b_k: int,
    b_n: int,
    C: _Array,
    bias: _Array,
) -> None: ...
def outer(
    kind: int,
    R: int,
    M: int,
    N: int,
    A: _Array,
    X: _Array,
    C: _Array,
    right_sums: _Array,
) -> None: ...
def softmax(is_double: bool, M: int, N: int, x: _Array) -> None: ...
def crossentropy(
    is_double: bool,
    M: int,
    N: int,
    x: _Array,
    labels: _Array,
    targets: _Array,
    totals: _Array,
    shifted: _Array,
    weights: _Array,
    correct: _Array,
    gradient: bool,
    scale: float,
) -> None: ...
def scatter(is_double: bool, M: int, E: int, ids: _Array, dy: _Array, table: _Array) -> None: ...
def squares(is_double: bool, count: int, x: _Array, sums: _Array) -> None: ...
def same_arrays(ours: list[Any], theirs: list[Any]) -> bool: ...
def adam(
    is_double: bool,
    count: int,
    w: _Array,
    g: _Array,
    m: _Array,
    v: _Array,
    rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None: ...
def sgd(
    is_double: bool,
    count: int,
    w: _Array,
    g: _Array,
    velocity: _Array,
    rate: float,
    momentum: float,
    nesterov: bool,
) -> None: ...
def change_all(
    changes: Sequence[tuple[Any, ...]], attributes: list[tuple[Any, str, Any]] = ...
) -> None: ...
def copy_all(
    targets: _List, sources: _List, attributes: list[tuple[Any, str, Any]] = ...
) -> None: ...
def activation(
    is_double: bool, count: int, kind: int, alpha: float, beta: float, x: _Array, y: _Array
) -> None: ...
def activation_backward(
    is_double: bool, count: int, kind: int, alpha: float, beta: float, dy: _Array, y: _Array
) -> None: ...
def xla_functions() -> dict[str, Any]: ...
def layer_pass(
    back: bool,
    as_ours: bool,
    keys: dict[str, float],
    arrays: Sequence[_Array],
    results: Sequence[_Array],
) -> None: ...
