"""The lesson: what its page claims is so, and its lines stand in the code."""

import re
from pathlib import Path

import numpy as np
import pytest

import lstmfast
from lstmfast.examples import lesson, lesson_page

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "lesson.md"
RNN_SMALL, RNN_ORTHOGONAL, RNN_TWICE, LSTM_0, LSTM_1, LSTM_5 = lesson.KINDS


def page():
    return PAGE.read_text(encoding="utf-8")


def rows_of(mark):
    """Return the rows of a table in the page by their first cell."""
    text = page().split(f"<!-- {mark} -->\n")[1].split("<!-- end -->")[0]
    lines = [line.strip("| \n").split(" | ") for line in text.strip().splitlines()]
    return {row[0]: row[1:] for row in lines[2:]}


# ---------------------------------------------------------------- equations beside lines


def test_the_lines_beside_the_equations_stand_in_the_cell():
    text = (Path(lstmfast.__file__).parent / "kernels" / "cell.py").read_text(encoding="utf-8")
    found = lesson_page.lines_of_cell()
    assert len(found) == 12
    for _, function, line in found:
        assert f"def {function}(" in text and f"        {line}\n" in text
    assert lesson_page.table_of_cell() in page(), "run the lesson with --page docs/lesson.md"


def test_a_line_that_is_gone_is_told(monkeypatch):
    monkeypatch.setattr(lesson_page, "EQUATIONS", (("c = 0", "next_cell", "c = 0"),))
    with pytest.raises(ValueError, match="next_cell: expected one line with 'c = 0', got"):
        lesson_page.lines_of_cell()


def test_marks_of_a_page():
    text = "a\n<!-- one -->\nold\n<!-- end -->\nb\n"
    assert lesson_page.with_tables(text, {"one": "new"}).splitlines() == [
        "a", "<!-- one -->", "new", "<!-- end -->", "b",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="expected the mark <!-- two --> once"):
        lesson_page.with_tables(text, {"two": "new"})


# ---------------------------------------------------------------- claims


@pytest.fixture(scope="module")
def start():
    return {task.name: lesson.norms_at_start(task, 200, 0) for task in (lesson.ADDING, lesson.COPY)}


@pytest.mark.parametrize("task", ("adding problem", "copy task"))
def test_gradients_vanish_and_explode_before_training(task, start):
    shares = {name: norms / norms[-1] for name, norms in start[task].items()}
    assert shares[RNN_SMALL][149] < 1e-15  # nothing after 50 steps
    assert shares[RNN_ORTHOGONAL][0] < 1e-3
    assert shares[RNN_TWICE][0] > 1e9
    assert shares[LSTM_0][0] < 1e-30
    assert shares[LSTM_0][0] < shares[LSTM_1][0] < 1e-10
    assert 0.01 < shares[LSTM_5][0] < 10


def test_the_page_has_these_numbers(start):
    for task, norms in start.items():
        rows = rows_of(task.split()[0])
        assert list(rows) == list(norms)
        for name, of in norms.items():
            wanted = [of[-1 - lag] / of[-1] for lag in lesson.LAGS]
            np.testing.assert_allclose(np.log10([float(cell) for cell in rows[name]]),
                                       np.log10(wanted), atol=0.3)  # fmt: skip


def test_what_the_page_says_of_training():
    trained = rows_of("trained")
    assert float(trained[RNN_ORTHOGONAL][1]) > 0.13 and float(trained[RNN_ORTHOGONAL][2]) < 1e-5
    for name in (LSTM_0, LSTM_1):
        assert float(trained[name][1]) < 0.01 and float(trained[name][2]) > 0.03
    left = {name: float(cells[0]) for name, cells in rows_of("left").items()}
    assert left[LSTM_0] < 1e-100 and left[LSTM_1] < 1e-50
    for cells in rows_of("longer").values():
        assert float(cells[1]) > 0.13
    none, limited = rows_of("clipped").values()
    assert float(none[1]) > 1e6 and none[2] == "infinite"
    assert limited[1:] == ["0.10", limited[2]] and 0.1 < float(limited[2]) < 1


