"""True and false positives and negatives at thresholds, and what is told from them.

Part of `metrics`. An output above a threshold says "positive"; a target that is not zero is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import Array, choice, flag, integer, number, shape_text, shown
from ..ops.activations import activation_forward
from ..ops.losses import KERAS_EPSILON
from .base import Metric, arrays, same_shape, weights_in

__all__ = ["AUC", "F1Score", "FBetaScore", "Precision", "Recall"]

LEAST = -1e10  # what takes the place of outputs that are not among the k largest
ALMOST_NONE = 1e-9  # outputs that small are no "largest" of a row


class Confusion(Metric):
    """Sums of weights of true and false positives and negatives at each of some thresholds."""

    edges: Array

    def reset_state(self) -> None:
        size = len(self.edges) if hasattr(self, "edges") else 0
        self.true_positives, self.false_positives = np.zeros((2, size))
        self.positives, self.negatives = 0.0, 0.0

    def _add(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        """Add outputs and targets, and weights in their shape."""
        y_pred, right = y_pred.reshape(-1), (y_true != 0).reshape(-1)
        weight = np.ones(len(y_pred)) if weights is None else weights.reshape(-1)
        # Bucket k: above the thresholds 0 to k - 1, and above no other.
        buckets = np.searchsorted(self.edges, y_pred, side="left")
        buckets[np.isnan(y_pred)] = 0
        true = np.bincount(buckets[right], weight[right], len(self.edges) + 1)
        false = np.bincount(buckets[~right], weight[~right], len(self.edges) + 1)
        self.true_positives += true[::-1].cumsum()[::-1][1:]
        self.false_positives += false[::-1].cumsum()[::-1][1:]
        self.positives += float(true.sum())
        self.negatives += float(false.sum())

    @property
    def false_negatives(self) -> Array:
        return self.positives - self.true_positives

    @property
    def true_negatives(self) -> Array:
        return self.negatives - self.false_positives


class _OfClass(Confusion):
    """Precision and recall: which outputs to look at.

    Parameters
    ----------
    thresholds : float in [0, 1], a list of them, or None
        0.5 by default; with `top_k`, none.
    top_k : int or None
        Only the k largest outputs of a row may be positive.
    class_id : int or None
        Only this column of the outputs counts.
    name, dtype
        As of `Metric`.
    """

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(name, dtype)
        self.thresholds = _thresholds(thresholds)
        self.top_k = None if top_k is None else integer("top_k", top_k, 1)
        self.class_id = None if class_id is None else integer("class_id", class_id, 0)
        default = 0.5 if top_k is None else LEAST
        found = np.atleast_1d(default if thresholds is None else np.asarray(self.thresholds))
        self.order = np.argsort(found, kind="stable")
        self.edges = found[self.order].astype(np.float64)
        self.reset_state()

    def get_config(self) -> dict[str, Any]:
        given = {"thresholds": self.thresholds, "top_k": self.top_k, "class_id": self.class_id}
        told = {key: value for key, value in given.items() if value is not None}
        return {**super().get_config(), **told}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        target, outputs = same_shape(*arrays(y_true, y_pred))
        weights = weights_in(sample_weight, outputs.shape)
        if self.top_k is not None:
            outputs = _largest(outputs, self.top_k)
        if self.class_id is not None:
            if outputs.ndim < 2 or self.class_id >= outputs.shape[-1]:
                expected = f"outputs of more than {self.class_id} classes"
                raise ValueError(f"y_pred: expected {expected}, got {shape_text(outputs.shape)}")
            column = (..., self.class_id)
            target, outputs = target[column], outputs[column]
            weights = None if weights is None else weights[column]
        self._add(target, outputs, weights)

    def _share(self, others: Array) -> Any:
        """Return true positives over them and others, in the order of the thresholds given."""
        found = np.empty(len(self.edges))
        found[self.order] = divided(self.true_positives, self.true_positives + others)
        return float(found[0]) if len(found) == 1 else found


class Precision(_OfClass):
    """True positives over all that the outputs say is positive.

    `result` is a float; of a list of thresholds, an array of as many.

    Parameters
    ----------
    thresholds : float in [0, 1], a list of them, or None
        0.5 by default; with `top_k`, none.
    top_k : int or None
        Only the k largest outputs of a row may be positive.
    class_id : int or None
        Only this column of the outputs counts.
    name, dtype
        As of `Metric`.
    """

    def result(self) -> Any:
        return self._share(self.false_positives)


class Recall(_OfClass):
    """True positives over all that is positive; arguments and `result` as of `Precision`."""

    def result(self) -> Any:
        return self._share(self.false_negatives)


class AUC(Confusion):
    """The area under a curve of rates at many thresholds, from probabilities of being positive.

    Parameters
    ----------
    num_thresholds : int, at least 2
        Evenly spaced from 0 to 1; the more, the closer to the true area.
    curve : {"ROC", "PR"}
        True over false positive rate, or precision over recall.
    summation_method : {"interpolation", "minoring", "majoring"}
        Trapezoids, lower or upper rectangles; of "PR", interpolation is that of Davis and Goadrich.
    name, dtype
        As of `Metric`.
    thresholds : list of float in [0, 1], or None
        Those between 0 and 1, in place of evenly spaced ones.
    multi_label, num_labels, label_weights : False, None, None
        All outputs make one curve.
    from_logits : bool
        The outputs are what a sigmoid would get.

    Source
    ------
    Davis and Goadrich (2006), The relationship between precision-recall and ROC curves.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: None = None,
        label_weights: None = None,
        from_logits: bool = False,
    ):
        super().__init__(name, dtype)
        self.num_thresholds = integer("num_thresholds", num_thresholds, 2, 2**24)
        self.curve = choice("curve", _in_case(curve, str.upper), ("ROC", "PR"))
        methods = ("interpolation", "minoring", "majoring")
        found = _in_case(summation_method, str.lower)
        self.summation_method = choice("summation_method", found, methods)
        self.from_logits = flag("from_logits", from_logits)
        if flag("multi_label", multi_label):
            raise ValueError("multi_label: expected False (one curve of all outputs), got True")
        for argument, given in (("num_labels", num_labels), ("label_weights", label_weights)):
            if given is not None:
                expected = "None (one curve of all outputs)"
                raise ValueError(f"{argument}: expected {expected}, got {shown(given)}")
        self.thresholds = None if thresholds is None else _inner(thresholds)
        self.edges = _edges(self.thresholds, self.num_thresholds)
        self.reset_state()

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "num_thresholds": self.num_thresholds}
        config |= {"curve": self.curve, "summation_method": self.summation_method}
        config["from_logits"] = self.from_logits
        return config if self.thresholds is None else {**config, "thresholds": self.thresholds}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        target, outputs = same_shape(*arrays(y_true, y_pred))
        weights = weights_in(sample_weight, outputs.shape)
        outputs = outputs.astype(np.float64)
        if self.from_logits:
            outputs = activation_forward("sigmoid", outputs) if outputs.size else outputs
        seen = outputs if weights is None else outputs[weights != 0]
        if ((seen < 0) | (seen > 1)).any():
            expected = "probabilities in [0, 1] (or from_logits=True)"
            raise ValueError(f"y_pred: expected {expected}, got [{seen.min()}, {seen.max()}]")
        self._add(target, outputs, weights)

    def result(self) -> float:
        """Return the area; 0 where nothing was added."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._interpolated()
        recall = divided(self.true_positives, np.full(len(self.edges), self.positives))
        if self.curve == "ROC":
            x = divided(self.false_positives, np.full(len(self.edges), self.negatives))
            y = recall
        else:
            x = recall
            y = divided(self.true_positives, self.true_positives + self.false_positives)
        low, high = np.minimum(y[:-1], y[1:]), np.maximum(y[:-1], y[1:])
        heights = {"minoring": low, "majoring": high, "interpolation": (low + high) / 2}
        return float(((x[:-1] - x[1:]) * heights[self.summation_method]).sum())

    def _interpolated(self) -> float:
        """Σ of ∫ precision d(recall) between thresholds, where TP is a line over TP + FP = P.

        With TP = a + s P: ∫ TP / P dTP = s (ΔTP + a log(P₀ / P₁)).
        """
        tp = self.true_positives
        p = tp + self.false_positives
        dtp = tp[:-1] - tp[1:]
        slope = divided(dtp, np.maximum(p[:-1] - p[1:], 0))
        intercept = tp[1:] - slope * p[1:]
        both = (p[:-1] > 0) & (p[1:] > 0)
        ratio = np.divide(p[:-1], p[1:], out=np.ones(len(dtp)), where=both)
        area = slope * (dtp + intercept * np.log(ratio))
        return float(area.sum() / self.positives) if self.positives > 0 else 0.0


class FBetaScore(Metric):
    """`(1 + β²) precision · recall / (β² precision + recall)` of each class, or a mean of them.

    `result` is a float; without `average` an array, one number per class.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        "micro": of all classes together; "macro": the mean over classes; "weighted": by how many
        targets they have.
    beta : float, above 0
    threshold : float in (0, 1], or None
        Outputs above it are positive; None: the largest of each row are.
    name, dtype
        As of `Metric`.
    """

    sums: Array | None

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(name, dtype)
        self.average = choice("average", average, (None, "micro", "macro", "weighted"))
        self.beta = number("beta", beta, math.nextafter(0.0, 1.0))
        least = math.nextafter(0.0, 1.0)
        self.threshold = None if threshold is None else number("threshold", threshold, least, 1.0)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "average": self.average, "threshold": self.threshold}
        return config if type(self) is F1Score else {**config, "beta": self.beta}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        target, outputs = same_shape(*arrays(y_true, y_pred))
        classes = outputs.shape[-1]
        if outputs.ndim < 2 or (self.sums is not None and self.sums.shape[1] != classes):
            known = "N" if self.sums is None else self.sums.shape[1]
            expected = f"(B, ..., {known})"
            raise ValueError(f"y_pred: expected {expected}, got {shape_text(outputs.shape)}")
        weights = weights_in(sample_weight, outputs.shape[:-1])
        w = np.ones(outputs.shape[:-1]) if weights is None else weights
        kept = w != 0
        said, truth = self._said(outputs[kept]), target[kept].astype(np.float64)
        w = w[kept][:, None]
        parts = [said * truth, said * (1 - truth), (1 - said) * truth, truth]
        added = np.array([(one * w).sum(axis=0) for one in parts])
        self.sums = added if self.sums is None else self.sums + added

    def _said(self, outputs: Array) -> Array:
        """Return 1.0 where rows of outputs (R, N) say "positive"."""
        if self.threshold is not None:
            return (outputs > self.threshold).astype(np.float64)
        largest = outputs >= outputs.max(axis=-1, keepdims=True, initial=-np.inf)
        return (largest & (np.abs(outputs) > ALMOST_NONE)).astype(np.float64)

    def result(self) -> Any:
        """Return the score; 0 where nothing was added."""
        if self.sums is None:
            return 0.0
        sums = self.sums.sum(axis=1) if self.average == "micro" else self.sums
        tp, fp, fn, truth = sums
        precision = tp / (tp + fp + KERAS_EPSILON)
        recall = tp / (tp + fn + KERAS_EPSILON)
        square = self.beta**2
        score = precision * recall / (square * precision + recall + KERAS_EPSILON) * (1 + square)
        if self.average is None:
            return score
        if self.average == "weighted":
            return float((score * truth / (truth.sum() + KERAS_EPSILON)).sum())
        return float(np.mean(score))

    def reset_state(self) -> None:
        self.sums = None

    def _default_name(self) -> str:
        return "fbeta_score"


class F1Score(FBetaScore):
    """`2 precision · recall / (precision + recall)` of each class, or a mean of them.

    Parameters
    ----------
    average, threshold, name, dtype
        As of `FBetaScore`.
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(average, 1.0, threshold, name, dtype)

    def _default_name(self) -> str:
        return "f1_score"


