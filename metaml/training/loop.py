"""The torch loop: one training of one network, that can stop after any epoch and go on."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from hw_cost.ops import flops
from metaml.models import NetworkShape, TorchFamily
from metaml.models.torch_family import Batch, prepare
from metaml.training.averaging import ExponentialAverage
from metaml.training.checkpoint import Checkpoint, part, prefixed
from metaml.training.deadline import Foresight, TooLongError
from metaml.training.devices import device_for
from metaml.training.dropout import hasten
from metaml.training.losses import prediction_of, training_loss, validation_loss
from metaml.training.model import DivergedError, Rows
from metaml.training.optimisers import Stepper
from metaml.training.parameters import FlatParameters
from metaml.training.schedules import SCHEDULES
from metaml.training.stopping import BestEpoch
from metaml.trial import Configuration

NEARLY_DONE = 0.7
"""A training that has got so far when its time is up ends there, as if it had been stopped early."""
MIN_STEPS_PER_EPOCH = 10
"""Batches are made smaller on small tables, so that an epoch has this many steps."""
BACKWARD_TOO = 3
"""A step is about so many times the work of a prediction."""
MOST_KEPT = 10_000_000
"""Numbers that the predictions of all epochs may be; a table with several folds has fewer, large ones need none."""
CURVE_POINTS = 8
"""A learning curve has about so many points; one for each epoch when the best epoch is looked for."""


class Training:
    """A network in training. All rows stay on the device; an epoch is one permutation of them, a batch a slice.

    Args:
        family: kind of network.
        config: its hyperparameters, and those of `metaml.models.torch_family.optimiser_space`.
        shape: what the network sees.
        train: training rows.
        seed: fixes initial weights, the order of the rows, dropout and augmentation.
        validation: rows that the learning curve is of.
        device: where to train; None for where it is likely to take less time.
    """

    def __init__(
        self,
        family: TorchFamily,
        config: Configuration,
        shape: NetworkShape,
        train: Rows,
        *,
        seed: int,
        validation: Rows | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.family, self.config, self.shape = family, config, shape
        n = len(train.features)
        self._batch_size = min(config["batch_size"], max(1, n // MIN_STEPS_PER_EPOCH))
        self.n_epochs: int = config["epochs"]
        self.n_steps = math.ceil(n / self._batch_size) * self.n_epochs
        step_flops = BACKWARD_TOO * self._batch_size * flops(family.graph(config, shape))
        self._device = device or device_for(step_flops, self.n_steps)
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._random: list[Tensor] = []
        self._train = self._tensors(train)
        with self._random_state(seed):
            module = family.build(config, shape)
            self._module = module.to(self._device) if self._device.type == "cuda" else hasten(module)
            prepare(self._module, self._train.inputs)
        self._validation = None if validation is None else self._tensors(validation)
        self._set_up()
        self.epoch = self.step = 0
        self._is_cut = False
        self.curve: list[tuple[int, float]] = []
        """(epochs so far, validation loss)."""
        self.predictions: list[Tensor] = []
        """Of the validation rows after each epoch, where the best one is looked for and they are not too many."""

    def _set_up(self) -> None:
        config = self.config
        self._parameters = FlatParameters(self._module, self.family.decayed(self._module))
        self._stepper = Stepper(
            config["optimiser"],
            self._parameters,
            rate=config["learning_rate"],
            decay=config["weight_decay"],
            clip=config["gradient_clipping"] == "norm",
        )
        self._schedule = SCHEDULES[config["schedule"]]
        self._augment = self.family.augment(config, self.shape)
        is_averaged, is_best = config["averaging"] == "exponential", config["early_stopping"] == "best_epoch"
        self._average = ExponentialAverage(self._parameters.values, self.n_steps) if is_averaged else None
        self._best = BestEpoch(self.n_epochs) if is_best and self._validation is not None else None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do: all epochs are done, or nearly all in the time, or the best is long past."""
        return (
            self._is_cut or self.epoch >= self.n_epochs or (self._best is not None and self._best.is_past(self.epoch))
        )

    def run(self, until: int, *, seconds: float, goal: int | None = None) -> None:
        """Train until so many epochs are done in all; nearly so many where the time is up before.

        Args:
            until: number of epochs.
            seconds: time allowed.
            goal: number of epochs that the time must suffice for; None for `until`.

        Raises:
            TimeoutError: it would take longer than `seconds`; raised as soon as that is foreseen.
            DivergedError: the loss is no longer finite.
        """
        watch, until = Foresight(seconds, step=self.step), min(until, self.n_epochs)
        last_step = (until if goal is None else goal) * self.n_steps // self.n_epochs
        with self._random_state():
            while self.epoch < until and not self.is_over:
                try:
                    self._run_epoch(watch, last_step)
                except TooLongError:
                    if self.epoch < max(1, NEARLY_DONE * last_step * self.n_epochs / self.n_steps):
                        raise
                    self._is_cut = True
                else:
                    self._look()

    def result(self) -> tuple[nn.Module, int]:
        """Return the network with the weights that count, and the number of epochs after which they were taken."""
        module = copy.deepcopy(self._evaluated())
        if self._best is None or not self._best.weights:
            return module, self.epoch
        module.load_state_dict(self._best.weights)
        return module, self._best.epoch

    def state(self) -> Checkpoint:
        """Return all that changes in the course of a training."""
        tensors = {"values": self._parameters.values, "generator": self._generator.get_state()}
        tensors |= prefixed("buffer", dict(self._module.named_buffers()))
        tensors |= prefixed("memory", self._stepper.memory)
        tensors |= prefixed("random", {str(i): state for i, state in enumerate(self._random)})
        values = {"epoch": self.epoch, "step": self.step, "curve": self.curve}
        if self._average is not None:
            tensors["average"] = self._average.vector
        if self._best is not None:
            tensors |= prefixed("best", self._best.weights)
            tensors |= prefixed("prediction", {str(i): one for i, one in enumerate(self.predictions)})
            values |= {"best_epoch": self._best.epoch, "best_loss": self._best.loss}
        return Checkpoint(tensors, values)

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from the state of a training of the same configuration, rows and seed."""
        tensors, values = checkpoint.tensors, checkpoint.values
        self._parameters.values.copy_(tensors["values"])
        self._generator.set_state(tensors["generator"])
        for name, buffer in self._module.named_buffers():
            buffer.copy_(tensors[f"buffer.{name}"])
        for name, vector in self._stepper.memory.items():
            vector.copy_(tensors[f"memory.{name}"])
        states = part(tensors, "random")
        self._random = [states[str(i)] for i in range(len(states))]
        self.epoch, self.step = values["epoch"], values["step"]
        self.curve = [(epoch, loss) for epoch, loss in values["curve"]]
        if self._average is not None:
            self._average.vector.copy_(tensors["average"])
        if self._best is not None:
            self._best.epoch, self._best.loss = values["best_epoch"], values["best_loss"]
            self._best.weights = part(tensors, "best")
            predictions = part(tensors, "prediction")
            self.predictions = [predictions[str(i)] for i in range(len(predictions))]

    def _run_epoch(self, watch: Foresight, last_step: int) -> None:
        order = torch.randperm(len(self._train.target)).to(self._device)
        inputs = [torch.split(array[order], self._batch_size) for array in self._train.inputs]
        targets = torch.split(self._train.target[order], self._batch_size)
        total = torch.zeros((), device=self._device)
        self._module.train()
        for i, target in enumerate(targets):
            total += self._run_step(Batch(tuple(parts[i] for parts in inputs), target))
            watch.check(self.step, last_step)
        self.epoch += 1
        if not math.isfinite(total.item()):
            raise DivergedError(f"the loss became {total.item()} in step {self.step} of {self.n_steps}")

    def _run_step(self, batch: Batch) -> Tensor:
        if self._augment is not None:
            batch = self._augment(batch, self._generator)
        smoothing = self.config["label_smoothing"]
        scores = self._module(*batch.inputs)
        loss = training_loss(scores, batch.target, is_regression=self.shape.is_regression, smoothing=smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        self._stepper.step(self.step, self._schedule(self.step, self.n_steps))
        if self._average is not None:
            self._average.update(self._parameters.values, self.step)
        self.step += 1
        return loss.detach()

    def _look(self) -> None:
        """Add a point to the learning curve when it is time for one, and remember the best epoch."""
        every = 1 if self._best is not None else math.ceil(self.n_epochs / CURVE_POINTS)
        if self._validation is None or (self.epoch % every and self.epoch != self.n_epochs):
            return
        module, is_regression = self._evaluated(), self.shape.is_regression
        n_rows = self.family.predict_rows
        prediction = predict(module, self._validation.inputs, is_regression=is_regression, n_rows=n_rows)
        loss = validation_loss(prediction, self._validation.target, is_regression=is_regression)
        self.curve.append((self.epoch, loss))
        if self._best is not None:
            self._best.see(self.epoch, loss, module)
            if prediction.numel() * self.n_epochs <= MOST_KEPT:
                self.predictions.append(prediction)

    def _evaluated(self) -> nn.Module:
        """Return the network that would be used now: with averaged weights, if there are."""
        if self._average is None:
            return self._module
        module = copy.deepcopy(self._module)
        averaged = FlatParameters(module, self.family.decayed(module))
        averaged.values.copy_(self._average.vector)
        return module

    def _tensors(self, rows: Rows) -> Batch:
        y = rows.y.astype(np.float32) if rows.y.dtype.kind == "f" else rows.y
        arrays = (torch.from_numpy(array).to(self._device) for array in rows.features.arrays)
        return Batch(tuple(arrays), torch.from_numpy(y).to(self._device))

    @contextmanager
    def _random_state(self, seed: int | None = None) -> Iterator[None]:
        """Use this training's own stream of random numbers, begun anew with a seed; the caller's is untouched."""
        with torch.random.fork_rng():
            if seed is None:
                self._set_random_state(self._random)
            else:
                torch.manual_seed(seed)
            yield
            self._random = self._get_random_state()

    def _get_random_state(self) -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if self._device.type == "cuda" else [])]

    def _set_random_state(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state_all(states[1:])


def predict(module: nn.Module, inputs: tuple[Tensor, ...], *, is_regression: bool, n_rows: int) -> Tensor:
    """Return class probabilities ``(n, k)`` or values ``(n,)``, `n_rows` rows at a time; the module is in eval mode."""
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        parts = zip(*(torch.split(array, n_rows) for array in inputs), strict=True)
        prediction = torch.cat([prediction_of(module(*part), is_regression=is_regression) for part in parts])
    module.train(was_training)
    return prediction
