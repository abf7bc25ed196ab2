"""Damaged and hostile files: the short forms of tests/trust, and one case of each kind."""

import json
import os
import struct
import threading

import numpy as np
import pytest
from fresh_process import finds_no_faults
from safetensors import SafetensorError, safe_open

import lstmfast
from lstmfast import LSTM, Dense, Model
from lstmfast.arguments import one_line
from lstmfast.model import files


@pytest.mark.parametrize(
    "command", [["mutations.py", "--count", "500", "--seed", "3"], ["hostile.py", "--mib", "1"]]
)
def test_the_short_form(command, environment):
    pytest.importorskip("onnxruntime")
    finds_no_faults(environment, *command, timeout=200)


# ---------------------------------------------------------------- safetensors


@pytest.fixture
def path(tmp_path):
    Model([LSTM(2, input_shape=(None, 2)), Dense(1)], seed=0).save(tmp_path / "model")
    return tmp_path / "model"


def rewritten(path, alter):
    """Change the header of a model file, as a JSON object or its text."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    changed = alter(header)
    text = changed if isinstance(changed, str) else json.dumps(header)
    raw = text.encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + content[8 + length :])


B = "layers/dense/bias"
W = "layers/dense/kernel"


def changed(name, key, value):
    def alter(header):
        header[name][key] = value

    return alter


def config_of(alter):
    """Return a function that changes the text of the config."""

    def apply(header):
        metadata = header["__metadata__"]
        metadata["config"] = alter(metadata["config"])

    return apply


HEADERS = {
    "a gap": (changed(B, "data_offsets", [100, 104]), "bytes|tensor at"),
    "overlapping": (lambda h: changed(B, "data_offsets", h[W]["data_offsets"])(h), "bytes|at byte"),
    "a negative size": (changed(W, "shape", [-2, -1]), "sizes"),
    "a negative offset": (changed(B, "data_offsets", [-4, 0]), "sizes"),
    "offsets swapped": (lambda h: h[W]["data_offsets"].reverse(), "bytes"),
    "three offsets": (lambda h: h[W]["data_offsets"].append(9), "two offsets"),
    "a fraction": (changed(W, "shape", [2.0, 1]), "sizes"),
    "a bool": (changed(W, "shape", [2, True]), "sizes"),
    "many axes": (changed(W, "shape", [2] + [1] * 8), "sizes"),
    "2**62": (changed(W, "shape", [2**62, 2**62]), "bytes"),
    "10**400": (changed(W, "shape", [10**400, 1]), "expected 4000"),
    "another dtype": (changed(W, "dtype", "F128"), "a dtype of"),
    "no dtype": (lambda h: h[W].pop("dtype") and None, "expected a tensor"),
    "a key more": (changed(W, "more", 1), "expected a tensor"),
    "a number for a tensor": (lambda h: h.update(x=3), "expected a tensor"),
    "a key twice": (lambda h: json.dumps(h)[:-1] + f', "{B}": {json.dumps(h[B])}}}', "key once"),
    "NaN": (lambda h: json.dumps(h).replace("[2, 1]", "[NaN, 1]"), "sizes"),
    "Infinity": (lambda h: json.dumps(h).replace("[2, 1]", "[Infinity, 1]"), "sizes"),
    "half a surrogate": (lambda h: json.dumps(h)[:-1] + ', "\\ud800": 1}', "half of a surrogate"),
    "no UTF-8": (lambda h: json.dumps(h)[:-1] + ', "\ud800": 1}', "codec can't decode"),
    "a mark of byte order": (lambda h: "\ufeff" + json.dumps(h), "at its beginning"),
    "a list": (lambda h: "[]", "at its beginning"),
    "behind its end": (lambda h: json.dumps(h) + "{}", "Extra data"),
    "deep": (lambda h: '{"a":' * 5000 + "1" + "}" * 5000, "Recursion"),
    "metadata of numbers": (lambda h: h.update(__metadata__={"format": 1}), "__metadata__ of"),
    "metadata of lists": (lambda h: h.update(__metadata__=[1]), "__metadata__ of"),
}
CONFIGS = {
    "NaN": (lambda c: c.replace('"seed": 0', '"seed": NaN'), "got NaN"),
    "Infinity": (lambda c: c.replace('"units": 2', '"units": -Infinity'), "got -Infinity"),
    "1e999": (lambda c: c.replace('"units": 2', '"units": 1e999'), "beyond float64"),
    "10**400": (lambda c: c.replace('"units": 2', f'"units": {10**400}'), "at most 300 digits"),
    "10**5000": (lambda c: c.replace('"units": 2', f'"units": 1{"0" * 5000}'), "config: expected"),
    "10**200": (lambda c: c.replace('"units": 2', f'"units": {10**200}'), "expected"),
    "a seed": (lambda c: c.replace('"seed": 0', f'"seed": {10**400}'), "at most 300 digits"),
    "a key twice": (lambda c: c.replace('"seed": 0', '"seed": 0, "seed": 1'), "each key once"),
    "deep": (lambda c: c.replace('"seed": 0', f'"seed": {"[" * 60}{"]" * 60}'), "at most 32 deep"),
    "half a surrogate": (lambda c: c.replace('"lstm"', '"\\ud800"'), "half of a surrogate"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_are_refused(case, path):
    """Whatever the package safetensors refuses is refused here, and more."""
    alter, text = HEADERS[case]
    rewritten(path, alter)
    with pytest.raises(ValueError, match=text) as error:
        lstmfast.load(path)
    assert str(error.value).startswith(f"{path}: expected a whole safetensors file")


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_that_are_refused(case, path):
    alter, text = CONFIGS[case]
    before = path.read_bytes()
    rewritten(path, config_of(alter))
    assert path.read_bytes() != before
    with pytest.raises(ValueError, match=text):
        lstmfast.load(path)


def test_the_limits_of_a_header(path, monkeypatch):
    """Held against the bytes before they are parsed, and when a file is written."""
    model = lstmfast.load(path)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    for limit, value in (("MOST_BYTES", length - 1), ("MOST_VALUES", 20)):
        with monkeypatch.context() as patch:
            patch.setattr(files, limit, value)
            patch.setattr(files.json, "loads", None)
            with pytest.raises(ValueError, match=f"expected at most {value}"):
                lstmfast.load(path)
            before = path.read_bytes()
            with pytest.raises(ValueError, match=f"expected at most {value}"):
                model.save(path)
            assert path.read_bytes() == before
    lstmfast.load(path)


def test_what_is_saved_loads_or_is_not_saved(path):
    before = path.read_bytes()
    for name, text in (
        ("\ud800", "half of a surrogate pair"),
        ("x" * 9_000_000, "at most 8388608"),
    ):
        with pytest.raises(ValueError, match=text):
            Model([LSTM(2, input_shape=(None, 2))], name=name, seed=0).save(path)
        assert path.read_bytes() == before
    for name in ("😀", "x" * 100_000, "a\nb\0"):
        Model([LSTM(2, input_shape=(None, 2))], name=name, seed=0).save(path)
        assert lstmfast.load(path).name == name
    with pytest.raises(TypeError):
        lstmfast.load(3)


def test_every_length_that_safetensors_refuses(path):
    content = path.read_bytes()
    for told in (0, 1, 100, len(content) - 9, len(content), 2**31, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", told) + content[8:])
        with pytest.raises(SafetensorError), safe_open(path, framework="numpy"):
            pass
        with pytest.raises(ValueError, match="expected"):
            lstmfast.load(path)


def test_texts_are_cut_to_a_line(path):
    assert one_line("a\n\x1b[0m\u202eb") == "a\\n\\x1b[0m\\u202eb"
    assert len(one_line("x" * 10**6)) <= 500 and one_line("short é") == "short é"
    rewritten(path, config_of(lambda c: c.replace('"class": "LSTM"', f'"class": "{"y" * 10**6}"')))
    with pytest.raises(ValueError, match="class: expected one of") as error:
        lstmfast.load(path)
    assert len(str(error.value)) < 700 and error.value.__cause__ is None
    rewritten(path, lambda header: header.update({"z" * 10**6 + "\n": header[B]}))
    with pytest.raises(ValueError, match="expected") as error:
        lstmfast.load(path)
    assert len(str(error.value)) < 700 and str(error.value).isprintable()


def test_a_file_that_another_process_cuts_short_again_and_again(path):
    """A mapped file would end this process with SIGBUS."""
    Model([LSTM(96, input_shape=(None, 96))], seed=0).save(path)
    whole, done, errors, loaded = path.read_bytes(), threading.Event(), set(), 0

    def meddle():
        with open(path, "r+b", buffering=0) as file:
            while not done.is_set():
                os.ftruncate(file.fileno(), 5000)
                os.pwrite(file.fileno(), whole[5000:], 5000)

    other = threading.Thread(target=meddle)
    other.start()
    try:
        for _ in range(150):
            try:
                loaded += np.isfinite(lstmfast.load(path).get_weights()[0]).all()
            except ValueError as error:
                errors.add(str(error).split("expected")[1][:20])
    finally:
        done.set()
        other.join()
    assert errors and loaded + len(errors) > 0
