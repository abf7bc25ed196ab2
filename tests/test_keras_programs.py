"""Programs written for Keras, run by lstmfast with other import lines, and by Keras."""
# ruff: noqa: E402  (benches/ is not installed, so it is put on the path first)

import re
import sys
from pathlib import Path

import pytest
from keras_process import on_backend

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))

from benches.keras_programs import loading


def test_as_keras(tmp_path):
    on_backend("torch", tmp_path, "keras_programs.py")


def test_every_program_is_here():
    programs = {path.stem for path in loading.HERE.glob("*.py")
                if "\nimport keras\n" in path.read_text()}  # fmt: skip
    assert programs == set(loading.PROGRAMS)


@pytest.mark.parametrize("name", loading.PROGRAMS)
def test_nothing_but_import_lines_is_changed(name):
    before = (loading.HERE / f"{name}.py").read_text()
    after = loading.lines_for("lstmfast", before)
    changed = [
        (one, two)
        for one, two in zip(before.splitlines(), after.splitlines(), strict=True)
        if one != two
    ]
    assert changed == [
        ("import keras", "import lstmfast as keras"),
        ("from keras import layers", "from lstmfast import layers"),
    ]
    assert not re.search(r"^\s*(import|from) keras", after, re.MULTILINE)
