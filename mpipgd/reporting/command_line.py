"""Commands that are printed, so that they work in the shell they are printed in."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def command_line(*words: str | os.PathLike[str]) -> str:
    """Return the line that runs a command of this mpipgd, its words quoted."""
    return shlex.join([*_program(), *map(str, words)])


def _program() -> list[str]:
    """Return `mpipgd` or `python -m mpipgd` where the PATH leads here, else a path."""
    home = Path(sys.executable).parent
    for name, words in (("mpipgd", []), ("python", ["-m", "mpipgd"])):
        on_path = shutil.which(name)
        if on_path and Path(on_path).parent == home:
            return [name, *words]
    return [os.path.relpath(sys.executable) if _below(home) else sys.executable,
            "-m", "mpipgd"]  # fmt: skip


def _below(folder: Path) -> bool:
    return folder.is_relative_to(Path.cwd())
