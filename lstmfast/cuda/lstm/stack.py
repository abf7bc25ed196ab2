"""Layers on layers, in one direction or both, on the GPU: parts that run one after another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...ops.options import Noise
from ..kernels.copying import copy_into
from ..kernels.noise import make_dropout
from ..kernels.numbers import name_of
from ..kernels.philox import stream_of
from ..runtime.array import DeviceArray, empty
from .backward import Gradients, Upstream, run_backward
from .forward import run_forward
from .part import Part, Pass, blocks
from .ragged import Order

__all__ = ["Stack"]


@dataclass
class Stack:
    """The parts of one call, and what it keeps for the way back.

    Attributes
    ----------
    parts : layer by layer, in each the forward direction first
    directions : parts of a layer, 1 or 2
    noise : QUIET in inference
    """

    parts: list[Part]
    directions: int
    T: int
    B: int
    noise: Noise
    seed: int
    order: Order
    stream: Any
    passes: list[Pass] = field(default_factory=list)

    @property
    def layers(self) -> int:
        return len(self.parts) // self.directions

    @property
    def array_dtype(self) -> Any:
        return self.parts[0].kind.numbers[0].dtype

    # ------------------------------------------------------------ forward

    def forward(
        self, x: DeviceArray, h0: DeviceArray | None, c0: DeviceArray | None,
        y: DeviceArray | None, cells: DeviceArray | None, h_n: DeviceArray, c_n: DeviceArray,
        keep: bool,
    ) -> None:  # fmt: skip
        """Run every layer.

        Parameters
        ----------
        x, y, cells : (T, B, ...), strided but for the last axis; y and cells None: not wanted
        h0, c0, h_n, c_n : (parts, B, ...)
        keep : keep the passes for `backward`
        """
        for layer in range(self.layers):
            inputs = self._inputs(x, layer)
            last = layer == self.layers - 1
            outputs = y if last else self._between()
            for k in self._indices(layer):
                a_pass = Pass(self.parts[k], self.stream, inputs, self.T, self.B,
                              _part(h0, k), _part(c0, k), self._counts(k), self.seed)  # fmt: skip
                run_forward(a_pass, self._side(outputs, k), self._side(cells, k) if last else None)
                self._read_state(a_pass, h_n[k], c_n[k])
                if keep:
                    self.passes.append(a_pass)
            if not last:
                x = outputs  # type: ignore[assignment]

    def _indices(self, layer: int) -> range:
        return range(layer * self.directions, (layer + 1) * self.directions)

    def _counts(self, k: int) -> DeviceArray | None:
        return self.order.counts(self.parts[k].reverse)

    def _between(self) -> DeviceArray:
        """Room for the outputs of a layer below others."""
        columns = self.directions * self.parts[0].P
        return empty((self.T, self.B, columns), self.array_dtype, self.stream)

    def _side(self, steps: DeviceArray | None, k: int) -> DeviceArray | None:
        """A direction's columns of (T, B, directions · K)."""
        if steps is None:
            return None
        width = steps.shape[-1] // self.directions
        first = k % self.directions * width
        return steps[:, :, first : first + width]

    def _read_state(self, a_pass: Pass, h_n: DeviceArray, c_n: DeviceArray) -> None:
        _, last = a_pass.slots(a_pass.times()[-1])
        copy_into(h_n, a_pass.h, self.stream)
        copy_into(c_n, a_pass.c[last], self.stream)

    def _rate(self, layer: int) -> float:
        """The dropout of a layer's inputs."""
        return self.noise.layer_dropout if layer else self.noise.input_dropout

    def _inputs(self, x: DeviceArray, layer: int) -> DeviceArray:
        """x (T, B, I) as (T·B, I) operands, some of them dropped."""
        operand = self.parts[0].kind.numbers[1].dtype
        rows = self.T * self.B
        if not self._rate(layer) and x.dtype == operand and x.is_contiguous:
            return x.reshape(rows, -1)
        made = empty(x.shape, operand, self.stream)
        self._through_dropout(x, made, layer)
        return made.reshape(rows, -1)

    def _through_dropout(self, x: DeviceArray, y: DeviceArray, layer: int) -> None:
        """y (T, B, I) = x, or what the dropout of a layer's inputs leaves of it."""
        rate = self._rate(layer)
        if not rate:
            copy_into(y, x, self.stream)
            return
        kernel = make_dropout(name_of(x.dtype), name_of(y.dtype), rate, layer > 0)
        strides = [s // a.itemsize for a in (x, y) for s in a.strides[:2]]
        kernel.launch(
            self.stream, blocks(kernel, x.size), x, y, *x.shape, *strides, self.seed,
            stream_of(layer * self.directions, "INPUT"),
        )  # fmt: skip

    # ------------------------------------------------------------ backward

    def backward(
        self, dy: DeviceArray | None, dcells: DeviceArray | None, dh_n: DeviceArray | None,
        dc_n: DeviceArray | None, dx: DeviceArray | None, need_weights: bool = True,
    ) -> list[Gradients]:  # fmt: skip
        """Take gradients back through every layer; dx (T, B, I) is written unless it is None."""
        found: list[Gradients] = []
        for layer in reversed(range(self.layers)):
            wanted = layer > 0 or dx is not None
            inputs = self._input_gradients(layer) if wanted else None
            top, of_layer = layer == self.layers - 1, []
            for k in self._indices(layer):
                above = Upstream(self._side(dy, k), self._side(dcells, k) if top else None,
                                 _part(dh_n, k), _part(dc_n, k))  # fmt: skip
                add = k % self.directions > 0
                found_here = run_backward(self.passes[k], above, inputs, add, need_weights)
                of_layer.append(found_here)
            found = of_layer + found
            if inputs is not None:
                dy = self._through_inputs(inputs, layer, dx if layer == 0 else None)
        return found

    def _input_gradients(self, layer: int) -> DeviceArray:
        part = self.parts[layer * self.directions]
        columns = part.weights.W_ih.shape[1]
        return empty((self.T * self.B, columns), str(part.kind.real), self.stream)

    def _through_inputs(
        self, inputs: DeviceArray, layer: int, dx: DeviceArray | None
    ) -> DeviceArray:
        """The gradient to what a layer was given, behind its dropout, in `dx` if that is there."""
        steps = inputs.reshape(self.T, self.B, -1)
        if dx is None and not self._rate(layer) and steps.dtype == self.array_dtype:
            return steps
        dx = empty(steps.shape, self.array_dtype, self.stream) if dx is None else dx
        self._through_dropout(steps, dx, layer)
        return dx


def _part(states: DeviceArray | None, k: int) -> DeviceArray | None:
    return None if states is None else states[k]
