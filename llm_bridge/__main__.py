"""Command line of the comparison with language models: `python -m llm_bridge run`, its stages, `matrix`, `compare`."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from llm_bridge.bridge import command as bridge
from llm_bridge.matrix import command as matrix
from llm_bridge.models import TINY, is_tiny
from llm_bridge.pipeline import commands as stages
from llm_bridge.pipeline import options, run
from theory.command_line import run_commands

COMMANDS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    run.Run: ("run", run.run),
    stages.Pretrain: ("pretrain", stages.pretrain),
    stages.Teach: ("teach", stages.teach),
    stages.Complete: ("complete", stages.complete),
    stages.Filter: ("filter", stages.filter_data),
    stages.Train: ("train", stages.train),
    stages.Ask: ("ask", stages.ask),
    stages.Lineage: ("lineage", stages.tell_lineage),
    matrix.Matrix: ("matrix", matrix.run),
    bridge.Compare: ("compare", bridge.run),
}
"""Every command: its options, its name and what it does."""


def named_model(arguments: Sequence[str]) -> str:
    """Find out which model a command line names, as the defaults of all other options depend on it.

    Args:
        arguments: The command line.

    Returns:
        The model's name.
    """
    for argument, following in zip(arguments, [*arguments[1:], TINY], strict=True):
        if argument == "--model":
            return following
        if argument.startswith("--model="):
            return argument.removeprefix("--model=")
    return TINY


def main() -> None:
    """Run the command line."""
    name = named_model(sys.argv)
    run_commands(
        "llm_bridge", COMMANDS, options.defaults(name) | ({} if is_tiny(name) else {run.Run: run.PUBLISHED_RUN})
    )


if __name__ == "__main__":
    main()
