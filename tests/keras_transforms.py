"""Transforms of each backend round lstmfast.keras.LSTM: `test_keras` runs it for each backend.

Every way in WAYS calculates layer(x) by a transform, so outputs and gradients are those of
keras.layers.LSTM, called plainly.
"""

import keras
import numpy as np
import pytest
from keras_lstm import BACKEND, BAR, B, H, I, T, drawn, error, pair

from lstmfast.fallback import FallbackError

WAYS = {}


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    monkeypatch.setenv("LSTMFAST_STRICT", "1")


def way(function):
    WAYS[function.__name__] = function
    return function


@pytest.fixture(scope="module")
def wanted():
    """Return Keras's own output, and the gradients of its sum of squares."""
    return found_by(lambda layer, x: layer(x), pair()[0])


def assert_wanted(found, wanted):
    assert error(found, wanted) <= BAR


# ---------------------------------------------------------------- TensorFlow

if BACKEND == "tensorflow":
    import tensorflow as tf

    def found_by(call, layer):
        x = tf.constant(drawn(B, T, I))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = call(layer, x)
            size = tf.reduce_sum(y**2)
        sources = [x, *(w.value for w in layer.trainable_weights)]
        return [tf.convert_to_tensor(one).numpy() for one in (y, *tape.gradient(size, sources))]

    @way
    def cond(layer, x):
        return tf.cond(tf.reduce_sum(x) > 1e9, lambda: 2 * layer(x), lambda: layer(x))

    @way
    def switch_case(layer, x):
        zero = tf.cast(x[0, 0, 0] > 1e9, tf.int32)
        return tf.switch_case(zero, [lambda: layer(x), lambda: 2 * layer(x)])

    @way
    def while_loop(layer, x):
        once = tf.cast(x[0, 0, 0] < 1e9, tf.int32)
        zeros = tf.zeros((B, H))
        return tf.while_loop(
            lambda k, y: k < once, lambda k, y: (k + 1, y + layer(x, training=True)), (0, zeros)
        )[1]

    @way
    def map_fn(layer, x):
        return tf.map_fn(lambda row: layer(row[None], training=True)[0], x)

    @way
    def vectorized_map(layer, x):
        return tf.vectorized_map(lambda row: layer(row[None])[0], x)

    @way
    def vectorized_map_in_training(layer, x):
        return tf.vectorized_map(lambda row: layer(row[None], training=True)[0], x)

    @way
    def vectorized_map_of_cond(layer, x):
        def one(row):
            return tf.cond(row[0, 0] > 0, lambda: layer(row[None])[0], lambda: layer(row[None])[0])

        return tf.vectorized_map(one, x)

    @way
    def recompute_grad(layer, x):
        return tf.recompute_grad(lambda x: layer(x))(x)

    @way
    def nested_function(layer, x):
        return tf.function(lambda x: tf.function(lambda x: layer(x))(x))(x)

    @pytest.mark.parametrize("name", WAYS)
    def test_the_tape_is_outside(name, wanted):
        function = tf.function(WAYS[name])
        assert_wanted(found_by(lambda layer, x: function(layer, x), pair()[1]), wanted)

    @pytest.mark.parametrize("name", ("cond", "vectorized_map", "while_loop"))
    def test_the_tape_is_inside(name, wanted):
        layer = pair()[1]

        @tf.function
        def step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = WAYS[name](layer, x)
                size = tf.reduce_sum(y**2)
            sources = [x, *(w.value for w in layer.trainable_weights)]
            return y, *tape.gradient(size, sources)

        assert_wanted([one.numpy() for one in step(tf.constant(drawn(B, T, I)))], wanted)

    def test_gradients_of_each_row(wanted):
        """A tape within vectorized_map; rows of weights' gradients sum to that of the batch."""
        layer = pair()[1]

        def of_row(row):
            with tf.GradientTape() as tape:
                size = tf.reduce_sum(layer(row[None], training=True) ** 2)
            return tape.gradient(size, [w.value for w in layer.trainable_weights])

        found = tf.vectorized_map(of_row, tf.constant(drawn(B, T, I)))
        assert_wanted([one.numpy().sum(axis=0) for one in found], wanted[2:])

    def test_second_derivatives_of_rows_raise():
        x, layer = tf.constant(drawn(B, T, I)), pair()[1]
        with pytest.raises(NotImplementedError, match="expected first derivatives"):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = vectorized_map(layer, x)
                size = tf.reduce_sum(tape.gradient(y, x) ** 2)
            outer.gradient(size, x)

    @pytest.mark.parametrize("custom", (True, False))
    def test_a_traced_function_cannot_be_saved(custom, tmp_path):
        layer = pair()[1]
        function = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec((1, T, I))])
        concrete = function.get_concrete_function()
        module = tf.Module()
        module.weights = [w.value for w in layer.weights]
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=custom)
        with pytest.raises(NotImplementedError, match="traced while it is saved"):
            tf.saved_model.save(module, tmp_path / "m", signatures=concrete, options=options)
        from tensorflow.python.framework import convert_to_constants

        with pytest.raises(NotImplementedError, match="traced while it is saved"):
            convert_to_constants.convert_variables_to_constants_v2(concrete)

    def test_a_function_that_ran_is_traced_again_to_be_saved(tmp_path, monkeypatch):
        layer = pair()[1]
        function = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec((1, T, I))])
        x = drawn(1, T, I)
        y = function(x).numpy()
        module = tf.Module()
        module.weights, module.function = [w.value for w in layer.weights], function
        monkeypatch.setenv("LSTMFAST_STRICT", "0")
        tf.saved_model.save(module, tmp_path / "m")
        loaded = tf.saved_model.load(tmp_path / "m")
        again = loaded.function
        assert "PyFunc" not in str(again.concrete_functions[0].graph.as_graph_def())
        assert error([again(x).numpy()], [y]) <= BAR

    def test_a_converter_of_others_traces_keras_own_loop():
        onnx = pytest.importorskip("tf2onnx")
        layer = pair()[1]
        spec = [tf.TensorSpec((1, T, I))]
        with pytest.raises(Exception, match=r"got an export by tf2onnx\."):
            onnx.convert.from_function(tf.function(lambda x: layer(x)), input_signature=spec)


