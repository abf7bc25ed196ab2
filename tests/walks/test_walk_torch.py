"""Walks over lstmfast.torch: each call is held against a fresh torch.nn module of the same weights.

What a walk changes (weights by every way, dtype, mode, class, copies, threads) it changes on our
module alone; the other one is made anew for each call, so it cannot remember anything.
"""

import copy
import pickle
import random

import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence
from torch_cases import assert_same, outputs

from lstmfast import get_num_threads, set_num_threads
from lstmfast.torch import LSTM, LSTMCell, accelerate, restore

I, H, P = 3, 4, 2
BAR = {torch.float32: 1e-5, torch.float64: 1e-12}  # measured: 8.9e-7 and 1.8e-15
GRADIENT_BAR = {torch.float32: 1e-4, torch.float64: 1e-11}  # measured: 1.1e-5 and 2.0e-14
GRADS = {
    "grad": torch.enable_grad, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode,
}  # fmt: skip
KINDS = ("batched", "packed", "sorted", "unbatched", "strided")
OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1),
    "SGD, fused": lambda p: torch.optim.SGD(p, 0.1, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, 0.05),
    "Adam, fused": lambda p: torch.optim.Adam(p, 0.05, fused=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01),
}
CHANGES = (
    "in place", "a row", "data", "data in place", "set_", "parameter", "load", "load assign",
    "inference_mode", "vector",
)  # fmt: skip
numbers = st.integers(0, 7)


