"""A Keras layer's outputs and gradients as NumPy arrays, on each of Keras's backends."""

import keras
import numpy as np


def run(layer, x, state=(), mask=None, training=False, upstream=None, seed=0):
    """Return the outputs of a call, and the gradients of x, the state and the weights.

    The upstream gradients are random; those of `upstream`, one for each output, if it is given.
    """
    x, state = keras.ops.convert_to_tensor(x), [keras.ops.convert_to_tensor(s) for s in state]
    mask = None if mask is None else keras.ops.convert_to_tensor(mask)
    if not layer.built:
        layer.build(x.shape)

    def draw(outputs):
        rng = np.random.default_rng(seed)
        given = upstream or [rng.standard_normal(one.shape) for one in outputs]
        return [keras.ops.cast(one, x.dtype) for one in given]

    found = WAYS[keras.backend.backend()](layer, x, state, mask, training, draw)
    return tuple([keras.ops.convert_to_numpy(one) for one in group] for group in found)


def _listed(outputs):
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _called(layer, x, state, mask, training):
    return _listed(layer(x, initial_state=state or None, mask=mask, training=training))


def _tensorflow(layer, x, state, mask, training, draw):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch([x, *state])
        outputs = _called(layer, x, state, mask, training)
    sources = [x, *state, *(w.value for w in layer.trainable_weights)]
    return outputs, tape.gradient(outputs, sources, draw(outputs))


def _jax(layer, x, state, mask, training, draw):
    import jax

    others = [w.value for w in layer.non_trainable_variables]

    @jax.jit
    def call(x, state, weights):
        keywords = {"initial_state": state or None, "mask": mask, "training": training}
        return _listed(layer.stateless_call(weights, others, x, **keywords)[0])

    weights = [w.value for w in layer.trainable_variables]
    outputs, way_back = jax.vjp(call, x, state, weights)
    dx, dstate, dweights = way_back(draw(outputs))
    return outputs, [dx, *dstate, *dweights]


def _torch(layer, x, state, mask, training, draw):
    import torch

    x, *state = (one.clone().requires_grad_() for one in (x, *state))
    outputs = _called(layer, x, state, mask, training)
    sources = [x, *state, *(w.value for w in layer.trainable_weights)]
    gradients = torch.autograd.grad(outputs, sources, draw(outputs))
    return [one.detach() for one in outputs], gradients


WAYS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}


# ---------------------------------------------------------------- what each backend calls its own


def second_derivative(layer, x, training):
    """Ask for the derivative of |dy/dx|² by x."""
    x = keras.ops.convert_to_tensor(x)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=training)
            size = tf.reduce_sum(tape.gradient(y, x) ** 2)
        return outer.gradient(size, x)
    if keras.backend.backend() == "jax":
        import jax

        weights, others = ([w.value for w in group] for group in _weights(layer))

        def total(x):
            return layer.stateless_call(weights, others, x, training=training)[0].sum()

        return jax.grad(lambda x: (jax.grad(total)(x) ** 2).sum())(x)
    import torch

    x = x.requires_grad_()
    y = layer(x, training=training).sum()
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    # The sum has a derivative that leads round the second one: this must not be taken for all.
    return torch.autograd.grad(y + (gradient**2).sum(), x)


def compiled(layer):
    """Return the layer as the backend compiles it, for any batch and length where it can."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        spec = tf.TensorSpec((None, None, layer.cell.kernel.shape[0]))
        return tf.function(lambda x: layer(x), input_signature=[spec])
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(lambda x: layer(x))
    import torch

    return torch.compile(lambda x: layer(x), backend="eager", dynamic=True)


def gradient_twice(layer, x):
    """Return dx of one forward pass, and again."""
    x = keras.ops.convert_to_tensor(x)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, x).numpy(), tape.gradient(y, x).numpy()
    if keras.backend.backend() == "jax":
        import jax

        weights, others = ([w.value for w in group] for group in _weights(layer))
        y, way_back = jax.vjp(lambda x: layer.stateless_call(weights, others, x)[0], x)
        return np.asarray(way_back(y)[0]), np.asarray(way_back(y)[0])
    import torch

    x = x.requires_grad_()
    y = layer(x).sum()
    return tuple(torch.autograd.grad(y, x, retain_graph=True)[0].numpy() for _ in range(2))


def exported(model, folder):
    """Write a model as the backend's users do; return what its file calculates."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        model.export(folder / "m", format="tf_saved_model", verbose=False)
        module = tf.saved_model.load(folder / "m")
        spec = tf.TensorSpec((1, *model.input_shape[1:]))
        graph = module.serve.get_concrete_function(spec).graph.as_graph_def()
        assert "PyFunc" not in str(graph)
        return lambda x: module.serve(x).numpy()
    if keras.backend.backend() == "jax":
        import jax

        spec = jax.ShapeDtypeStruct((1, *model.input_shape[1:]), np.float32)
        text = jax.export.export(jax.jit(lambda x: model(x)))(spec).serialize()
        return lambda x: np.asarray(jax.export.deserialize(text).call(x))
    import torch

    model.export(folder / "m.pt2", format="torch", verbose=False)
    module = torch.export.load(folder / "m.pt2").module()
    return lambda x: module(torch.from_numpy(x)).detach().numpy()


def jacobian(layer, x):
    """Return dy/dx (B, H, B, T, I) of the last output."""
    x = keras.ops.convert_to_tensor(x)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return tape.jacobian(y, x).numpy()
    import jax

    weights, others = ([w.value for w in group] for group in _weights(layer))
    return np.asarray(jax.jacrev(lambda x: layer.stateless_call(weights, others, x)[0])(x))


def _weights(layer):
    return layer.trainable_variables, layer.non_trainable_variables
