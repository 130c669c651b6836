"""One rank's share of a run: its rows, the parts of the loop, the run folder."""

import contextlib
import pathlib
from time import perf_counter

import numpy as np

from ..comm import mpi
from ..config import toml
from ..data.load import load
from ..errors import MpipgdError, UsageError
from ..objectives import build_objective
from ..plan import partition
from ..reporting import report, run_folder, trace
from ..reporting.console import Console, NullConsole
from ..reporting.timing import Clock
from ..reporting.trace import Trace
from ..transforms.optimizers import flatten
from . import checkpoint, loop
from . import summary as outcome
from .build import build_training
from .callbacks import (
    CallbackList,
    CheckpointCallback,
    RunContext,
    StopCheck,
    SyncLogger,
)
from .evaluation import SWITCH_TO_LBFGS, Evaluator
from .full_batch import build_full_batch, expect_smooth


class Trainer:
    """A run from its rows to its run folder; collective over the grid's ranks."""

    def __init__(self, options, grid, source, watchdog):
        self.options, self.grid, self.watchdog = options, grid, watchdog
        self.clock, self.header = Clock(), source.header
        if options.trace:
            with mpi.raise_collectively(grid.comm):
                expect_folder(options.trace)
            self.clock.trace = Trace(grid.comm)
        self.compiled = 0.0  # seconds of compiling, or loading, what is called
        with mpi.raise_collectively(grid.comm):
            self.objective = build_objective(options, source.header)
            self.plan = partition.build_plan(options, source.rows["train"])
            self.data = load(
                grid,
                source,
                self.plan,
                self.objective,
                options,
                clock=self.clock,
            )
        self.made = []  # parts, to be freed
        args = options, grid, self.plan, self.objective
        if "lbfgs" in (options.optimizer, options.then):
            expect_smooth(options, self.objective)
        if options.optimizer == "lbfgs":
            first = self.objective.init(np.random.default_rng([options.seed, 0]))
            self._finish(first)
        else:
            self._take(build_training(*args, self.data.train, self.clock))

    def _take(self, parts):
        """Go on with these parts."""
        self.parts = parts
        self.made.append(parts)
        began = perf_counter()
        mpi.node_leader_first(self.grid.node, parts.warm_up)
        self.compiled += perf_counter() - began

    def _finish(self, weights):
        """Go on with a descent over all rows."""
        args = self.options, self.grid, self.plan, self.objective
        self._take(build_full_batch(*args, self.data, self.clock, weights))

    def free(self):
        """Free what the ranks share; collective."""
        for parts in self.made:
            parts.free()
        self.data.free()

    def go(self, found, *, ranks):
        """Train to the end or until a hook says stop; return the summary.

        `found`: the attributes of the checkpoint to go on from, or None.
        """
        if found and found.get("finishing") and not self.parts.solver:
            self._finish(self.parts.store.consensus(0))
        state = self.parts.transform.init(self.parts.store.pull())
        step = found["step"] if found else 0
        scene = self._scene(found)
        for line in report.header_lines(scene, ranks, step):
            scene.console.say(line)
        try:
            if found:
                self._restore(found, state)
            else:
                scene.journal.metric(scene.position("start", 0))
            return self._descend(scene, state, found, ranks)
        except MpipgdError as error:
            ends = {"ranks": ranks, "exit": error.code, "reason": str(error)}
            with contextlib.suppress(
                MpipgdError
            ):  # a full disk must not hide the reason
                scene.journal.json("summary.json", ends)
            raise
        finally:
            scene.console.close()
            scene.journal.close()

    def _scene(self, found):
        """Open run folder and console; return what the hooks look at."""
        options, grid, parts = self.options, self.grid, self.parts
        text = toml.to_text(outcome.with_absolute_paths(options))
        length = found["metrics_bytes"] if found else 0
        hosts = grid.comm.allgather(mpi.host())
        with mpi.raise_collectively(grid.comm):
            make = mpi.root_else(
                grid.comm, run_folder.RunFolder, run_folder.NullRunFolder
            )
            book = make(options.run, length=length)
            book.text("config.toml", text)
            book.json("env.json", run_folder.environment(mpi.library(), hosts))
        shown = mpi.root_else(grid.comm, not options.quiet, False)
        score = "R²" if self.header.task == "regression" else "accuracy"
        console = Console(steps=parts.steps, score=score) if shown else NullConsole()
        return RunContext(
            options,
            grid,
            self.plan,
            self.objective,
            self.data,
            parts,
            self.clock,
            book,
            console,
            text,
        )

    def _restore(self, found, state):
        with mpi.raise_collectively(self.grid.comm):
            checkpoint.restore(
                found["path"], self.grid, self.parts.store, flatten(state)
            )
        self.parts.store.restore(found["step"])

    def _descend(self, scene, state, found, ranks):
        """Run the loop with its hooks; leave the results; return the summary."""
        step = found["step"] if found else 0
        evaluate = Evaluator(scene)
        save = CheckpointCallback(scene, evaluate)
        poll = StopCheck(scene, self.watchdog, step=step)
        hooks = CallbackList(scene, save, SyncLogger(scene), poll, evaluate, save)
        if found:
            save.resume(found)
        self.clock.start(seconds=found["seconds"] if found else 0.0)
        step = self._loop(hooks, state, step)
        if hooks.reason == SWITCH_TO_LBFGS:
            hooks.reason = None
            state = self._switch(scene, step)
            save.save(step, state)
            step = self._loop(hooks, state, step)
        record = evaluate.final_record(step)
        summary = outcome.summarize(self, record, ranks, hooks.reason)
        scene.journal.metric(scene.position("end", step))
        if self.options.trace:
            trace.write(self.clock.trace, self.grid.comm, self.options.trace)
        outcome.write_results(self, scene, summary)
        return summary

    def _loop(self, hooks, state, step):
        parts = self.parts
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is looked for
            return loop.train(
                parts.gradient,
                parts.transform,
                parts.store,
                hooks,
                state=state,
                step=step,
                steps=parts.steps,
                descend=parts.descend,
            )

    def _switch(self, scene, step):
        """Go on from the model there is by `--then`; return the new state."""
        scene.journal.metric(scene.position("switch", step))
        scene.console.say(f"SGD stalled after step {step:,}: on by L-BFGS")
        with self.clock.paused("compile"):
            self._finish(self.parts.store.consensus(step).copy())
        scene.parts = self.parts
        return self.parts.transform.init(self.parts.store.pull())


def expect_folder(path):
    """Raise UsageError where a file cannot be, for there is no folder for it."""
    if not pathlib.Path(path).absolute().parent.is_dir():
        raise UsageError(f"--trace {path}: there is no such folder")
