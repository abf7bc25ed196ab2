"""Walks over ONNX's operator, which keeps weights packed between calls.

Each call is held against one on copies of its arrays, for which nothing is kept: the same bits.
"""

import numpy as np
from agreement import same_bits
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from lstmfast import get_num_threads, set_num_threads
from lstmfast.onnx import lstm

few = st.integers(1, 4)
some = st.booleans()
CELLS = {
    "usual": {},
    "clipped": {"clip": 0.4},
    "coupled": {"input_forget": 1},
    "named": {"activations": ["HardSigmoid", "Softsign", "Tanh"]},
}


class Operator(RuleBasedStateMachine):
    """Two sets of weights, each of which is called, changed, exchanged and made anew."""

    @initialize(dtype=st.sampled_from(("float32", "float64")), I=few, H=few, seed=st.integers(0, 9))
    def start(self, dtype, I, H, seed):
        self.rng, self.dtype, self.sizes = np.random.default_rng(seed), dtype, (I, H)
        self.threads = get_num_threads()
        self.weights = [self.drawn(D) for D in (1, 2)]

    def teardown(self):
        set_num_threads(self.threads)

    def draw(self, *shape):
        return self.rng.uniform(-1, 1, shape).astype(self.dtype)

    def drawn(self, D):
        I, H = self.sizes
        shapes = {"W": (D, 4 * H, I), "R": (D, 4 * H, H), "B": (D, 8 * H), "P": (D, 3 * H)}
        return {name: self.draw(*shape) for name, shape in shapes.items()}

    @rule(T=few, B=few, both=some, reverse=some, state=some, ragged=some, layout=st.integers(0, 1),
          cell=st.sampled_from(sorted(CELLS)), left_out=st.sampled_from(("", "B", "P", "BP")),
          again=few)  # fmt: skip
    def call(self, T, B, both, reverse, state, ragged, layout, cell, left_out, again):
        D, (I, H) = 1 + both, self.sizes
        given = {name: a for name, a in self.weights[both].items() if name not in left_out}
        attributes = {"layout": layout} | CELLS[cell]
        attributes["direction"] = ("reverse" if reverse else "forward", "bidirectional")[both]
        if both and "activations" in attributes:
            attributes["activations"] = [*attributes["activations"], "Sigmoid", "Relu", "Softsign"]
        for _ in range(again):
            inputs = {"X": self.draw(B, T, I) if layout else self.draw(T, B, I)}
            if state:
                inputs["initial_h"] = self.draw(*((B, D, H) if layout else (D, B, H)))
            if ragged:
                inputs["sequence_lens"] = self.rng.integers(0, T + 1, B)
            self.hold(inputs | given, attributes)

    def hold(self, inputs, attributes):
        copies = {name: array.copy() for name, array in inputs.items()}
        pairs = zip(lstm(**inputs, **attributes), lstm(**copies, **attributes), strict=True)
        for got, ref in pairs:
            assert same_bits(got, ref), np.abs(got - ref).max()

    @rule(both=some, name=st.sampled_from("WRBP"), at=st.integers(0, 10**6))
    def change_a_number(self, both, name, at):
        numbers = self.weights[both][name].reshape(-1)
        if numbers.flags.writeable:
            numbers[at % numbers.size] += 1

    @rule(both=some, name=st.sampled_from("WRBP"))
    def make_constant(self, both, name):
        """As files give them: on memory that nothing can change."""
        array = self.weights[both][name]
        constant = np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
        self.weights[both][name] = constant

    @rule(both=some, name=st.sampled_from("WRBP"))
    def replace(self, both, name):
        """The next array may come to lie where this one was."""
        shape = self.weights[both].pop(name).shape
        self.weights[both] = {key: self.weights[both].get(key) for key in "WRBP"}
        self.weights[both][name] = self.draw(*shape)

    @rule(both=some)
    def draw_anew(self, both):
        self.weights[both] = self.drawn(1 + both)

    @rule(count=st.integers(1, 3))
    def set_threads(self, count):
        set_num_threads(count)


TestOperator = Operator.TestCase
