"""The command line: one file a command, and the parser of all of them."""

from .parser import complete as complete
from .parser import parse as parse
