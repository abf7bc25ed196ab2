"""The page that `Inspection.to_html` writes: complete in itself, and alive in a browser."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from test_inspect import B, I, T, brackets, drawn, latching, lstm_model

import lstmfast

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
SECONDS = 120
# What lets the browser refuse, and say so, whatever lies elsewhere.
ALONE = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src
'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:">"""
# What a reader does, and what is there then, written where `--dump-dom` shows it.
ACTS = """
<script>
const page = () => Bokeh.documents[0];
const later = () => new Promise((go) => setTimeout(go, 2000));  // a page's scripts take their time
const inner = (name, node = document.body) => [
    ...(node.classList?.contains(name) ? [node] : []),
    ...[...(node.children ?? []), ...(node.shadowRoot ? [node.shadowRoot] : [])]
        .flatMap((child) => inner(name, child)),
];
const tell = () => {
    const data = (name) => page().get_model_by_name(name).data;
    const [heat, text, norms] = ["heat", "text", "norms"].map(data);
    return {
        shape: heat.image[0].shape, picture: Array.from(heat.image[0]),
        text: Array.from(text.label).join(""), fires: Array.from(text.value),
        layers: page().get_model_by_name("layer").options, norms: Array.from(norms.norm ?? []),
    };
};
const act = async () => {
    await later();
    const told = {first: tell()};
    for (const [name, value] of ACTIONS) {
        page().get_model_by_name(name).value = value;
    }
    await later();
    told.then = tell();
    const map = inner("bk-events")[1], box = map.getBoundingClientRect();
    const at = {clientX: box.x + 300, clientY: box.y + 100, bubbles: true, composed: true,
                pointerId: 1, pointerType: "mouse", isPrimary: true, button: 0};
    const point = (event, buttons) => map.dispatchEvent(new PointerEvent(event, {...at, buttons}));
    point("pointerenter", 0);
    point("pointermove", 0);
    await later();
    told.tips = inner("bk-tooltip-row-value").map((tip) => tip.textContent.trim());
    point("pointerdown", 1);
    point("pointerup", 0);
    await later();
    told.picked = page().get_model_by_name("unit").value;
    told.resources = performance.getEntriesByType("resource").map((entry) => entry.name);
    const found = document.createElement("pre");
    found.id = "told";
    found.textContent = JSON.stringify(told);
    document.body.append(found);
};
act();
</script>
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Return the page of a text with brackets, and what was seen."""
    pytest.importorskip("bokeh")
    x, _, texts, letters = brackets()
    seen = lstmfast.inspect(latching(x, letters), x)
    path = tmp_path_factory.mktemp("page") / "text.html"
    seen.to_html(path, labels=["".join(row) for row in texts])
    return path, seen, texts


def visited(path, actions):
    """Act on a page in a browser without a network; return what it told of itself.

    Asserts that it asked for nothing but itself, and that no script failed.
    """
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    acting, page = path.with_suffix(".acts.html"), path.read_text(encoding="utf-8")
    assert page.count("<head>") >= 1
    page = page.replace("<head>", f"<head>{ALONE}", 1)
    acts = ACTS.replace("ACTIONS", json.dumps(actions))
    before, end, after = page.rpartition("</html>")
    acting.write_text(f"{before}{acts}{end}{after}", encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr", "--virtual-time-budget=20000",
        f"--user-data-dir={path.parent / 'profile'}", "--dump-dom", acting.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    console = re.findall(r"CONSOLE[^\"]*\"(.*?)\", source", done.stderr)
    assert not [line for line in console if re.search("rror|Uncaught|Refused|violates", line)]
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-2000:]
    told = json.loads(html.unescape(found[1]))
    assert [url for url in told["resources"] if not url.startswith(("data:", "blob:"))] == []
    return told


def test_the_page_asks_for_nothing(text):
    """No script, style or picture lies elsewhere."""
    page = text[0].read_text(encoding="utf-8")
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.S)
    assert tags.count("<script") > 1 and not re.findall(r"\b(?:src|href|url)\s*[=(]", tags)
    assert 1e5 < len(page) < 4e6
    assert "lstmfast" in page


def test_a_text_in_a_browser(text):
    path, seen, texts = text
    told = visited(path, [["unit", 3], ["what", "h"], ["sample", 1]])
    cells, outputs = seen.gates["lstm"]["c"], seen.gates["lstm"]["h"]
    assert told["first"]["shape"] == list(cells.shape[:0:-1])
    np.testing.assert_allclose(told["first"]["picture"], cells[0].T.ravel(), atol=1e-6)
    np.testing.assert_allclose(told["first"]["fires"], cells[0, :, 0], atol=1e-6)
    assert told["first"]["text"] == "".join(texts[0])
    np.testing.assert_allclose(told["then"]["picture"], outputs[1].T.ravel(), atol=1e-6)
    np.testing.assert_allclose(told["then"]["fires"], outputs[1, :, 3], atol=1e-6)
    assert told["then"]["text"] == "".join(texts[1])
    step, unit, value = told["tips"]  # of what lies under the pointer
    t, letter = step.split(": ")
    assert letter == texts[1][int(t)]
    assert float(value.replace("\N{MINUS SIGN}", "-")) == pytest.approx(
        outputs[1, int(t), int(unit)], abs=1e-4
    )
    assert told["picked"] == int(unit)  # by a click there


def test_layers_masks_and_norms_in_a_browser(tmp_path):
    pytest.importorskip("bokeh")
    x = drawn(B, T, I)
    x[0, 2] = 0
    seen = lstmfast.inspect(lstm_model("directions", mask=True), x, drawn(B, 2))
    seen.to_html(tmp_path / "a.html")
    told = visited(tmp_path / "a.html", [["layer", "lstm/1/reverse"], ["what", "f"]])
    assert told["first"]["layers"] == list(seen.gates)
    np.testing.assert_allclose(told["first"]["norms"], seen.gradient_norms["lstm/0"], rtol=1e-6)
    f = seen.gates["lstm/1/reverse"]["f"][0].T
    picture = np.array([np.nan if n is None else n for n in told["then"]["picture"]])
    np.testing.assert_allclose(picture, f.ravel(), atol=1e-6)
    assert np.isnan(f[:, 2]).all()
    last = seen.gradient_norms["lstm/1/reverse"]
    np.testing.assert_allclose(told["then"]["norms"], last, rtol=1e-6)
