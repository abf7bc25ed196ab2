"""The code of the pages in docs/ runs as it stands there."""

import re
import runpy
from pathlib import Path

import pytest

from lstmfast.kernels.options import KEYS

DOCS = Path(__file__).resolve().parent.parent / "docs"


def names_after(page):
    """Run a page's Python, top to bottom, and return what it has named."""
    text = (DOCS / page).read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(compile(block, page, "exec"), names)
    assert names, f"{page} holds no code"
    return names


def test_torch(capsys):
    pytest.importorskip("torch")
    names = names_after("torch.md")
    assert names["y"].shape == (100, 8, 256)
    assert type(names["model"][1]) is names["LSTM"]
    assert capsys.readouterr().out == "swapped 1: '1'\n"


def test_data():
    names = names_after("data.md")
    assert names["x"].shape == (976, 24, 4) and names["y"].shape == (976, 1)
    assert names["ragged"].padding < 0.2


@pytest.mark.parametrize("place", ("lstmfast/capi.pxd", "docs/options.md"))
def test_options_are_told_as_the_table_has_them(place):
    pages = runpy.run_path(str(DOCS / "options.py"))
    written = (DOCS.parent / place).read_text(encoding="utf-8")
    assert pages["as_written"](place) == written, "run `python docs/options.py`"
    assert all(re.search(rf"\b{key.name}\b", written) for key in KEYS)


def test_every_page_is_told_of_in_the_readme():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    pages = sorted(page.name for page in DOCS.glob("*.md"))
    assert pages and [page for page in pages if f"docs/{page}" not in readme] == []
