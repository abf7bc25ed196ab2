"""Losses and metrics beside Keras 3's, in a process on TensorFlow."""

from keras_process import on_tensorflow


def test_as_keras(tmp_path):
    on_tensorflow(tmp_path, "keras_losses.py", "keras_metrics.py")
