"""LSTM programs in the manner of Keras's example pages, run by Keras and by lstmfast: see run.py.

Each program is one file that imports Keras. Constants stand at its top; `load_data()` makes what it
learns from, `build(data)` the compiled model, `train(model, data, epochs, shuffle)` its history,
and `use(model, data)` does with it what it was trained for: it returns arrays by name.
"""