# ---------------------------------------------------------------- JAX

if BACKEND == "jax":
    import jax
    import jax.numpy as jnp
    from jax import lax

    def stateless(layer):
        others = [w.value for w in layer.non_trainable_variables]
        return lambda weights, x: layer.stateless_call(weights, others, x)[0]

    def differentiated(call, layer, which):
        """Return y and the gradients of x (0), the weights (1) or both."""
        weights = [w.value for w in layer.trainable_variables]

        def size(x, weights):
            y = call(stateless(layer), weights, x)
            return (y**2).sum(), y

        gradients, y = jax.grad(size, which, has_aux=True)(jnp.array(drawn(B, T, I)), weights)
        return [np.asarray(one) for one in jax.tree.leaves((y, gradients))]

    def found_by(call, layer):
        return differentiated(lambda f, weights, x: f(weights, x), layer, (0, 1))

    @way
    def plain(f, weights, x):
        return f(weights, x)

    @way
    def compiled(f, weights, x):
        return jax.jit(f)(weights, x)

    @way
    def vmap(f, weights, x):
        return jax.vmap(lambda row: f(weights, row[None])[0])(x)

    @way
    def vmap_of_cond(f, weights, x):
        def one(row):
            negative = lax.cond(
                row.sum() > 0, lambda: f(weights, row[None]), lambda: -f(weights, row[None])
            )
            return jnp.where(row.sum() > 0, negative, -negative)[0]

        return jax.vmap(one)(x)

    @way
    def cond(f, weights, x):
        return lax.cond(x.sum() > 1e9, lambda: 2 * f(weights, x), lambda: f(weights, x))

    @way
    def lax_map(f, weights, x):
        return lax.map(lambda row: f(weights, row[None])[0], x)

    @way
    def scan(f, weights, x):
        return lax.scan(lambda k, row: (k + 1, f(weights, row[None])[0]), 0, x)[1]

    @way
    def checkpoint(f, weights, x):
        return jax.checkpoint(f)(weights, x)

    @pytest.mark.parametrize("name", WAYS)
    def test_gradients_of_what_is_asked_for(name, wanted):
        """What one gradient does not need decides nothing for the next."""
        layer = pair()[1]
        y, dx, *dweights = wanted
        for which, expected in ((0, [dx]), (1, dweights), ((0, 1), [dx, *dweights]), (0, [dx])):
            assert_wanted(differentiated(WAYS[name], layer, which), [y, *expected])

    def test_gradients_of_each_row(wanted):
        layer = pair()[1]
        weights, f = [w.value for w in layer.trainable_variables], stateless(layer)

        def of_row(row):
            return jax.grad(lambda weights: (f(weights, row[None]) ** 2).sum())(weights)

        rows = jax.vmap(of_row)(jnp.array(drawn(B, T, I)))
        assert_wanted([np.asarray(one.sum(axis=0)) for one in rows], wanted[2:])

    @pytest.mark.parametrize("name", ("plain", "vmap", "scan"))
    def test_forward_mode_raises(name):
        layer = pair()[1]
        weights = [w.value for w in layer.trainable_variables]
        x = jnp.array(drawn(B, T, I))
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(lambda x: WAYS[name](stateless(layer), weights, x), (x,), (x,))

    def test_a_compiled_function_cannot_be_exported():
        layer = pair()[1]
        function = jax.jit(lambda x: layer(x))
        x = jnp.array(drawn(1, T, I))
        function(x)
        with pytest.raises(ValueError, match="lstmfast_forward"):
            jax.export.export(function)(x)


