"""A study: which settings run on how many ranks, how often, and where they are kept.

strong    the same rows and, for `sync`, the same global batch, shared by more ranks
weak      rows in proportion to the ranks, the same batch for each of them

Workers are ranks, unless --workers says otherwise: then a study in strong mode runs the
very same workers, and gets the very same weights, on each number of ranks.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from ...atomic_file import atomic_replace
from ...config import toml
from ...config.options import TrainConfig
from ...errors import CheckpointError, UsageError

MODES = ("strong", "weak")


@dataclass(frozen=True)
class Point:
    """One run of a study."""

    mode: str
    label: str
    ranks: int
    repeat: int

    @property
    def name(self):
        """The name of its folder."""
        label = "".join(c if c.isalnum() else "-" for c in self.label)
        return f"{self.mode}-{label}-{self.ranks:04d}-{self.repeat}"


@dataclass(frozen=True)
class Study:
    """What is to be run: `settings` are label -> options.Train, without workers of."""

    name: str  # of the data
    settings: dict
    ranks: tuple
    modes: tuple = ("strong",)
    repeat: int = 5
    global_batch: int | None = None

    def __post_init__(self):
        for label, each in self.settings.items():
            if each.workers and "weak" in self.modes:
                raise UsageError(
                    f"--workers {each.workers}: --mode weak has as many as ranks"
                )
            if self._shares_batch("strong", each):
                self._check_batch(label, self.batch(each))

    def _check_batch(self, label, batch):
        for ranks in self.ranks:
            if batch % ranks:
                raise UsageError(
                    f"{label}: {ranks} ranks cannot share a global batch of {batch} "
                    "equally: see --global-batch"
                )

    def _shares_batch(self, mode, options):
        return mode == "strong" and options.strategy == "sync" and not options.workers

    def batch(self, options):
        """Return the global batch that ranks share: that of the most ranks."""
        return self.global_batch or options.batch_size * max(self.ranks)

    def points(self):
        """Yield all runs; repeats are the outer loop, so that what disturbs the machine
        disturbs all of them."""
        for repeat in range(self.repeat):
            for mode in self.modes:
                for label in self.settings:
                    for ranks in self.ranks:
                        yield Point(mode, label, ranks, repeat)

    def options(self, point, folder):
        """Return the options (`options.Train`) of a point, in the study's folder."""
        base = self.settings[point.label]
        changes = {"run": str(folder / "runs" / point.name)}
        changes |= {"quiet": True, "picture": False}
        changes["checkpoint_every"] = str(max(1, base.epochs))  # the disk's time
        changes |= self.sizes(point.mode, base, point.ranks)
        return dataclasses.replace(base, seed=base.seed + point.repeat, **changes)

    def sizes(self, mode, base, ranks):
        """Return workers, batch and share of the rows on so many ranks."""
        changes = {"workers": base.workers or ranks}
        if self._shares_batch(mode, base):
            changes["batch_size"] = max(1, self.batch(base) // ranks)
        if mode == "weak":
            changes["rows_share"] = base.rows_share * ranks / max(self.ranks)
        return changes

    def write(self, folder):
        """Keep the study in its folder; UsageError where there is another one."""
        text = json.dumps(self._plain(), indent=2) + "\n"
        path = Path(folder) / "study.json"
        if path.exists() and path.read_text() != text:
            raise UsageError(f"--out {folder} holds another study: name another folder")
        with atomic_replace(path, CheckpointError) as temporary:
            temporary.write_text(text)

    def _plain(self):
        settings = {k: toml.to_text(each) for k, each in self.settings.items()}
        return vars(self) | {"settings": settings}


def read(folder):
    """Return the study in a folder; UsageError where there is none."""
    path = Path(folder) / "study.json"
    try:
        found = json.loads(path.read_text())
        settings = found["settings"].items()
        options = {k: TrainConfig(**toml.from_text(text, path)) for k, text in settings}
        lists = {key: tuple(found[key]) for key in ("ranks", "modes")}
        return Study(**found | lists | {"settings": options})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--out {folder}: no study there: {error!r}") from error
