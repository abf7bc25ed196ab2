"""Walks over what keeps something on arrays: streams, prepared weights, layers.

Each call is held against a fresh object that is given what the walk knows (weights, and the state
that the calls before it gave): the same bits. And against the float64 oracle.
"""

import copy
import pickle

import naive_stack
import numpy as np
from agreement import FORWARD_BAR, GRADIENT_BAR, forward_error, gradient_error, same_bits
from family import family_case
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lstmfast import (
    LSTMStream,
    Model,
    PreparedLSTM,
    get_num_threads,
    layers,
    load,
    lstm_forward,
    set_num_threads,
)

I, H = 3, 5
DTYPES = st.sampled_from(("float32", "float64"))
few = st.integers(1, 4)
numbers = st.integers(0, 7)
WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
}
KINDS = {  # as `family_case` takes them
    "plain": {},
    "no bias": {"bias": False},
    "stack": {"layers": 2},
    "projected": {"proj": 2, "layers": 2},
    "peepholes": {"peepholes": True, "cell_clip": 0.6},
    "normed": {"norm": True, "activation": ("elu", 0.8)},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.2, "coupled": True},
}
SLACK = 4  # of the bars, as states and weights of a walk are larger than those of the cases


def close(got, ref, dtype, gradient=False):
    bar, error = (GRADIENT_BAR, gradient_error) if gradient else (FORWARD_BAR, forward_error)
    assert error(got, ref) <= SLACK * bar[dtype]


def same(got, ref):
    assert same_bits(got, ref), np.abs(got - ref).max()


