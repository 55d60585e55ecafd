"""Which of several finished models is delivered, told from their measured latencies."""

from dataclasses import dataclass

import pytest

from metaml.delivery import Delivered, Finisher, Member, Workbench, pareto
from metaml.latency import Latency
from metaml.refits import Refitter
from metaml.run_folder import RunFolder
from metaml.trial import Trial


@dataclass(frozen=True)
class Here:
    """A device that is this machine."""

    is_here: bool = True


class Measured(Finisher):
    """Finds its models trained and measured already: trial number -> milliseconds."""

    def __init__(self, folder, limit_ms, latencies):
        super().__init__(Refitter(None, folder, seed=0), Workbench(folder, {}, Here(), limit_ms))
        self.latencies = latencies

    def _finish(self, trial, seconds):
        path = self._bench.folder.candidate(trial.number)
        path.write_bytes(b"%d" % trial.number)
        ms = self.latencies[trial.number]
        return Delivered((Member(trial),), path, Latency(ms, ms, ms), trial.error, {}, trial.latency_ms)


def trials(errors):
    return [Trial(i, {"x": i}, "smac", "ok", error=error, latency_ms=1.0 + i) for i, error in enumerate(errors)]


@pytest.mark.parametrize(
    ("limit", "latencies", "chosen", "said"),
    [
        (None, [3.0, 1.0, 2.0], 0, []),
        (2.5, [3.0, 1.0, 2.0], 1, ["above"]),
        (2.5, [2.49, 2.0, 1.0], 1, ["hardly below"]),
        (2.5, [2.49, 3.0, 2.48], 0, ["none stays clearly below", "above", "hardly below"]),
        (0.5, [3.0, 2.0, 1.0], 2, ["above", "above", "nothing keeps the limit"]),
    ],
)
def test_the_best_that_stays_clearly_below_the_limit_is_delivered(tmp_path, limit, latencies, chosen, said):
    finisher = Measured(RunFolder.create(tmp_path / "run", "t", {}), limit, latencies)
    model = finisher.deliver(trials([0.1, 0.2, 0.3]), lambda: 100.0)
    assert model.trial.number == chosen
    assert (tmp_path / "run" / "model.onnx").read_bytes() == b"%d" % chosen
    assert len(finisher.notes) == len(said)
    assert all(words in note for words, note in zip(said, finisher.notes, strict=True))


def test_of_another_device_the_upper_end_must_keep_the_limit(tmp_path):
    model = Delivered((), tmp_path, Latency(1.0, 0.8, 1.3, is_measured=False), 0.1, {}, 1.0)
    assert model.keeps(1.3, headroom=0.05) and not model.keeps(1.2)


def test_the_pareto_front_is_what_nothing_beats_in_both():
    assert [trial.number for trial in pareto(trials([0.3, 0.3, 0.1, 0.2]))] == [0, 2]