class Walk(RuleBasedStateMachine):
    """What both modules' walks share: their weights and what becomes of them."""

    theirs, ours = torch.nn.LSTM, LSTM

    def begin(self, options, dtype):
        self.drawn, self.options, self.dtype = 0, options, dtype
        self.random = random.Random(str(options))
        self.threads = get_num_threads()
        torch.manual_seed(0)
        self.module = self.ours(I, H, dtype=dtype, **options)
        self.optimizers = {}

    def teardown(self):
        if hasattr(self, "threads"):
            set_num_threads(self.threads)

    def draw(self, *shape):
        self.drawn += 1
        generator = torch.Generator().manual_seed(self.drawn)
        return torch.randn(*shape, generator=generator, dtype=self.dtype)

    def weights(self):
        return dict(self.module.named_parameters())

    def fresh(self):
        """A new module of torch.nn: the same weights, frozen or not, in the same mode."""
        made = self.theirs(I, H, dtype=self.dtype, **self.options)
        for name, p in self.weights().items():
            setattr(made, name, torch.nn.Parameter(p.detach().clone(), p.requires_grad))
        made.train(self.module.training)
        if hasattr(made, "batch_first"):
            made.batch_first = self.module.batch_first
        return made

    def leaves(self, shapes, grads):
        """Return random tensors, and copies of them; each needs a gradient or not."""
        first = [self.draw(*shape).tanh() for shape in shapes]
        second = [one.clone() for one in first]
        for k, pair in enumerate(zip(first, second, strict=True)):
            for one in pair:
                one.requires_grad_(bool(grads >> k & 1))
        return first, second

    def hold(self, call, module, other, leaves, how, upstream):
        """Call both, compare what comes out, and all gradients where there are some."""
        found = []
        for one, given in ((module, leaves[0]), (other, leaves[1])):
            one.zero_grad(set_to_none=True)
            with GRADS[how]():
                found.append(call(one, given))
        assert_same(*found, bar=BAR[self.dtype])
        weighed = [self.draw(*a.shape) for a in found[0].values()]
        chosen = [k for k, a in enumerate(found[0].values()) if upstream >> k % 3 & 1]
        asked = [name for k, name in enumerate(found[0]) if k in chosen]
        if how != "grad" or not any(found[0][name].requires_grad for name in asked):
            return
        results = []
        for part, one, given in zip(found, (module, other), leaves, strict=True):
            sum((part[n] * weighed[k]).sum() for k, n in enumerate(part) if n in asked).backward()
            named = {f"leaf {k}": leaf.grad for k, leaf in enumerate(given)}
            results.append(named | {name: p.grad for name, p in one.named_parameters()})
        self.compare_gradients(*results)

    def compare_gradients(self, got, ref):
        assert list(got) == list(ref)
        for name, wanted in ref.items():
            assert got[name] is not None or wanted is None, name
            if wanted is None:  # where torch's graph does not lead to: what it leads to is zero
                assert got[name] is None or not got[name].any(), name
            else:
                assert got[name].dtype == wanted.dtype and got[name].shape == wanted.shape, name
                error = (got[name] - wanted).abs().max() / max(1e-3, wanted.abs().max())
                assert error <= GRADIENT_BAR[self.dtype], (name, error)

    # ------------------------------------------------------------ what happens between calls

    def evaluate_once(self):
        """A call on the way on which weights are kept, held as any other."""
        raise NotImplementedError

    @rule(how=st.sampled_from(CHANGES), which=numbers, between=st.booleans())
    def change(self, how, which, between):
        """Change one weight, or all, in one of the ways that programs have."""
        if between:
            self.module.eval()
            self.evaluate_once()
        self.change_by(how, which)
        if between:
            self.evaluate_once()

    def change_by(self, how, which):
        module, named = self.module, self.weights()
        name = list(named)[which % len(named)]
        weight, values = named[name], self.draw(*named[name].shape) / 2
        if how == "inference_mode":
            with torch.inference_mode():
                weight.copy_(values)
        elif how.startswith("load"):
            given = {n: self.draw(*p.shape) / 2 for n, p in named.items()}
            module.load_state_dict(given, assign=how == "load assign")
        elif how == "parameter":
            setattr(module, name, torch.nn.Parameter(values, weight.requires_grad))
        elif how == "data":
            weight.data = values
        elif how == "data in place":
            weight.data.copy_(values)
        else:
            self.change_uncounted(how, named, weight, values)

    def change_uncounted(self, how, named, weight, values):
        with torch.no_grad():
            if how == "in place":
                weight.mul_(0.5).add_(values / 2)
            elif how == "a row":
                weight[len(weight) // 2].copy_(values[0])
            elif how == "set_":
                weight.set_(values)
            else:
                every = [p.detach() for p in named.values()]
                vector = torch.nn.utils.parameters_to_vector(every)
                torch.nn.utils.vector_to_parameters(0.7 * vector, named.values())

    @rule(kind=st.sampled_from(sorted(OPTIMIZERS)))
    def step(self, kind):
        """An optimizer's step along gradients that are there, or random ones."""
        self.evaluate_once()
        free = [p for p in self.module.parameters() if p.requires_grad]
        for p in free:
            p.grad = p.grad if p.grad is not None else self.draw(*p.shape)
        if free:
            OPTIMIZERS[kind](free).step()
        self.evaluate_once()

    @rule(which=numbers, free=st.booleans())
    def freeze(self, which, free):
        weights = list(self.weights().values())
        for weight in weights if which == 0 else weights[which % len(weights) :][:1]:
            weight.requires_grad_(free)

    @rule(training=st.booleans())
    def mode(self, training):
        self.module.train(training)

    @rule(dtype=st.sampled_from((torch.float32, torch.float64)))
    def convert(self, dtype):
        self.module.to(dtype)
        self.dtype = dtype

    @rule(how=st.sampled_from(("copy", "deepcopy", "pickle")))
    def duplicate(self, how):
        """Go on with a copy."""
        if how == "pickle":
            self.module = pickle.loads(pickle.dumps(self.module))
        else:
            self.module = getattr(copy, how)(self.module)
        self.module.zero_grad(set_to_none=True)

    @rule()
    def swap(self):
        """To torch.nn's class and back again, or only one of them."""
        restored = type(self.module) is self.ours
        report = (restore if restored else accelerate)(self.module)
        assert report.swapped == [""]

    @rule(count=st.integers(1, 3))
    def set_threads(self, count):
        set_num_threads(count)

    @rule()
    def invalidate(self):
        if type(self.module) is self.ours:
            self.module.invalidate()

    @invariant()
    def call_often(self):
        """After many rules a call: what a change has left behind would show."""
        assert type(self.module) in (self.ours, self.theirs)
        if self.random.random() < 0.5:
            self.evaluate_once()


class LSTMWalk(Walk):
    @initialize(
        num_layers=st.integers(1, 2),
        bias=st.booleans(),
        batch_first=st.booleans(),
        bidirectional=st.booleans(),
        proj_size=st.sampled_from((0, 0, P)),
        dtype=st.sampled_from((torch.float32, torch.float64)),
        training=st.booleans(),
    )
    def start(self, dtype, training, **options):
        self.begin(options, dtype)
        self.module.train(training)

    @rule()
    def turn(self):
        """The attribute is asked in each call."""
        self.module.batch_first = not self.module.batch_first

    def shapes(self, kind, T, B, with_state):
        axes = (T,) if kind == "unbatched" else (B, T) if self.module.batch_first else (T, B)
        parts = self.options["num_layers"] * (1 + self.options["bidirectional"])
        leading = (parts,) if kind == "unbatched" else (parts, B)
        sizes = self.options["proj_size"] or H, H
        return [(*axes, I)] + [(*leading, size) for size in sizes if with_state]

    def made_call(self, kind, T, B, lengths):
        """Return a function that calls a module with leaves as this kind has them."""
        counts = torch.tensor([1 + k % T for k in lengths[:B]])
        counts = counts.sort(descending=True)[0] if kind == "sorted" else counts

        def call(module, leaves):
            x, state = leaves[0], tuple(leaves[1:]) or None
            if kind == "strided":
                x = x.transpose(0, 1).contiguous().transpose(0, 1)
            if kind in ("packed", "sorted"):
                x = pack_padded_sequence(x, counts, module.batch_first, kind == "sorted")
            found = outputs(module(x, state))
            return {name: a for name, a in found.items() if a.is_floating_point()}

        return call

    @rule(
        kind=st.sampled_from(KINDS),
        T=st.integers(1, 4),
        B=st.integers(1, 4),
        lengths=st.lists(numbers, min_size=4, max_size=4),
        with_state=st.booleans(),
        how=st.sampled_from(sorted(GRADS)),
        grads=numbers,
        upstream=st.integers(1, 7),
    )
    def call(self, kind, T, B, lengths, with_state, how, grads, upstream):
        leaves = self.leaves(self.shapes(kind, T, B, with_state), grads)
        call = self.made_call(kind, T, B, lengths)
        self.hold(call, self.module, self.fresh(), leaves, how, upstream)

    @rule(
        kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=4),
        how=st.sampled_from(("no_grad", "inference_mode")),
    )
    def evaluate(self, kinds, how):
        """Unlike calls with nothing between: what the first one decides the others would show."""
        self.module.eval()
        for k, kind in enumerate(kinds):
            self.call(kind, 3, 2 + k % 2, [2, 0, 1, 1], k % 2 == 1, how, 0, 1)

    def evaluate_once(self):
        kind = self.random.choice(KINDS)
        self.call(kind, 3, 2, [2, 0, 1, 1], False, "no_grad", 0, 1)

    @rule(kind=st.sampled_from(KINDS), how=st.sampled_from(sorted(GRADS)))
    def call_with_other_weights(self, kind, how):
        """As functional transforms do it: for one call."""
        given = {name: self.draw(*p.shape) / 2 for name, p in self.weights().items()}
        other = self.fresh()
        for name, values in given.items():
            setattr(other, name, torch.nn.Parameter(values))
        leaves = self.leaves(self.shapes(kind, 3, 2, False), 0)
        plain = self.made_call(kind, 3, 2, [2, 1, 0, 0])
        with torch.no_grad():
            wanted = plain(other, leaves[1])

        class Calls(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, *leaves):
                return plain(self.inner, leaves)

        named = {f"inner.{name}": values for name, values in given.items()}
        with GRADS[how]():
            got = functional_call(Calls(self.module), named, tuple(leaves[0]))
        assert_same(got, wanted, bar=BAR[self.dtype])

    @rule(wrong=st.sampled_from(("features", "state", "dtype", "axes")))
    def refused(self, wrong):
        """The same error; what is kept stays right."""
        shape = {"features": (3, 2, I + 1), "axes": (2, 2, 3, I)}.get(wrong, (3, 2, I))
        x, state = self.draw(*shape), None
        if wrong == "dtype":
            x = x.to(torch.float32 if self.dtype is torch.float64 else torch.float64)
        if wrong == "state":
            state = self.draw(7, 2, H), self.draw(7, 2, H)
        errors = []
        for module in (self.module, self.fresh()):
            try:
                module(x, state)
                errors.append(None)
            except Exception as error:
                errors.append((type(error), str(error)))
        assert errors[0] == errors[1] != None  # noqa: E711

    @precondition(lambda self: self.options["num_layers"] == 1)
    @rule(dropout=st.sampled_from((0.0, 0.3)))
    def drop(self, dropout):
        """Between layers there are none of: it changes nothing."""
        self.module.dropout = dropout


