"""A finished run as files for people: a self-contained HTML page and a CSV of its trials."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from metaml.files import write_atomic
from metaml.trial import Trial

SOURCE_COLOURS = {
    "portfolio": "#4269d0",
    "knn": "#3ca951",
    "pmf": "#a463f2",
    "smac": "#ff725c",
    "default": "#6cc5b0",
    "random": "#9498a0",
    "zero-cost": "#efb118",
    "local": "#e86fb8",
    "smallest": "#9c6b4e",
}
"""Who proposed a trial -> colour of its dot."""

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#767676}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.sub{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem;margin:1rem 0}
.card{border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem}.card b{display:block;font-size:1.3rem}
.card span{color:var(--soft);font-size:.85rem}.bad b{color:#d33}
table{border-collapse:collapse;width:100%;font-size:.85rem}
th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.scroll{overflow-x:auto;max-height:28rem}
code{font-size:.82rem;word-break:break-word}svg{width:100%;height:auto}svg text{fill:currentColor;font-size:11px}
.legend span{margin-right:1rem;white-space:nowrap;font-size:.85rem}
.dot{display:inline-block;width:.7em;height:.7em;border-radius:50%}
"""


def write_trials(trials: Sequence[Trial], path: Path) -> None:
    """Write one CSV row for each trial."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    metrics = sorted({name for trial in trials for name in trial.metrics})
    fixed = ["number", "source", "family", "status", "error", "seconds", "latency_ms", "parameters", "flops"]
    writer.writerow([*fixed, *metrics, "configuration", "message"])
    for t in trials:
        family = t.configuration.get("family", "")
        row = [t.number, t.source, family, t.status, t.error, t.seconds, t.latency_ms, t.n_parameters, t.flops]
        settings = " ".join(f"{k}={v}" for k, v in t.configuration.items() if k not in ("space", "family"))
        message = t.message.strip().splitlines()[-1] if t.message.strip() else ""
        writer.writerow([*row, *(t.metrics.get(name) for name in metrics), settings, _harmless(message)])
    write_atomic(path, buffer.getvalue())


def write_report(summary: dict[str, Any], path: Path) -> None:
    """Write the result of a search as one HTML page without any script or outside reference.

    Args:
        summary: the content of ``result.json``.
        path: the file.
    """
    task, best = summary["task"], summary["best"]
    parts = [
        f"<h1>{escape(task['name'])}</h1>",
        f"<p class=sub>{escape(task['type'])} · target “{escape(task['target'])}” · "
        f"{escape(task['extent'])} · {escape(task['validation'])}</p>",
        _cards(summary),
        "<h2>The model</h2>",
        _model(best),
        _metrics_table(best["metrics"]),
        _compression(best.get("compression") or []),
        "<h2>Error and latency of every trial</h2>",
        _scatter(summary),
        _legend(summary["trials"]),
        "<h2>Best error over the trials</h2>",
        _convergence(summary["trials"]),
        _curves(summary),
        "<h2>Trials</h2>",
        _trial_table(summary["trials"]),
        _notes(summary["notes"]),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(task['name'])} · MetaML</title><style>{_STYLE}</style>"
    )
    write_atomic(path, f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n')


def _cards(summary: dict[str, Any]) -> str:
    best, latency = summary["best"], summary["best"]["latency_ms"]
    limit = latency["limit"]
    within = limit is None or latency["judged"] <= limit
    metric = summary["task"]["metric"]
    low, high = latency["interval"]
    told = "measured" if latency["measured"] is not None else f"at most, foretold for {latency['device']}"
    note = f"{told}, {low:.4f}–{high:.4f}" + (f" · limit {limit:g} ms" if limit else "")
    run = [trial for trial in summary["trials"] if trial["status"] != "infeasible"]
    n_rejected = len(summary["trials"]) - len(run)
    cards = [
        (f"{best['metrics'].get(metric, math.nan):.4f}", f"{metric}, on validation rows", True),
        (f"{best['error']:.3f}", "error (1 = a constant)", True),
        (f"{latency['judged']:.4f} ms", note, within),
        (f"{best['model_bytes'] / 1024:,.0f} KiB", f"model.onnx · {_kind(best)}", True),
        (str(len(run)), f"trials in {summary['seconds']:.0f} s, {n_rejected} rejected as too slow", True),
    ]
    return (
        "<div class=cards>"
        + "".join(
            f'<div class="card{"" if fine else " bad"}"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
            for value, text, fine in cards
        )
        + "</div>"
    )


def _model(best: dict[str, Any]) -> str:
    """The configuration, or those of an ensemble with their weights."""
    if not best.get("ensemble"):
        return f"<p><code>{escape(_settings(best['configuration']))}</code></p>"
    rows = [
        f"<tr><td class=n>{member['weight']:.2f}</td><td class=n>{member['number']}</td>"
        f"<td class=n>{_number(member['error'])}</td>"
        f"<td><code>{escape(_settings(member['configuration']))}</code></td></tr>"
        for member in best["ensemble"]
    ]
    head = "<tr><th class=n>weight</th><th class=n>trial</th><th class=n>error</th><th>configuration</th></tr>"
    return f"<p>The weighted mean of {len(rows)} trials, in one file:</p><table>{head}{''.join(rows)}</table>"


def _compression(attempts: list[dict[str, Any]]) -> str:
    """Attempts to make the model smaller: before and after."""
    if not attempts:
        return ""
    head = "<tr><th>made smaller by</th><th>accepted</th><th class=n>error</th><th class=n>KiB</th><th class=n>ms</th>"
    rows = []
    for attempt in attempts:
        size = [None if attempt[name] is None else attempt[name] / 1024 for name in ("bytes_before", "bytes")]
        cells = [
            (attempt["error_before"], attempt["error"]),
            size,
            (attempt["latency_ms_before"], attempt["latency_ms"]),
        ]
        numbers = "".join(f"<td class=n>{' → '.join(map(_number, pair))}</td>" for pair in cells)
        said = "yes" if attempt["accepted"] else "no"
        row = f"<tr><td>{escape(attempt['name'])}</td><td>{said}</td>{numbers}<td>{escape(attempt['why'])}</td></tr>"
        rows.append(row)
    return f"<table>{head}<th></th></tr>{''.join(rows)}</table>"


def _metrics_table(metrics: dict[str, float]) -> str:
    head = "".join(f"<th class=n>{escape(name)}</th>" for name in metrics)
    row = "".join(f"<td class=n>{value:.4f}</td>" for value in metrics.values())
    return f"<table><tr>{head}</tr><tr>{row}</tr></table>"


def _scatter(summary: dict[str, Any]) -> str:
    trials = [t for t in summary["trials"] if t["status"] == "ok" and t["latency_ms"]]
    if not trials:
        return "<p class=sub>No latencies are known.</p>"
    limit = summary["best"]["latency_ms"]["limit"]
    latencies = [t["latency_ms"] for t in trials] + ([limit] if limit else [])
    plot = _Axes((min(latencies) / 1.3, max(latencies) * 1.3), _padded([t["error"] for t in trials]), logarithmic=True)
    marks = [plot.frame("predicted latency, ms", "error")]
    if limit:
        x = plot.x(limit)
        path = f"M{x} {plot.top}V{plot.bottom}"
        marks.append(f'<path d="{path}" stroke="#d33" stroke-dasharray="4 3"/>')
        marks.append(f'<text x="{x - 4}" y="{plot.top + 10}" text-anchor="end">limit</text>')
    front = " ".join(f"{plot.x(t['latency_ms'])},{plot.y(t['error'])}" for t in summary["pareto"] if t["latency_ms"])
    marks.append(f'<polyline points="{front}" fill="none" stroke="currentColor" stroke-opacity=".35"/>')
    answer = _answer(summary["best"])
    for t in trials:
        colour = SOURCE_COLOURS.get(t["source"], "#888")
        chosen = t["configuration"] in answer
        ring = ' stroke="currentColor" stroke-width="2"' if chosen else ""
        title = escape(f"trial {t['number']} · {t['source']} · {t['configuration']['family']} · error {t['error']:.4f}")
        marks.append(
            f'<circle cx="{plot.x(t["latency_ms"])}" cy="{plot.y(t["error"])}" r="{6 if chosen else 4}" fill="{colour}"'
            f"{ring}><title>{title}</title></circle>"
        )
    return plot.svg(marks)


def _convergence(trials: list[dict[str, Any]]) -> str:
    run = [t for t in trials if t["status"] != "infeasible"]
    best = math.inf
    points: list[tuple[int, float]] = []
    for i, t in enumerate(run, start=1):
        if t["status"] == "ok":
            best = min(best, t["error"])
        if math.isfinite(best):
            points.append((i, best))
    if not points:
        return ""
    plot = _Axes((1, max(2, len(run))), _padded([error for _, error in points]))
    steps = f"M{plot.x(points[0][0])} {plot.y(points[0][1])}"
    steps += "".join(f"H{plot.x(i)}V{plot.y(error)}" for i, error in points[1:])
    line = f'<path d="{steps}" fill="none" stroke="#4269d0" stroke-width="2"/>'
    return plot.svg([plot.frame("trial", "best error"), line])


def _curves(summary: dict[str, Any]) -> str:
    """Validation losses over the epochs: those of the answer's networks strong, all others faint."""
    told = [(t, [point for point in t.get("curve") or [] if point[1] is not None]) for t in summary["trials"]]
    curves = [(t, curve) for t, curve in told if len(curve) > 1]
    if not curves:
        return ""
    losses = sorted(loss for _, curve in curves for _, loss in curve)
    epochs = [epoch for _, curve in curves for epoch, _ in curve]
    top = losses[int(0.95 * (len(losses) - 1))]  # first epochs and diverging trials would leave no room for the others
    plot = _Axes((min(epochs), max(epochs)), _padded([losses[0], top]), logarithmic=min(epochs) > 0)
    answer = _answer(summary["best"])
    marks = [plot.frame("epochs", "validation loss")]
    for t, curve in sorted(curves, key=lambda told: told[0]["configuration"] in answer):
        chosen = t["configuration"] in answer
        points = " ".join(f"{plot.x(epoch)},{plot.y(min(loss, top))}" for epoch, loss in curve)
        colour = SOURCE_COLOURS.get(t["source"], "#888")
        title = escape(f"trial {t['number']} · {t['source']} · {t['configuration']['family']}")
        marks.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{2.5 if chosen else 1}" '
            f'stroke-opacity="{1 if chosen else 0.45}"><title>{title}</title></polyline>'
        )
    return f"<h2>Learning curves of the networks</h2>{plot.svg(marks)}"


