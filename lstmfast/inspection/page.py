"""One self-contained page to look around in, by Bokeh.

All numbers lie in the page; its script, in the browser, shows a layer, a sample, one of its values
and a unit, as they are chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array
from .plots import labels_of, limits_of

if TYPE_CHECKING:
    from .inspection import Inspection

__all__ = ["write"]

TITLES = {
    "i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o",
    "c": "cell c", "h": "output h",
}  # fmt: skip
WIDTH = 1000
PER_LINE = 60  # letters in a line of the text

# What happens in the browser: `layer`, `what`, `sample` and `unit` are widgets, `store` has all
# numbers by layer and value, and the others are what is drawn.
SHOW = """
const get = (dict, key) => dict instanceof Map ? dict.get(key) : dict[key];
const of_layer = get(store, layer.value);
const names = lines.filter((name) => get(of_layer, name) !== undefined);
const texts = names.map((name) => [name, get(titles, name) ?? name]);
if (JSON.stringify(what.options) !== JSON.stringify(texts)) {
    what.options = texts;
}
if (!names.includes(what.value)) {
    what.value = names.includes("c") ? "c" : names[0];
}
const entry = get(of_layer, what.value);
const [steps, units] = [get(entry, "steps"), get(entry, "units")];
const row = Math.min(sample.value, get(entry, "samples") - 1);
const values = get(entry, "values");
const from = row * steps * units;
unit.high = units - 1;
if (unit.value > units - 1) {
    unit.value = units - 1;
}
const picture_type = heat.data.image[0].constructor;  // an array of Bokeh's, with a shape
const picture = new Float32Array(units * steps);
for (let t = 0; t < steps; t++) {
    for (let n = 0; n < units; n++) {
        picture[n * steps + t] = values[from + t * units + n];
    }
}
const image = new picture_type(picture, [units, steps]);
heat.data = {image: [image], x: [-0.5], y: [-0.5], dw: [steps], dh: [units]};
colours.low = get(entry, "low");
colours.high = get(entry, "high");
colours.palette = get(entry, "low") === 0 ? get(palettes, "gates") : get(palettes, "signed");
x_range.start = -0.5;
x_range.end = steps - 0.5;
y_range.start = -0.5;
y_range.end = units - 0.5;
chosen.location = unit.value;
const words = get(labels, layer.value)[row];
const own = {t: [], label: [], x: [], y: [], value: []};
for (let t = 0; t < steps; t++) {
    own.t.push(t);
    own.label.push(words[t]);
    own.x.push(t % per_line);
    own.y.push(-Math.floor(t / per_line));
    own.value.push(values[from + t * units + unit.value]);
}
text.data = own;
const largest = Math.max(...own.value.map((one) => Math.abs(one)).filter(Number.isFinite), 1e-9);
own_colours.low = colours.low === 0 ? 0 : -largest;
own_colours.high = colours.low === 0 ? 1 : largest;
own_colours.palette = colours.palette;
text_y.start = -Math.floor((steps - 1) / per_line) - 0.6;
text_y.end = 0.6;
const all = {t: own.t, label: own.label};
for (const name of lines) {
    const other = get(of_layer, name);
    const has = other !== undefined && unit.value < get(other, "units");
    const width = has ? get(other, "units") : 0;
    const at = (t) => (row * steps + t) * width + unit.value;
    all[name] = own.t.map((t) => has ? get(other, "values")[at(t)] : NaN);
}
curves.data = all;
norms.data = get(norms_of, layer.value);
"""
PICK = """
if (Number.isFinite(cb_obj.y) && cb_obj.y > -0.5 && cb_obj.y < unit.high + 0.5) {
    unit.value = Math.round(cb_obj.y);
}
"""
STEP = "const t = Math.round(special_vars.x); return t + ': ' + (text.data.label[t] ?? '');"
UNIT = "return String(Math.round(special_vars.y));"


def write(seen: Inspection, path: Any, samples: int, labels: Any = None) -> None:
    """Write the page."""
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    store = {name: _layer(values, samples) for name, values in seen.gates.items()}
    steps = {name: _steps(of) for name, of in store.items()}
    words = {name: _words(labels, samples, count) for name, count in steps.items()}
    page = _document(store, words, _norms(seen, steps))
    Path(path).write_text(file_html(page, INLINE, "lstmfast.inspect"), encoding="utf-8")


def _layer(values: dict[str, Array], samples: int) -> dict[str, Any]:
    """What the page keeps of a layer: the numbers in float32, one after another."""
    return {name: _entry(name, array[:samples]) for name, array in values.items()}


def _entry(name: str, values: Array) -> dict[str, Any]:
    low, high = limits_of(name, values)
    return {
        "values": values.astype(np.float32).ravel(), "samples": len(values),
        "steps": values.shape[1], "units": values.shape[2], "low": low, "high": high,
    }  # fmt: skip


def _steps(of_layer: dict[str, Any]) -> int:
    return int(next(iter(of_layer.values()))["steps"])


def _words(labels: Any, samples: int, steps: int) -> list[list[str]]:
    if labels is None:
        return [labels_of(None, steps)] * samples
    if len(labels) < samples:
        raise ValueError(f"labels: expected those of {samples} samples, got {len(labels)}")
    return [labels_of(labels[b], steps, f"labels[{b}]") for b in range(samples)]


def _norms(seen: Inspection, steps: dict[str, int]) -> dict[str, Any]:
    """The norms of gradients of each layer, NaN where there are none or they are zero."""
    found = {}
    for name, count in steps.items():
        norms = np.full(count, np.nan)
        if seen.gradient_norms is not None:
            norms = np.where(seen.gradient_norms[name] > 0, seen.gradient_norms[name], np.nan)
        found[name] = {"t": np.arange(count), "norm": norms}
    return found


def _document(store: dict[str, Any], words: dict[str, Any], norms: dict[str, Any]) -> Any:
    """The page: widgets, figures, and the script between them."""
    from bokeh.document import Document
    from bokeh.layouts import column, row
    from bokeh.models import CustomJS, Div

    widgets, models = _widgets(store), _models()
    models["chosen"], heat = _heat_map(models, widgets["unit"])
    figures = [_text(models, max(map(_steps, store.values()))), heat, _curves(models)]
    if any(np.isfinite(of["norm"]).any() for of in norms.values()):
        figures.append(_norm_curve(models))
    show = CustomJS(code=SHOW, args={
        **widgets, **models, "store": store, "labels": words, "norms_of": norms,
        "titles": TITLES, "palettes": _palettes(), "per_line": PER_LINE, "lines": list(TITLES),
    })  # fmt: skip
    for widget in widgets.values():
        widget.js_on_change("value", show)
    title = Div(text="<h1>lstmfast: a look inside</h1>")
    page = Document()
    page.title = "lstmfast.inspect"
    page.add_root(column(title, row(*widgets.values()), *figures))
    page.js_on_event("document_ready", show)
    return page


def _widgets(store: dict[str, Any]) -> dict[str, Any]:
    """What is chosen: a layer, one of its values, a sample and a unit."""
    from bokeh.models import Select, Spinner

    first = next(iter(store))
    what = "c" if "c" in store[first] else "h"
    entry = store[first][what]
    options = [(name, TITLES[name]) for name in store[first]]
    return {
        "layer": Select(title="layer", value=first, options=list(store), name="layer"),
        "what": Select(title="shown", value=what, options=options, name="what"),
        "sample": Spinner(title="sample", value=0, low=0, high=entry["samples"] - 1, step=1,
                          name="sample"),
        "unit": Spinner(title="unit", value=0, low=0, high=entry["units"] - 1, step=1,
                        name="unit"),
    }  # fmt: skip


def _models() -> dict[str, Any]:
    """What the script fills."""
    from bokeh.models import ColumnDataSource, LinearColorMapper, Range1d

    empty: list[Any] = []
    image = {"image": [np.zeros((1, 1), np.float32)], "x": [0], "y": [0], "dw": [1], "dh": [1]}
    return {
        "heat": ColumnDataSource(image, name="heat"),
        "text": ColumnDataSource(dict.fromkeys(("t", "label", "x", "y", "value"), empty),
                                 name="text"),
        "curves": ColumnDataSource(dict.fromkeys(("t", "label", *TITLES), empty), name="curves"),
        "norms": ColumnDataSource({"t": empty, "norm": empty}, name="norms"),
        "colours": LinearColorMapper(palette="Viridis256", low=0, high=1, nan_color="lightgrey"),
        "own_colours": LinearColorMapper(palette="Viridis256", low=0, high=1,
                                         nan_color="lightgrey"),
        "x_range": Range1d(0, 1), "y_range": Range1d(0, 1), "text_y": Range1d(-1, 1),
    }  # fmt: skip


def _heat_map(models: dict[str, Any], unit: Any) -> tuple[Any, Any]:
    """The line at the unit that is chosen, and the figure of all units."""
    from bokeh.models import ColorBar, CustomJS, CustomJSHover, HoverTool, Span
    from bokeh.plotting import figure

    made = figure(
        title="every unit at every step (a click picks a unit)", width=WIDTH, height=360,
        x_range=models["x_range"], y_range=models["y_range"], x_axis_label="step",
        y_axis_label="unit", tools="tap,reset,save",
    )  # fmt: skip
    made.image(source=models["heat"], color_mapper=models["colours"])
    made.add_layout(ColorBar(color_mapper=models["colours"]), "right")
    step = CustomJSHover(code=STEP, args={"text": models["text"]})
    hover = HoverTool(
        tooltips=[("step", "$x{custom}"), ("unit", "$y{custom}"), ("value", "@image{0.0000}")],
        formatters={"$x": step, "$y": CustomJSHover(code=UNIT)},
    )
    made.add_tools(hover)
    chosen = Span(dimension="width", location=0, line_color="black", line_dash="dotted")
    made.add_layout(chosen)
    made.js_on_event("tap", CustomJS(code=PICK, args={"unit": unit}))
    return chosen, made


def _text(models: dict[str, Any], steps: int) -> Any:
    """The steps one after another, in lines, coloured by the value of the unit that is chosen."""
    from bokeh.models import HoverTool
    from bokeh.plotting import figure
    from bokeh.transform import transform

    made = figure(
        title="where the unit fires", width=WIDTH, height=60 + 20 * -(-steps // PER_LINE),
        x_range=(-0.6, PER_LINE - 0.4), y_range=models["text_y"], tools="",
    )  # fmt: skip
    source = models["text"]
    made.rect("x", "y", 1, 0.9, source=source, fill_alpha=0.6,
              fill_color=transform("value", models["own_colours"]),
              line_color=None)  # fmt: skip
    made.text("x", "y", "label", source=source, text_align="center", text_baseline="middle",
              text_font_size="11px")  # fmt: skip
    tips = [("step", "@t: @label"), ("value", "@value{0.0000}")]
    made.add_tools(HoverTool(tooltips=tips))
    made.axis.visible = made.grid.visible = False
    return made


def _curves(models: dict[str, Any]) -> Any:
    """All values of the unit that is chosen, over the steps."""
    from bokeh.models import HoverTool
    from bokeh.palettes import Category10
    from bokeh.plotting import figure

    made = figure(
        title="all values of the unit", width=WIDTH, height=260, x_range=models["x_range"],
        x_axis_label="step", tools="reset,save",
    )  # fmt: skip
    for name, colour in zip(TITLES, Category10[len(TITLES)], strict=True):
        made.line("t", name, source=models["curves"], color=colour, legend_label=TITLES[name],
                  line_width=2 if name == "c" else 1)  # fmt: skip
    tips = [("step", "@t: @label"), *((name, f"@{name}{{0.0000}}") for name in TITLES)]
    made.add_tools(HoverTool(tooltips=tips, mode="vline", line_policy="nearest"))
    made.legend.click_policy = "hide"
    made.add_layout(made.legend[0], "right")
    return made


def _norm_curve(models: dict[str, Any]) -> Any:
    """The norms of the gradients that get to each step, of all samples."""
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    made = figure(
        title="norm of the loss's gradient to h of each step, over the batch", width=WIDTH,
        height=220, x_range=models["x_range"], x_axis_label="step", y_axis_type="log",
        tools="reset,save",
    )  # fmt: skip
    made.line("t", "norm", source=models["norms"])
    made.scatter("t", "norm", source=models["norms"], size=4)
    made.add_tools(HoverTool(tooltips=[("step", "@t"), ("norm", "@norm{0.000e+0}")]))
    return made


def _palettes() -> dict[str, list[str]]:
    from bokeh.palettes import RdBu11, Viridis256, interp_palette

    return {"gates": list(Viridis256), "signed": list(interp_palette(RdBu11, 255))}