def divided(a: Array, b: Array) -> Array:
    """Return a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(len(a)), where=b != 0)


def _thresholds(given: Any) -> float | list[float] | None:
    if given is None:
        return None
    if not isinstance(given, (list, tuple)):
        return number("thresholds", given, 0.0, 1.0)
    if not given:
        raise ValueError("thresholds: expected one or more, got none")
    return [number("thresholds", one, 0.0, 1.0) for one in given]


def _inner(given: Any) -> list[float]:
    found = _thresholds(given)
    if not isinstance(found, list):
        raise ValueError(f"thresholds: expected a list of numbers, got {shown(given)}")
    return sorted(found)


def _edges(thresholds: list[float] | None, count: int) -> Array:
    """Return all thresholds, the first below 0 and the last above 1."""
    inner = np.arange(1, count - 1) / (count - 1) if thresholds is None else np.array(thresholds)
    return np.concatenate([[-KERAS_EPSILON], inner, [1.0 + KERAS_EPSILON]])


def _largest(outputs: Array, k: int) -> Array:
    """Return outputs in float64, those of a row that are not its k largest very small."""
    order = np.argsort(-outputs.astype(np.float64), axis=-1, kind="stable")[..., :k]
    kept = np.zeros(outputs.shape, np.bool_)
    np.put_along_axis(kept, order, True, axis=-1)
    return np.where(kept, outputs, LEAST).astype(np.float64)


def _in_case(word: Any, change: Any) -> Any:
    return change(word) if isinstance(word, str) else word
