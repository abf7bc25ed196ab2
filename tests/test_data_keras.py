"""What brings its own batches, to Keras and to lstmfast: the same losses."""

import pytest
from keras_process import on_backend


def test_as_keras(tmp_path):
    pytest.importorskip("tensorflow")  # for its data, and for Keras's windows
    on_backend("torch", tmp_path, "keras_data.py")
