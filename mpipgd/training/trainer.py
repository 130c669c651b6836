"""One rank's training run: its rows, what the loop runs, the run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import interrupts
from ..comm import mpi
from ..config import toml
from ..data.load import load
from ..errors import DivergenceError, MpipgdError, UsageError
from ..objectives import build_objective
from ..plan.partition import build_plan
from ..reporting import report, run_folder
from ..reporting import trace as traces
from ..reporting.console import Console, NullConsole
from ..reporting.timing import Clock
from ..reporting.trace import Trace
from ..transforms.base import flatten
from . import checkpoint, loop, summary
from .build import (
    TrainingComponents,
    build_full_batch,
    build_training,
    standardize_target,
)
from .callbacks import (
    CallbackList,
    CheckpointCallback,
    RunContext,
    StopCheck,
    SyncLogger,
)
from .evaluation import SWITCH_TO_LBFGS, Best, Evaluator
from .full_batch import expect_smooth

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..comm.topology import Grid
    from ..config.options import TrainConfig
    from ..data.hdf5.source import Source
    from ..plan.base import Plan
    from .watchdog import Watchdog


@dataclass(frozen=True)
class Resume:
    """A checkpoint to go on from: its path, and the attributes stored in it."""

    path: pathlib.Path
    attributes: dict[str, Any]

    @property
    def step(self) -> int:
        """The number of updates after which it was made."""
        return int(self.attributes["step"])

    def step_of(self, plan: Plan) -> int:
        """Return its step by this plan.

        Older versions counted several steps for an iteration of L-BFGS.
        """
        if plan.steps == 1:
            return int(self.attributes["epoch"])
        return self.step

    @property
    def full_batch(self) -> bool:
        """Whether L-BFGS had taken over; "finishing" is the name in checkpoints."""
        return bool(self.attributes.get("finishing"))

    @property
    def lbfgs_from(self) -> int | None:
        """The step from which on L-BFGS trained; None if it did not, or is unknown."""
        step = int(self.attributes.get("lbfgs_from", -1))
        return None if step < 0 else step

    def best_with(self, data_signature: str) -> Best:
        """Return the best of the run so far; nothing where the data has changed."""
        if self.attributes.get("data_signature", data_signature) != data_signature:
            return Best()
        fields = {
            field: self.attributes[f"best_{field}"]
            for field in Best._fields
            if f"best_{field}" in self.attributes
        }
        return Best(**fields)


class Trainer:
    """A training run from its rows to its run folder; collective over the grid's ranks.

    data_signature: of the files, goes into checkpoints and the model. fuse_steps: take
    many steps in one compiled call where it is possible.
    """

    def __init__(
        self,
        options: TrainConfig,
        grid: Grid,
        source: Source,
        watchdog: Watchdog,
        *,
        data_signature: str = "",
        fuse_steps: bool = True,
    ) -> None:
        self.data_signature = data_signature
        self.options, self.grid, self.watchdog = options, grid, watchdog
        self.source, self.header = source, source.header
        trace = None
        if options.trace:
            with mpi.raise_collectively(grid.comm):
                expect_folder(options.trace)
            trace = Trace(grid.comm)
        self.clock = Clock(trace=trace)
        self.compile_seconds = 0.0  # of compiling, or loading, kernels
        with mpi.raise_collectively(grid.comm):
            self.objective = build_objective(options, source.header)
            self.plan = build_plan(_plan_options(options, source), source.rows["train"])
        self.objective = standardize_target(
            self.objective, grid, source, self.plan, options
        )
        with mpi.raise_collectively(grid.comm):
            self.data = load(
                grid, source, self.plan, self.objective, options, clock=self.clock
            )
        self._to_free: list[TrainingComponents] = []
        if "lbfgs" in (options.optimizer, options.then):
            expect_smooth(options, self.objective)
        if options.optimizer == "lbfgs":
            weights = self.objective.init(np.random.default_rng([options.seed, 0]))
            self.components = self._full_batch(weights)
        else:
            self.components = self._warmed_up(
                build_training(
                    options,
                    grid,
                    self.plan,
                    self.objective,
                    self.data.train,
                    self.clock,
                    fuse_steps=fuse_steps,
                )
            )

    def _warmed_up(self, components: TrainingComponents) -> TrainingComponents:
        """Compile the kernels of components, which `free` frees; return them."""
        self._to_free.append(components)
        began = perf_counter()
        mpi.node_leader_first(self.grid.node, components.stepper.warm_up)
        self.compile_seconds += perf_counter() - began
        return components

    def _full_batch(self, weights: FloatArray) -> TrainingComponents:
        """Return the components of training by L-BFGS from some weights."""
        return self._warmed_up(
            build_full_batch(
                self.options,
                self.grid,
                self.plan,
                self.objective,
                self.data.train,
                self.clock,
                weights,
            )
        )

    def free(self) -> None:
        """Free what the ranks share; collective."""
        for components in self._to_free:
            components.free()
        self.data.free()

    def run(self, resume: Resume | None, *, ranks: int) -> dict[str, Any]:
        """Train to the end, or until a callback says stop; return the summary.

        ranks: of the whole run, with those that have no worker.
        """
        with interrupts.stops_between_steps():
            return self._run(resume, ranks)

    def _run(self, resume: Resume | None, ranks: int) -> dict[str, Any]:
        components = self.components
        if resume and resume.full_batch and not components.stepper.full_batch:
            components = self._full_batch(components.store.consensus(0))
        step = resume.step_of(self.plan) if resume else 0
        context = self._open(components, resume)
        for line in report.header_lines(context, ranks, step):
            context.console.say(line)
        try:
            if resume:
                self._restore(components, resume)
            else:
                context.run_folder.metric(context.record("start", 0))
            return self._train(context, resume, ranks)
        except MpipgdError as error:
            with contextlib.suppress(MpipgdError):  # a full disk must not hide `error`
                summary.write_failure(context, error, ranks)
            raise
        finally:
            context.console.close()
            context.run_folder.close()

    def _open(
        self, components: TrainingComponents, resume: Resume | None
    ) -> RunContext:
        """Open run folder and console; return what the callbacks may read."""
        options, comm = self.options, self.grid.comm
        text = toml.to_text(summary.with_absolute_paths(options))
        length = resume.attributes["metrics_bytes"] if resume else 0
        lbfgs_from = resume.lbfgs_from if resume else None
        if options.optimizer == "lbfgs":
            lbfgs_from = 0
        hosts = comm.allgather(mpi.host())
        with mpi.raise_collectively(comm):
            open_folder = mpi.root_else(
                comm, run_folder.RunFolder, run_folder.NullRunFolder
            )
            folder = open_folder(options.run, length=length)
            folder.text("config.toml", text)
            folder.json("env.json", run_folder.environment(mpi.library(), hosts))
        console: Console | NullConsole = NullConsole()
        if mpi.root_else(comm, not options.quiet, False):
            score = "R²" if self.header.task == "regression" else "accuracy"
            console = Console(steps=components.steps, score=score)
        return RunContext(
            options=options,
            grid=self.grid,
            plan=self.plan,
            objective=self.objective,
            source=self.source,
            data=self.data,
            components=components,
            clock=self.clock,
            run_folder=folder,
            console=console,
            config_text=text,
            data_signature=self.data_signature,
            lbfgs_from=lbfgs_from,
        )

    def _restore(self, components: TrainingComponents, resume: Resume) -> None:
        """Go on with the arrays and the clock of a checkpoint."""
        state = flatten(components.stepper.state)
        with mpi.raise_collectively(self.grid.comm):
            checkpoint.restore(resume.path, self.grid, components.store, state)
        components.store.restore(resume.step_of(self.plan))
        self.clock.resume(
            exchange=resume.attributes["exchange"],
            bytes_sent=resume.attributes["sent"],
        )

    def _train(
        self, context: RunContext, resume: Resume | None, ranks: int
    ) -> dict[str, Any]:
        """Run the loop with its callbacks; write the results; return the summary."""
        step = resume.step_of(self.plan) if resume else 0
        best = resume.best_with(self.data_signature) if resume else None
        evaluator = Evaluator(context, best=best)
        saved_step = step if resume else -1
        save = CheckpointCallback(context, evaluator, last_saved_step=saved_step)
        self.clock.start(seconds=resume.attributes["seconds"] if resume else 0.0)
        if not resume:
            evaluator.start()
        step, reason = self._loop(context, evaluator, save, step)
        if reason == SWITCH_TO_LBFGS:
            context = self._switch_to_lbfgs(context, step)
            evaluator = Evaluator(
                context, best=evaluator.best, last_record=evaluator.last_record
            )
            save = CheckpointCallback(context, evaluator)
            save.save(step, context.components.stepper.state)
            step, reason = self._loop(context, evaluator, save, step)
        record = evaluator.final_record(step)
        results = summary.summarize(
            context,
            record,
            ranks,
            reason,
            self.compile_seconds,
            start_loss=evaluator.best.start,
            climbed=evaluator.climbed(record),
        )
        context.run_folder.metric(context.record("end", step))
        if evaluator.climbed(record) and not self.options.allow_climb:
            raise self._climbed(record["loss"], evaluator.best)
        if self.clock.trace is not None and self.options.trace:
            traces.write(self.clock.trace, self.grid.comm, self.options.trace)
        summary.write_results(context, results)
        return results

    def _climbed(self, loss: float, best: Best) -> DivergenceError:
        """Return the error of a run that ends above its start."""
        folder, lr = self.options.run, self.options.lr
        rate = "" if self.options.optimizer == "lbfgs" else f" at --lr {lr:g}"
        kept = ""
        if best.loss < best.start:
            kept = f"; the best checkpoint, after step {best.step:,}, is kept"
        return DivergenceError(
            f"diverged: the training loss rose from {best.start:.6g} to {loss:.6g}"
            f"{rate}: try a smaller --lr, or --resume {folder} --allow-climb to take "
            f"the model as it is{kept}",
            agreed=True,
        )

    def _loop(
        self,
        context: RunContext,
        evaluator: Evaluator,
        save: CheckpointCallback,
        step: int,
    ) -> tuple[int, str | None]:
        components = context.components
        callbacks = CallbackList(
            context,
            save,
            SyncLogger(context),
            StopCheck(context, self.watchdog, step=step),
            evaluator,
            save,
        )
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is checked for
            return loop.train(
                components.stepper,
                components.store,
                callbacks,
                step=step,
                steps=components.steps,
            )

    def _switch_to_lbfgs(self, context: RunContext, step: int) -> RunContext:
        """Go on from the present model by `--then`; return the new context."""
        context.run_folder.metric(context.record("switch", step))
        context.console.say(f"SGD stalled after step {step:,}: on by L-BFGS")
        with self.clock.paused("compile"):
            weights = context.components.store.consensus(step).copy()
            components = self._full_batch(weights)
        return dataclasses.replace(context, components=components, lbfgs_from=step)


def _plan_options(options: TrainConfig, source: Source) -> TrainConfig:
    """Return the options of the plan: an iteration of L-BFGS is a step of all rows."""
    if options.optimizer != "lbfgs":
        return options
    return dataclasses.replace(options, batch_size=max(1, source.rows["train"]))


def expect_folder(path: str) -> None:
    """Raise UsageError where a file cannot be written: its folder does not exist."""
    if not pathlib.Path(path).absolute().parent.is_dir():
        raise UsageError(f"--trace {path}: there is no such folder")