def _answer(best: dict[str, Any]) -> list[dict[str, Any]]:
    """The configurations that are delivered."""
    return [member["configuration"] for member in best.get("ensemble") or [best]]


def _legend(trials: list[dict[str, Any]]) -> str:
    counts = Counter(t["source"] for t in trials if t["status"] != "infeasible")
    items = [
        f'<span><i class=dot style="background:{SOURCE_COLOURS.get(source, "#888")}"></i> {escape(source)} ({n})</span>'
        for source, n in counts.most_common()
    ]
    return f"<p class=legend>{''.join(items)}</p>"


def _trial_table(trials: list[dict[str, Any]]) -> str:
    run = [t for t in trials if t["status"] != "infeasible"]
    head = "<tr><th class=n>#</th><th>source</th><th>status</th><th class=n>error</th><th class=n>ms</th>"
    head += "<th class=n>s</th><th>configuration</th></tr>"
    rows = [
        f"<tr><td class=n>{t['number']}</td><td>{escape(t['source'])}</td><td>{escape(t['status'])}</td>"
        f"<td class=n>{_number(t['error'])}</td><td class=n>{_number(t['latency_ms'])}</td>"
        f"<td class=n>{t['seconds']:.1f}</td><td><code>{escape(_settings(t['configuration']))}</code></td></tr>"
        for t in run
    ]
    return f"<div class=scroll><table>{head}{''.join(rows)}</table></div>"


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    return "<h2>Notes</h2><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def _kind(best: dict[str, Any]) -> str:
    members = best.get("ensemble")
    return f"ensemble of {len(members)}" if members else str(best["configuration"]["family"])


