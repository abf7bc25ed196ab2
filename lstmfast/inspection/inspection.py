"""`inspect`: one batch through a model, and all that is to be seen of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array, choice, integer
from ..model.given import Samples, check_inputs, taken
from ..model.model import Model
from .objective import Objective
from .replay import Replayed, replayed
from .saliency import METHODS, saliency
from .units import Following, following
from .watching import RecurrentCall, check_can_be_watched, watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Inspection", "inspect"]


class Inspection:
    """What `inspect` found.

    Attributes
    ----------
    gates : dict of dict of ndarray (B, T, H)
        By the name of the layer: i, f, g, o, c, h of an LSTM at every step, h of a SimpleRNN. With
        `projection` h has P numbers. Steps are in the order of x, whichever way they were taken;
        NaN where a mask leaves one out.
    gradients : dict of ndarray (B, T, H), or None without targets
        By the same names: of the loss, to h of each step: through the outputs and through all steps
        that are taken after it, while c of the step is held. 0 where a mask leaves the step out.
    gradient_norms : dict of ndarray (T,), or None without targets
        Their Euclidean norms over batch and units, float64.
    loss : float or None
        Without what regularizers add.

    Notes
    -----
    Names are those of the layers. Of several layers or directions in one `LSTM` they are `lstm/0`,
    `lstm/0/reverse`, `lstm/1`, ...; of a layer within another, such as `Bidirectional`, the other's
    name and the word of its `params` come first: `bidirectional/forward`; within a model that is
    used as a layer, that model's name. Of a layer that is called several times the later calls are
    `lstm:1`, `lstm:2`, ... in the order in which they are made.

    All is as `predict` has it: nothing is dropped. `truncate` of a layer is not heeded: gradients
    are those of the whole sequence.
    """

    def __init__(self, model: Model, samples: Samples, keys: tuple[Any, Any]):
        self._objective = Objective(model, samples)
        self._keys = keys
        self.loss: float | None = None
        parts = self._look(model)
        self.gates: dict[str, dict[str, Array]] = {p.name: p.values for p in parts}
        self.gradients: dict[str, Array] | None = None
        self.gradient_norms: dict[str, Array] | None = None
        if samples.ys:
            self.gradients = {p.name: _or_zeros(p) for p in parts}
            self.gradient_norms = {name: _norms(d) for name, d in self.gradients.items()}

    def _look(self, model: Model) -> list[Replayed]:
        objective = self._objective
        with watched(model) as watch:
            tape = objective.forward(objective.batch.xs)
            if objective.heads is not None:
                self.loss = objective.loss(tape)
                objective.backward(tape)
            _name_calls(watch.calls)
            return [part for call in watch.calls for part in replayed(call)]

    def saliency(self, method: str = "gradient_input", steps: int = 32) -> Any:
        """Return what each number of x counts for, of the model as it is now.

        Of the loss with targets, else of each sample's largest output (of several outputs, the
        first one's). Positive: the number makes that larger.

        Parameters
        ----------
        method : str
            "gradient_input": the gradient times the input. "integrated": the mean of the gradients
            along the straight line from zeros to x, times x (Sundararajan, Taly and Yan 2017):
            their sum is what the loss, or output, has changed on that way, as far as `steps`
            suffice. "occlusion": what is lost with the number alone at zero; one pass for each
            number of a sample.
        steps : int
            Of "integrated": points on the line, each in the middle of its part.

        Returns
        -------
        ndarray in the shape of x, float64
            Of ids (B, T): of the vectors they stand for, summed over each vector; zero is then the
            vector of zeros. Of several inputs a list, or a dict where x was one.

        Raises
        ------
        ValueError
            For another method, and for ids that go elsewhere than straight into an `Embedding`.
        """
        choice("method", method, METHODS)
        found = saliency(self._objective, method, integer("steps", steps, 1))
        is_dict, names = self._keys
        if is_dict:
            return dict(zip(names, found, strict=True))
        return found[0] if len(found) == 1 else found

    def units_following(
        self, feature: Any, layer: str | None = None, value: str = "c"
    ) -> Following:
        """Return which units go with a feature of the steps.

        Parameters
        ----------
        feature : array_like (B, T)
            Truth values or numbers: is a bracket open, is it day.
        layer : str, optional
            Of `gates`; None for the only one.
        value : str
            What of the units: "c", "h" or a gate. A layer without cells has h alone.

        Raises
        ------
        ValueError
            For a feature of another shape, or that never changes; without a layer, if there are
            several.
        """
        name = self._layer(layer)
        value = "h" if value == "c" and "c" not in self.gates[name] else value
        choice("value", value, tuple(self.gates[name]))
        return following(name, value, self.gates[name][value], feature)

    def plot(
        self, path: Any = None, *, layer: str | None = None, sample: int = 0, labels: Any = None
    ) -> Figure:
        """Draw gates, cells and outputs of one sample as heat maps, and the norms of gradients.

        Parameters
        ----------
        path : str or path, optional
            Where to write the figure to: a PNG, or what the name's ending says.
        layer : str, optional
            Of `gates`; None for all of them.
        sample : int
        labels : sequence of str, optional
            What stands at each step of the sample, such as the letters of a text.

        Returns
        -------
        matplotlib.figure.Figure
            Which a notebook shows.
        """
        from .plots import draw

        self._check_recurrent()
        names = list(self.gates) if layer is None else [self._layer(layer)]
        return draw(self, names, path, self._sample(sample), labels)

    def to_html(self, path: Any, *, samples: int = 4, labels: Any = None) -> None:
        """Write one page to look around in, which needs nothing but a browser: by Bokeh.

        A heat map of units over steps, with the number under the pointer; a unit is picked by a
        click, and the steps, or the letters of a text, are coloured by where it fires.

        Parameters
        ----------
        path : str or path
        samples : int
            So many samples of the batch go into the page, the first ones.
        labels : sequence, optional
            For each sample a sequence of str, one for each step; a str has its letters.
        """
        from .page import write

        self._check_recurrent()
        count = min(integer("samples", samples, 1), len(self._objective.batch))
        write(self, path, count, labels)

    def _check_recurrent(self) -> None:
        if not self.gates:
            raise ValueError("model: expected one with recurrent layers, got none")

    def _layer(self, name: str | None) -> str:
        self._check_recurrent()
        if name is None and len(self.gates) > 1:
            raise ValueError(f"layer: expected one of {sorted(self.gates)}, got None")
        return next(iter(self.gates)) if name is None else choice("layer", name, list(self.gates))

    def _sample(self, sample: int) -> int:
        return integer("sample", sample, 0, len(self._objective.batch) - 1)


def inspect(
    model: Model, x: Any, y: Any = None, *, lengths: Any = None, mask: Any = None
) -> Inspection:
    """Run one batch through a model, and return what its recurrent layers hold at every step.

    >>> seen = lstmfast.inspect(model, x, y)
    >>> seen.gates["lstm"]["f"].mean(axis=(0, 2))     # how open the forget gates are, step by step
    >>> seen.gradient_norms["lstm"]                   # how much of the loss's gradient gets there
    >>> seen.saliency("integrated")                   # what each input counts for
    >>> seen.plot("gates.png")
    >>> seen.to_html("gates.html")

    Each step is a call of its own, so it is slower than `predict`; the model stays as it is, its
    stateful layers too, and is not to be used by another thread meanwhile.

    Parameters
    ----------
    model : Model
        On the CPU, without zoneout and int8 weights. With y, compiled with a loss.
    x, y, lengths, mask
        As in `evaluate`, one batch.

    Returns
    -------
    Inspection

    Raises
    ------
    ValueError
        For data that does not fit, and for a model that cannot be looked into.
    """
    if not isinstance(model, Model):
        raise ValueError(f"model: expected a Model, got {type(model).__name__}")
    check_can_be_watched(model)
    batch = taken(model, x, y, None, lengths, mask, has_targets=y is not None)
    if y is not None:
        model._check_data(batch, len(batch))
    else:
        check_inputs(model, batch.xs, len(batch), finite=True)
    model._build_for(batch.xs)
    keys = isinstance(x, Mapping) and model.input_keys is not None, model.input_names
    return Inspection(model, model._cast(_copied(batch)), keys)


def _copied(batch: Samples) -> Samples:
    """The same in arrays of its own, so that what is asked later is of the same numbers."""
    return replace(batch, xs=[x.copy() for x in batch.xs], ys=[y.copy() for y in batch.ys])


def _name_calls(calls: Sequence[RecurrentCall]) -> None:
    """Number the calls of a layer that has several."""
    counts: dict[str, int] = {}
    for call in calls:
        count = counts[call.name] = counts.get(call.name, -1) + 1
        call.name += f":{count}" if count else ""


def _or_zeros(part: Replayed) -> Array:
    return np.zeros_like(part.values["h"]) if part.gradient is None else part.gradient


def _norms(gradient: Array) -> Array:
    found: Array = np.sqrt((gradient.astype(np.float64) ** 2).sum(axis=(0, 2)))
    return found
