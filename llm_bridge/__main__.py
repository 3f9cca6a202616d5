"""Command line of the language models: `python -m llm_bridge run`, `matrix`, `study`, `compare`, `benchmark`, more."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from llm_bridge.benchmark import command as benchmark
from llm_bridge.bridge import command as bridge
from llm_bridge.judging import command as judging
from llm_bridge.matrix import command as matrix
from llm_bridge.models import TINY, is_tiny
from llm_bridge.pipeline import commands as stages
from llm_bridge.pipeline import options, run, run_options
from llm_bridge.studies import command as studies
from theory.runs.command_line import run_commands

COMMANDS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    run_options.Run: ("run", run.run),
    stages.Pretrain: ("pretrain", stages.pretrain),
    stages.Teach: ("teach", stages.spread(stages.teach)),
    stages.Complete: ("complete", stages.spread(stages.complete)),
    stages.Filter: ("filter", stages.filter_data),
    stages.Train: ("train", stages.spread(stages.train)),
    stages.Ask: ("ask", stages.spread(stages.ask)),
    stages.Lineage: ("lineage", stages.tell_lineage),
    judging.JudgeAnswers: ("judge", judging.run),
    matrix.Matrix: ("matrix", matrix.run),
    studies.StudyOptions: ("study", studies.run),
    bridge.Compare: ("compare", bridge.run),
    benchmark.Benchmark: ("benchmark", benchmark.run),
}
"""Every command: its options, its name and what it does."""


def named(arguments: Sequence[str], option: str, default: str) -> str:
    """Find out what a command line says of an option that the defaults of others depend on.

    Args:
        arguments: The command line.
        option: The option, with its dashes.
        default: What holds if it says nothing.

    Returns:
        The option's value.
    """
    for argument, following in zip(arguments, [*arguments[1:], default], strict=True):
        if argument == option:
            return following
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}=")
    return default


def main() -> None:
    """Run the command line."""
    name, carrier = named(sys.argv, "--model", TINY), named(sys.argv, "--carrier", "numbers")
    examples = named(sys.argv, "--examples", "")
    of_run = {} if is_tiny(name) else {run_options.Run: run_options.published_run(carrier)}
    run_commands("llm_bridge", COMMANDS, options.defaults(name, carrier, examples) | of_run)


if __name__ == "__main__":
    main()
