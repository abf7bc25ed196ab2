"""The README's Python runs as it stands there, top to bottom."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # it saves a model
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 4
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["gradients"][0].shape == (10000, 128)
    for got, kept in zip(names["same"].get_weights(), names["model"].get_weights(), strict=True):
        assert got.shape == kept.shape
    assert np.array_equal(names["h"], names["out"])
    assert capsys.readouterr().out.count("loss ") >= 4


def test_the_page_on_gpus_shows_the_table():
    page = (README.parent / "docs" / "cuda.md").read_text(encoding="utf-8")
    shown = page.split("<!-- `lstmfast.cuda.support.table()` -->\n")[1].split("<!-- end -->")[0]
    pytest.importorskip("ml_dtypes")
    assert shown.strip() == import_module("lstmfast.cuda.support").table()