def test_training_opens_the_gates():
    """On short sequences, which take less time: the LSTM learns, the plain network does not."""
    plain = lesson.train(lesson.KINDS[RNN_ORTHOGONAL], 20, 300, 0)
    lstm = lesson.train(lesson.KINDS[LSTM_1], 20, 300, 0)
    assert lstm.losses[-1] < 0.05 < 0.1 < plain.losses[-1]
    assert lstm.norms[0] / lstm.norms[-1] > 0.1 > plain.norms[0] / plain.norms[-1]


def test_clipping_limits_the_step():
    free, limited = (lesson.clip(100, limit, 30, 0) for limit in (None, 1.0))
    assert free.norm == limited.norm > 1e6
    assert free.step == pytest.approx(0.1 * free.norm, rel=1e-6)
    assert limited.step == pytest.approx(0.1, rel=1e-6)
    assert free.loss > 1e6 and limited.loss < 10


# ---------------------------------------------------------------- tasks and the program


def test_tasks():
    rng = np.random.default_rng(0)
    x, y = lesson.draw_adding(50, 20, rng)
    assert (x[:, :, 1].sum(axis=1) == 2).all() and (x[:, :10, 1].sum(axis=1) == 1).all()
    np.testing.assert_allclose((x[..., 0] * x[..., 1]).sum(axis=1), y[:, 0])
    x, y = lesson.draw_copy(50, 20, rng)
    ids = x.argmax(axis=2)
    np.testing.assert_array_equal(ids[:, :5], y)
    assert (ids[:, 5:15] == 8).all() and (ids[:, 15:] == 9).all()


@pytest.fixture
def small(monkeypatch):
    """Let the program do little."""
    plan = lesson.Findings

    def measure(quick, seed):
        start = {t.name: lesson.norms_at_start(t, 20, seed) for t in (lesson.ADDING, lesson.COPY)}
        trained = {name: lesson.train(lesson.KINDS[name], 8, 4, seed) for name in lesson.TRAINED}
        clipped = [lesson.clip(20, limit, 2, seed) for limit in (None, 1.0)]
        return plan(start, trained, clipped, trained, lesson.left_at_the_first_step(20, seed), 20)

    monkeypatch.setattr(lesson, "measure", measure)


def test_the_program(small, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    copy = tmp_path / "page.md"
    copy.write_text(page(), encoding="utf-8")
    command = ["--quick", "--out", str(tmp_path / "out"), "--page", str(copy)]
    assert lesson.main(command) == 0
    out = capsys.readouterr().out
    assert "| c = f c_prev + i g | `c = f * c_prev + i * g` | `next_cell` |" in out
    pictures = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert pictures == sorted(re.findall(r"\(lesson/(\w+\.png)\)", page()))
    first = copy.read_text(encoding="utf-8")
    assert first != page() and first.count("<!-- end -->") == page().count("<!-- end -->") == 7
    assert lesson.main(command) == 0
    assert copy.read_text(encoding="utf-8") == first  # the same seed, the same numbers


def test_the_pictures_are_small():
    folders = [ROOT / "docs" / name for name in ("lesson", "inspect")]
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < 200_000
    told = [
        path for name in ("lesson", "inspect")
        for path in re.findall(r"\]\((\w+/\w+\.png)\)", (ROOT / f"docs/{name}.md").read_text())
    ]  # fmt: skip
    assert all((ROOT / "docs" / path).is_file() for path in told) and len(told) == 7


@pytest.mark.parametrize("argument", (["--seed", "-1"], ["--seed", "x"], ["--quickly"]))
def test_bad_arguments(argument, capsys):
    with pytest.raises(SystemExit):
        lesson.main(argument)
    assert "lesson: error" in capsys.readouterr().err
