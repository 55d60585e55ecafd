"""Does remembering pay? Mean normalised regret of every warm-starter after k evaluations, families left out.

``python -m experiments.warm_vs_cold --matrices oboe,tst_svm --starters portfolio,auto --seeds 3 --out results/``
writes ``regret.csv`` (means), ``paired.csv`` (difference to the portfolio with 95 % intervals) and ``regret.png``.
Each seed deals the families into other folds; the task is the unit of comparison and families are resampled.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import pandas as pd

from experiments.warmstart_data import MATRICES, load
from experiments.warmstart_peers import PEERS
from portfolio import WARM_STARTERS, History, WarmStarter
from portfolio.replay import Make, confidence, replay, summarise

DEFAULT = "portfolio,knn,pmf,auto"
BASELINE = "portfolio"


def main(arguments: list[str] | None = None) -> int:
    """Run the experiment and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrices", default="oboe,dataset2vec_mlp_a", help=f"of {', '.join(MATRICES)}")
    parser.add_argument("--starters", default=DEFAULT, help=f"of {', '.join([*WARM_STARTERS, *PEERS])}")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--tasks", type=int, help="use only the first so many tasks (for a quick look)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    names = options.matrices.split(",")
    if not all(name in MATRICES for name in names):
        parser.error(f"matrices are {', '.join(MATRICES)}, however: {options.matrices}")
    curves, gaps = {}, []
    for name in names:
        history = load(name)
        kept = history if options.tasks is None else history.keep_tasks(history.errors.index[: options.tasks])
        results = compare(kept, options.starters.split(","), options.seeds, options.folds)
        curves[name] = summarise(results)
        gaps.append(confidence(results, BASELINE).assign(matrix=name))
        print(f"\n{name}: mean normalised regret\n{curves[name].round(4).to_string()}", flush=True)
    paired = pd.concat(gaps)
    print(f"\ndifference to {BASELINE}, 95 % interval over families\n{paired.round(4).to_string(index=False)}")
    if options.out is not None:
        save(curves, paired, options.out)
    return 0


def compare(history: History, starters: list[str], seeds: int, folds: int) -> pd.DataFrame:
    """Replay starters over several deals of the folds and return the mean regret of each task (long table)."""
    known: dict[str, type[WarmStarter]] = {**WARM_STARTERS, **PEERS}
    runs = []
    for seed in range(seeds):
        makers: dict[str, Make] = {name: _maker(known[name], seed) for name in dict.fromkeys([BASELINE, *starters])}
        runs.append(replay(history, makers, folds=folds, seed=seed, progress=lambda line: print(line, file=sys.stderr)))
    keys = ["starter", "task", "family", "evaluations"]
    return pd.concat(runs).groupby(keys, sort=False)["regret"].mean().reset_index()


def save(curves: dict[str, pd.DataFrame], paired: pd.DataFrame, folder: Path) -> None:
    """Write the tables and, where matplotlib is installed, the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(curves, names=["matrix"]).to_csv(folder / "regret.csv")
    paired.to_csv(folder / "paired.csv", index=False)
    try:
        figure_class = importlib.import_module("matplotlib.figure").Figure
    except ImportError:
        print("no figure: matplotlib is not installed", file=sys.stderr)
        return
    figure = figure_class(figsize=(5 * len(curves), 4), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (name, means) in zip(axes, curves.items(), strict=True):
        for starter, values in means.iterrows():
            style = ":" if str(starter).startswith("random") else "-"
            axis.loglog(means.columns, values.clip(lower=1e-4), style, marker=".", label=str(starter))
        axis.set(title=name, xlabel="evaluations", ylabel="mean normalised regret")
    axes[-1].legend(fontsize="small")
    figure.savefig(folder / "regret.png", dpi=120)


def _maker(cls: type[WarmStarter], seed: int) -> Make:
    return lambda: cls(seed=seed)


if __name__ == "__main__":
    sys.exit(main())