class Walk(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.rng, self.threads = np.random.default_rng(0), get_num_threads()

    def teardown(self):
        set_num_threads(self.threads)

    @invariant()
    def call_often(self):
        """After most rules a call: what a change has left behind would show."""
        if self.rng.random() < 0.7:
            self.any_call()

    def any_call(self):
        raise NotImplementedError

    def any_lengths(self):
        return self.rng.choice(("all", "lengths", "mask")), list(self.rng.integers(0, 8, 4))

    def draw(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def take_kind(self, kind, dtype, seed, **more):
        """Keep weights and options of a kind, drawn anew for each seed."""
        self.dtype, self.rng = dtype, np.random.default_rng(seed)
        case = family_case((1, 1, I, H), dtype, False, seed, **KINDS[kind], **more)
        self.network = case.network
        self.given = {name: of for name, of in case.weights.items() if of is not None}
        self.given |= {name: case.keywords[name] for name in ("options", "noise")}
        self.parts, self.P = len(case.network.parts), KINDS[kind].get("proj", H)

    def steps(self, T, B, how, lengths, batch_first):
        """Return keywords of lengths or a mask, and the steps that each row takes."""
        if how == "lengths":
            counts = [k % (T + 1) for k in lengths[:B]]
            return {"lengths": counts}, [list(range(n)) for n in counts]
        if how == "mask":
            mask = self.rng.random((T, B)) < 0.6
            taken = [list(np.flatnonzero(mask[:, b])) for b in range(B)]
            return {"mask": mask.T.copy() if batch_first else mask}, taken
        return {}, None

    @rule(count=st.integers(1, 3))
    def set_threads(self, count):
        set_num_threads(count)


class StreamWalk(Walk):
    @initialize(kind=st.sampled_from(sorted(KINDS)), dtype=DTYPES, B=few, seed=numbers)
    def start(self, kind, dtype, B, seed):
        self.take_kind(kind, dtype, seed)
        self.B, self.state = B, None
        self.stream = self.fresh()

    def fresh(self):
        """A new stream in the state of the walk; None: as it begins."""
        stream = LSTMStream(**self.given, batch_size=self.B)
        if self.state is not None:
            stream.set_state(*self.state)
        return stream

    def hold(self, x, move):
        """Move on: the same bits as a fresh stream, and the oracle's numbers."""
        fresh = self.fresh()
        y, wanted = move(self.stream), move(fresh)
        same(y, wanted)
        h0, c0 = (None, None) if self.state is None else self.state
        ref = naive_stack.forward(self.network, x, h0, c0)
        close(y.reshape(ref["y"].shape), ref["y"], self.dtype)
        self.state = fresh.state

    @rule(
        moves=st.lists(
            st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=4
        )
    )
    def move(self, moves):
        """By steps (T = 0) and pieces: into an array or not, strided or not."""
        for T, into, strided in moves:
            self.forward(T, into, strided) if T else self.step(into, strided)

    def any_call(self):
        self.move([(int(self.rng.integers(0, 3)), *(self.rng.random(2) < 0.5))])

    def step(self, into, strided):
        x = self.draw(self.B, 2 * I)[:, ::2] if strided else self.draw(self.B, I)
        given = x[0] if strided and self.B == 1 else x
        out = {"out": np.full((self.B, self.P), np.nan, self.dtype)} if into else {}
        self.hold(x[None], lambda stream: stream.step(given, **out).copy())

    def forward(self, T, into, strided):
        x = self.draw(self.B, T, I).swapaxes(0, 1) if strided else self.draw(T, self.B, I)
        out = {"out": np.full((T, self.B, self.P), np.nan, self.dtype)} if into else {}
        self.hold(x, lambda stream: stream.forward(x, **out).copy())

    @rule()
    def reset(self):
        self.stream.reset()
        self.state = None

    @rule()
    def look(self):
        for got, ref in zip(self.stream.state, self.fresh().state, strict=True):
            same(got, ref)

    @rule()
    def set_state(self):
        self.state = tuple(np.tanh(self.draw(*part.shape)) for part in self.fresh().state)
        self.stream.set_state(*self.state)

    @rule(wrong=st.sampled_from(("x", "dtype", "out", "state")))
    def refused(self, wrong):
        """The state is as it was."""
        x, out, other = self.draw(self.B, I), None, np.zeros(2, self.dtype)
        try:
            if wrong == "state":
                self.stream.set_state(other, other)
            elif wrong == "dtype":
                self.stream.step(x.astype("f4" if self.dtype == "float64" else "f8"))
            else:
                x, out = (x[:, 1:], out) if wrong == "x" else (x, other)
                self.stream.forward(x[None], out=out)
        except ValueError:
            return
        raise AssertionError("expected a ValueError")

    @rule(how=st.sampled_from(sorted(WAYS)), keep=st.booleans())
    def duplicate(self, how, keep):
        """Go on with the copy or with the first, and move the other one away."""
        made = WAYS[how](self.stream)
        other, self.stream = (made, self.stream) if keep else (self.stream, made)
        other.forward(self.draw(2, self.B, I))
        if keep:
            other.reset()


class PreparedWalk(Walk):
    @initialize(
        kind=st.sampled_from(sorted(KINDS)),
        dtype=DTYPES,
        order=st.sampled_from(({}, {"bidirectional": True}, {"reverse": True})),
        pad=st.sampled_from(("zeros", "repeat")),
        ragged=st.booleans(),
        seed=numbers,
    )
    def start(self, kind, dtype, order, pad, ragged, seed):
        self.take_kind(kind, dtype, seed, **order, pad=pad)
        self.order, self.ragged = order | {"pad": pad}, ragged
        self.prepared = PreparedLSTM(**self.given, **self.order, variable_lengths=ragged)
        self.outputs = self.P * (1 + ("bidirectional" in order))

    @rule(
        T=few,
        B=few,
        how=st.sampled_from(("all", "lengths", "mask")),
        lengths=st.lists(numbers, min_size=4, max_size=4),
        with_state=st.booleans(),
        batch_first=st.booleans(),
        every=st.booleans(),
        strided=st.booleans(),
    )
    def forward(self, T, B, how, lengths, with_state, batch_first, every, strided):
        x = self.draw(T, B, 2 * I)[..., ::2] if strided else self.draw(T, B, I)
        chosen, taken = self.steps(T, B, how if self.ragged else "all", lengths, batch_first)
        h0 = np.tanh(self.draw(self.parts, B, self.P)) if with_state else None
        c0 = self.draw(self.parts, B, H) if with_state else None
        given = x.swapaxes(0, 1) if batch_first else x
        keywords = {**chosen, "batch_first": batch_first, "return_sequences": every}
        y, state = self.prepared.forward(given, h0, c0, **keywords)
        other = lstm_forward(given, h0=h0, c0=c0, **self.given, **self.order, **keywords)
        ref = naive_stack.forward(self.network, x, h0, c0, taken)
        assert (y is None) == (not every)
        if every:
            same(y, other[0])
            close(y.swapaxes(0, 1) if batch_first else y, ref["y"], self.dtype)
        for got, wanted, name in zip(state, other[1], ("h_n", "c_n"), strict=True):
            same(got, wanted)
            close(got, ref[name], self.dtype)

    def any_call(self):
        flags = [bool(one) for one in self.rng.random(4) < 0.5]
        self.forward(*map(int, self.rng.integers(1, 5, 2)), *self.any_lengths(), *flags)

    @rule(wrong=st.sampled_from(("x", "dtype", "lengths", "state")))
    def refused(self, wrong):
        x, more = self.draw(3, 2, I), {}
        if wrong == "dtype":
            x = x.astype("f4" if self.dtype == "float64" else "f8")
        elif wrong == "x":
            x = x[..., 1:]
        elif wrong == "lengths":
            more["lengths"] = [4, 1] if self.ragged else [3, 1]
        else:
            more["h0"] = self.draw(1)
        try:
            self.prepared.forward(x, **more)
        except ValueError:
            return
        raise AssertionError("expected a ValueError")

    @rule(how=st.sampled_from(sorted(WAYS)))
    def duplicate(self, how):
        self.prepared = WAYS[how](self.prepared)


class LayerWalk(Walk):
    @initialize(
        return_sequences=st.booleans(),
        return_state=st.booleans(),
        time_major=st.booleans(),
        order=st.sampled_from(("", "go_backwards", "stateful", "bidirectional", "both")),
        num_layers=st.integers(1, 2),
        peepholes=st.booleans(),
        projection=st.sampled_from((None, 2)),
        noise=st.sampled_from(({}, {}, {"dropout": 0.3}, {"zoneout_h": 0.3, "weight_drop": 0.2})),
        pad=st.sampled_from(("zeros", "repeat")),
        recompute=st.sampled_from((None, 2)),
        dtype=DTYPES,
        seed=numbers,
    )
    def start(self, order, noise, dtype, seed, **options):
        chosen = ("go_backwards", "stateful") if order == "both" else (order,) if order else ()
        self.dtype, self.rng = dtype, np.random.default_rng(seed)
        self.options = options | noise | dict.fromkeys(chosen, True)
        self.layer = layers.LSTM(H, seed=5, **self.options)
        self.layer.build((None, None, I), dtype=dtype)
        self.options = self.layer.get_config()
        self.noise, self.state = bool(noise), None
        self.pass_of = None  # the fresh layer that has gone the same way forward

    def fresh(self):
        made = layers.LSTM.from_config(self.options)
        made.build((None, None, I), dtype=self.dtype)
        made.set_weights(self.layer.get_weights())
        made.rng = copy.deepcopy(self.layer.rng)
        return made

    @property
    def network(self):
        """The oracle's, without what is dropped."""
        layer, parts = self.layer, []
        for k in range(layer.num_layers * layer.directions):
            named = layer._weights(np.array)
            one = {n: (v[k] if layer.is_stack else v) for n, v in named.items() if v is not None}
            parts.append(naive_stack.Part(**one))
        return naive_stack.Network(
            parts, layer.bidirectional, reverse=layer.go_backwards, repeat=layer.pad == "repeat",
            zoneout_h=layer.zoneout_h, zoneout_c=layer.zoneout_c,
        )  # fmt: skip

    def state_of(self, B):
        leading = (self.layer.num_layers * self.layer.directions, B)
        leading = leading if self.layer.is_stack else (B,)
        sizes = self.layer.state_size, H
        return tuple(np.tanh(self.draw(*leading, size)) for size in sizes)

    @rule(
        calls=st.lists(
            st.tuples(
                few,
                st.sampled_from(("all", "lengths", "mask")),
                st.lists(numbers, min_size=4, max_size=4),
                st.booleans(),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        ),
        B=few,
    )
    def forward(self, calls, B):
        """Some calls one after another: of T steps, with a state or not, in training or not."""
        for T, how, lengths, with_state, training in calls:
            self.forward_once(T, B, how, lengths, with_state, training)

    def any_call(self):
        """In inference, so that a pass under way goes on."""
        T, B = map(int, self.rng.integers(1, 5, 2))
        self.forward_once(T, B, *self.any_lengths(), bool(self.rng.random() < 0.3), False)

    def forward_once(self, T, B, how, lengths, with_state, training):
        if self.state is not None:
            B = self.state[0].shape[-2]
        layer, first = self.layer, not self.layer.time_major
        x = self.draw(*((B, T) if first else (T, B)), I)
        chosen, taken = {}, None
        if first or how != "mask":
            chosen, taken = self.steps(T, B, how, lengths, first)
        start = self.state_of(B) if with_state else self.state
        fresh = self.fresh()
        got = layer.forward(x, training, initial_state=start if with_state else None, **chosen)
        ref = fresh.forward(x, training, initial_state=start, **chosen)
        for a, b in zip(*(f if isinstance(f, tuple) else (f,) for f in (got, ref)), strict=True):
            same(a, b)
        if layer.stateful:
            self.state = fresh.state
        if training:
            self.pass_of = fresh, x, start, taken
        if not (training and self.noise):
            self.hold_oracle(got, x, start, taken)

    def inside(self, x, start):
        """x (T, B, I) and the state of all parts, as the oracle has them."""
        x = x if self.layer.time_major else x.swapaxes(0, 1)
        if start is None:
            return x, None, None
        return x, *(part if self.layer.is_stack else part[None] for part in start)

    def hold_oracle(self, got, x, start, taken):
        ref = naive_stack.forward(self.network, *self.inside(x, start), taken)
        y = got[0] if isinstance(got, tuple) else got
        if self.layer.return_sequences:
            y = y if self.layer.time_major else y.swapaxes(0, 1)
            close(y[::-1] if self.layer.go_backwards else y, ref["y"], self.dtype)
        else:
            last = np.concatenate(list(ref["h_n"][-self.layer.directions :]), axis=-1)
            close(y, last, self.dtype)

    @precondition(lambda self: self.pass_of is not None)
    @rule(need_dx=st.booleans())
    def backward(self, need_dx):
        """Whatever has been called since, but for another forward in training."""
        fresh, x, start, taken = self.pass_of
        self.pass_of = None
        dy = self.draw(*self.layer.output_shape(x.shape))
        dx = self.layer.backward(dy.copy(), need_dx)
        wanted = fresh.backward(dy.copy(), need_dx)
        assert (dx is None) == (wanted is None) == (not need_dx)
        if need_dx:
            same(dx, wanted)
        for name, gradient in self.layer.grads.items():
            same(gradient, fresh.grads[name])
        if not self.noise:
            self.hold_gradients(dy, x, start, taken)

    def hold_gradients(self, dy, x, start, taken):
        layer, turned = self.layer, self.inside(x, start)
        above = {}
        if layer.return_sequences:
            dy = dy if layer.time_major else dy.swapaxes(0, 1)
            above["dy"] = dy[::-1] if layer.go_backwards else dy
        else:
            count, D = layer.num_layers * layer.directions, layer.directions
            above["dh_n"] = np.zeros((count, dy.shape[0], layer.state_size))
            above["dh_n"][count - D :] = np.split(dy, D, axis=1)
        ref = naive_stack.backward(self.network, *turned, taken, **above)
        for k, at in enumerate(layer.suffixes()):
            for name in ("W_ih", "W_hh", "b", "p", "W_hr"):
                if name + at in layer.grads:
                    wanted = ref["parts"][k][f"d{name}"]
                    close(layer.grads[name + at], wanted, self.dtype, gradient=True)

    @rule()
    def reset(self):
        self.layer.reset_state()
        self.state = None

    @rule()
    def look(self):
        kept = self.layer.state
        assert (kept is None) == (self.state is None)
        for got, ref in zip(kept or (), self.state or (), strict=True):
            same(got, ref)

    @rule(update=st.booleans())
    def new_weights(self, update):
        """As an optimizer does it, in place, or all at once; then no pass is under way."""
        self.pass_of = self.layer._cache = None
        if update:
            for param in self.layer.params.values():
                param *= 0.9
        else:
            self.layer.set_weights([0.5 * self.draw(*w.shape) for w in self.layer.get_weights()])

    @precondition(lambda self: not self.layer.bidirectional and not self.layer.go_backwards)
    @rule(T=few, B=few)
    def stream(self, T, B):
        """A runner of its own: it moves nothing in the layer."""
        x = self.draw(T, B, I)
        ref = naive_stack.forward(self.network._replace(repeat=False), x)
        close(self.layer.stream(B).forward(x), ref["y"], self.dtype)

    @rule(how=st.sampled_from(("deepcopy", "pickle", "from_config", "copy")))
    def duplicate(self, how):
        """Go on with a copy, which has no pass under way."""
        self.pass_of = None
        if how == "from_config":
            made = self.fresh()
            made._state = copy.deepcopy(self.layer._state)
            self.layer = made
            return
        self.layer = WAYS[how](self.layer)
        assert self.layer._cache is None

    @precondition(lambda self: self.layer.single_output)
    @rule()
    def save(self):
        """Through a file, as the layer of a model."""
        import tempfile
        from pathlib import Path

        model = Model([self.fresh()], dtype=self.dtype)
        with tempfile.TemporaryDirectory() as folder:
            model.save(str(Path(folder, "model.lstm")))
            found = load(str(Path(folder, "model.lstm"))).layers[0]
        for got, ref in zip(found.get_weights(), self.layer.get_weights(), strict=True):
            same(got, ref)

    @rule(wrong=st.sampled_from(("x", "dtype", "state", "lengths")), training=st.booleans())
    def refused(self, wrong, training):
        """What is kept stays: the state, and the pass that is under way."""
        B = 2 if self.state is None else self.state[0].shape[-2]
        x, more = self.draw(B, B, I), {}
        if wrong == "x":
            x = x[..., 1:]
        elif wrong == "dtype":
            x = x.astype("f4" if self.dtype == "float64" else "f8")
        elif wrong == "state":
            more["initial_state"] = (np.zeros(3, self.dtype),) * 2
        else:
            more["lengths"] = [B + 1] * B
        before = copy.deepcopy(self.layer.rng)
        try:
            self.layer.forward(x, training, **more)
        except ValueError:
            self.layer.rng = before if before is not None else self.layer.rng
            return
        raise AssertionError("expected a ValueError")


TestStream = StreamWalk.TestCase
TestPrepared = PreparedWalk.TestCase
TestLayer = LayerWalk.TestCase