class CellWalk(Walk):
    theirs, ours = torch.nn.LSTMCell, LSTMCell

    @initialize(
        bias=st.booleans(),
        dtype=st.sampled_from((torch.float32, torch.float64)),
        training=st.booleans(),
    )
    def start(self, bias, dtype, training):
        self.begin({"bias": bias}, dtype)
        self.module.train(training)

    @rule(
        rows=st.sampled_from(((), (1,), (2,), (5,))),
        steps=st.integers(1, 3),
        with_state=st.booleans(),
        how=st.sampled_from(sorted(GRADS)),
        grads=numbers,
        upstream=st.integers(1, 7),
    )
    def call(self, rows, steps, with_state, how, grads, upstream):
        """Some steps in a loop."""
        shapes = [(*rows, I)] + [(*rows, H)] * 2 * with_state
        leaves = self.leaves(shapes, grads)

        def call(module, leaves):
            state = tuple(leaves[1:]) or None
            for _ in range(steps):
                state = module(leaves[0], state)
            return dict(zip(("h", "c"), state, strict=True))

        self.hold(call, self.module, self.fresh(), leaves, how, upstream)

    def evaluate_once(self):
        self.call((2,), 1, False, "no_grad", 0, 1)


TestLSTM = LSTMWalk.TestCase
TestLSTMCell = CellWalk.TestCase