# ---------------------------------------------------------------- PyTorch

if BACKEND == "torch":
    import torch
    from torch.autograd import forward_ad
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils.checkpoint import checkpoint

    def found_by(call, layer):
        x = torch.from_numpy(drawn(B, T, I)).requires_grad_()
        y = call(layer, x)
        weights = [w.value for w in layer.trainable_weights]
        gradients = torch.autograd.grad((y**2).sum(), [x, *weights])
        return [one.detach().numpy() for one in (y, *gradients)]

    @way
    def checkpointed(layer, x):
        return checkpoint(layer, x, use_reentrant=False)

    @way
    def saved_on_cpu(layer, x):
        with torch.autograd.graph.save_on_cpu():
            return layer(x)

    @way
    def negative_bit(layer, x):
        return layer(torch._neg_view(-x))

    LOOPS = {}  # of Keras

    LOOPS["vmap"] = lambda layer, x: torch.func.vmap(lambda row: layer(row[None])[0])(x)
    LOOPS["trace"] = lambda layer, x: torch.jit.trace(
        layer, (torch.zeros(B, T, I),), check_trace=False
    )(x)
    LOOPS["make_fx"] = lambda layer, x: make_fx(lambda x: layer(x))(torch.zeros(B, T, I))(x)
    LOOPS["functionalize"] = lambda layer, x: torch.func.functionalize(lambda x: layer(x))(x)

    @pytest.mark.parametrize("name", WAYS)
    def test_ways(name, wanted):
        assert_wanted(found_by(WAYS[name], pair()[1]), wanted)

    @pytest.mark.parametrize("name", LOOPS)
    def test_ways_that_see_operators_alone(name, wanted, monkeypatch):
        layer, x = pair()[1], torch.from_numpy(drawn(B, T, I))
        with torch.no_grad(), pytest.raises(FallbackError):
            LOOPS[name](layer, x)
        monkeypatch.setenv("LSTMFAST_STRICT", "0")
        with torch.no_grad():
            assert error([LOOPS[name](layer, x).numpy()], wanted[:1]) <= BAR
        assert_wanted(found_by(LOOPS[name], layer), wanted)

    @pytest.mark.parametrize("gradients", (True, False))
    def test_forward_mode(gradients, monkeypatch):
        monkeypatch.setenv("LSTMFAST_STRICT", "0")
        x, tangent = (torch.from_numpy(drawn(B, T, I, seed=n)) for n in (0, 1))
        found = []
        for layer in pair():
            with torch.set_grad_enabled(gradients), forward_ad.dual_level():
                y, dy = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent)))
            found.append([y.detach().numpy(), dy.detach().numpy()])
        assert error(found[1], found[0]) <= BAR

    def test_transforms_of_torch_func(wanted, monkeypatch):
        monkeypatch.setenv("LSTMFAST_STRICT", "0")
        theirs, ours = pair()
        x = torch.from_numpy(drawn(B, T, I))
        dx = torch.func.grad(lambda x: (ours(x) ** 2).sum())(x)
        assert error([dx.numpy(force=True)], wanted[1:2]) <= BAR
        jacobians = [torch.func.jacfwd(layer)(x).numpy(force=True) for layer in (theirs, ours)]
        assert error(jacobians[1:], jacobians[:1]) <= BAR

    def test_tensors_of_inference_mode(wanted):
        with torch.inference_mode():
            x = torch.from_numpy(drawn(B, T, I))
        assert error([pair()[1](x).detach().numpy()], wanted[:1]) <= BAR

    def test_batches_of_gradients_raise():
        layer, x = pair()[1], torch.from_numpy(drawn(B, T, I)).requires_grad_()
        y = layer(x)
        with pytest.raises(NotImplementedError, match="expected one gradient of each output"):
            torch.autograd.grad(y, x, torch.ones(2, B, H), is_grads_batched=True)


def test_every_way_has_its_gradients(wanted):
    assert len(wanted) == 5 and all(np.abs(one).max() > 1e-3 for one in wanted)
    assert keras.backend.backend() == BACKEND
