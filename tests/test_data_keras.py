"""What brings its own batches, to Keras and to lstmfast: the same losses."""

from keras_process import on_tensorflow


def test_as_keras(tmp_path):
    on_tensorflow(tmp_path, "keras_data.py")
