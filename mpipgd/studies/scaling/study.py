"""A study: which settings run on how many ranks, how often, and where they are kept.

strong    the same rows and, for `sync`, the same global batch, shared by more ranks
weak      rows in proportion to the ranks, the same batch for each of them

Workers are ranks, unless --workers says otherwise: then a study in strong mode runs the
very same workers, and gets the very same weights, on each number of ranks.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...atomic_file import atomic_write_text
from ...config import toml
from ...config.options import TrainConfig
from ...errors import CheckpointError, UsageError
from ...reporting.run_folder import file_name

MODES = ("strong", "weak")


@dataclass(frozen=True)
class Point:
    """One run of a study."""

    mode: str
    label: str
    ranks: int
    repeat: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        label = file_name(self.label)
        return f"{self.mode}-{label}-{self.ranks:04d}-{self.repeat}"


@dataclass(frozen=True)
class Study:
    """What is to be run; `name` is that of the data, `settings` label -> options."""

    name: str
    settings: dict[str, TrainConfig]
    ranks: tuple[int, ...]
    modes: tuple[str, ...] = ("strong",)
    repeat: int = 5
    global_batch: int | None = None

    def __post_init__(self) -> None:
        for label, options in self.settings.items():
            if options.workers and "weak" in self.modes:
                raise UsageError(
                    f"--workers {options.workers}: --mode weak has as many as ranks"
                )
            if self._shares_batch("strong", options):
                self._check_batch(label, self.batch(options))

    def _check_batch(self, label: str, batch: int) -> None:
        for ranks in self.ranks:
            if batch % ranks:
                raise UsageError(
                    f"{label}: {ranks} ranks cannot share a global batch of {batch} "
                    "equally: see --global-batch"
                )

    def _shares_batch(self, mode: str, options: TrainConfig) -> bool:
        return mode == "strong" and options.strategy == "sync" and not options.workers

    def batch(self, options: TrainConfig) -> int:
        """Return the global batch that ranks share; by default that of most ranks."""
        return self.global_batch or options.batch_size * max(self.ranks)

    def points(self) -> Iterator[Point]:
        """Yield all runs.

        Repeats are the outer loop, so that what disturbs the machine disturbs all.
        """
        for repeat in range(self.repeat):
            for mode in self.modes:
                for label in self.settings:
                    for ranks in self.ranks:
                        yield Point(mode, label, ranks, repeat)

    def options(self, point: Point, folder: Path) -> TrainConfig:
        """Return the options of a point, in the study's folder."""
        base = self.settings[point.label]
        return dataclasses.replace(
            base,
            seed=base.seed + point.repeat,
            run=str(folder / "runs" / point.name),
            quiet=True,
            picture=False,
            # once, at the end: what the disk takes is no matter of scaling
            checkpoint_every=str(max(1, base.epochs)),
            **self.sizes(point.mode, base, point.ranks),
        )

    def sizes(self, mode: str, base: TrainConfig, ranks: int) -> dict[str, Any]:
        """Return the options workers, batch_size and rows_share on so many ranks."""
        changes: dict[str, Any] = {"workers": base.workers or ranks}
        if self._shares_batch(mode, base):
            changes["batch_size"] = max(1, self.batch(base) // ranks)
        if mode == "weak":
            changes["rows_share"] = base.rows_share * ranks / max(self.ranks)
        return changes

    def write(self, folder: Path) -> None:
        """Write the study into its folder; UsageError where there is another one."""
        text = json.dumps(self._plain(), indent=2) + "\n"
        path = Path(folder) / "study.json"
        if path.exists() and path.read_text() != text:
            raise UsageError(f"--out {folder} holds another study: name another folder")
        atomic_write_text(path, text, CheckpointError)

    def _plain(self) -> dict[str, Any]:
        settings = {
            label: toml.to_text(options) for label, options in self.settings.items()
        }
        return vars(self) | {"settings": settings}


def read(folder: str | Path) -> Study:
    """Return the study in a folder; UsageError where there is none."""
    path = Path(folder) / "study.json"
    try:
        plain = json.loads(path.read_text())
        settings = {
            label: TrainConfig(**toml.from_text(text, path))
            for label, text in plain["settings"].items()
        }
        tuples = {key: tuple(plain[key]) for key in ("ranks", "modes")}
        return Study(**plain | tuples | {"settings": settings})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--out {folder}: no study there: {error!r}") from error