def _settings(configuration: dict[str, Any]) -> str:
    own = " ".join(f"{k}={v}" for k, v in configuration.items() if k not in ("space", "family"))
    return f"{configuration['family']} {own}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _padded(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05
    return max(0.0, low - margin), high + margin


def _harmless(text: str) -> str:
    """Keep a spreadsheet from running a text as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


class _Axes:
    """Data coordinates -> pixels of a 640 × 300 picture."""

    left, right, top, bottom = 52.0, 630.0, 10.0, 258.0

    def __init__(self, x: tuple[float, float], y: tuple[float, float], *, logarithmic: bool = False) -> None:
        self._log = logarithmic
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        scale = math.log if self._log else float
        low, high = scale(self._x[0]), scale(self._x[1])
        return round(self.left + (scale(value) - low) / (high - low) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        low, high = self._y
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 1)

    def frame(self, x_label: str, y_label: str) -> str:
        axes = f"M{self.left} {self.top}V{self.bottom}H{self.right}"
        marks = [f'<path d="{axes}" fill="none" stroke="currentColor" stroke-opacity=".5"/>']
        for value in self._ticks():
            marks.append(f'<text x="{self.x(value)}" y="{self.bottom + 15}" text-anchor="middle">{value:.3g}</text>')
        for i in range(5):
            value = self._y[0] + i / 4 * (self._y[1] - self._y[0])
            y = self.y(value)
            marks.append(f'<path d="M{self.left} {y}H{self.right}" stroke="currentColor" stroke-opacity=".1"/>')
            marks.append(f'<text x="{self.left - 5}" y="{y + 4}" text-anchor="end">{value:.3f}</text>')
        marks.append(f'<text x="{self.right}" y="{self.bottom + 32}" text-anchor="end">{x_label}</text>')
        marks.append(f'<text x="4" y="{self.bottom + 32}">{y_label} ↑</text>')
        return "".join(marks)

    def svg(self, marks: list[str]) -> str:
        return f'<svg viewBox="0 0 640 296" role="img">{"".join(marks)}</svg>'

    def _ticks(self) -> list[float]:
        low, high = self._x
        if not self._log:
            step = max(1, round((high - low) / 8))
            return [float(v) for v in range(int(low), int(high) + 1, step)]
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
        return [tick for tick in ticks if low <= tick <= high]
