"""Command line of the language models: `python -m llm_bridge run`, its stages, `matrix`, `study`, `compare`."""

from collections.abc import Callable
from typing import Any

from llm_bridge.bridge import command as bridge
from llm_bridge.matrix import command as matrix
from llm_bridge.pipeline import commands as stages
from llm_bridge.pipeline import run
from llm_bridge.studies import command as studies
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
    studies.StudyOptions: ("study", studies.run),
    bridge.Compare: ("compare", bridge.run),
}
"""Every command: its options, its name and what it does."""


def main() -> None:
    """Run the command line."""
    run_commands("llm_bridge", COMMANDS)


if __name__ == "__main__":
    main()
