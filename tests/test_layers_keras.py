"""Layers beside Keras 3's, with weights and without, in a process on TensorFlow."""

from keras_process import on_tensorflow


def test_as_keras(tmp_path):
    on_tensorflow(tmp_path, "keras_light_layers.py", "keras_weighted_layers.py")
