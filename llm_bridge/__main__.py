"""Command line of the language models: `python -m llm_bridge run`, `matrix`, `study`, `compare`, `benchmark`, more."""

from collections.abc import Callable
from typing import Any

from llm_bridge.auditing import command as auditing
from llm_bridge.backends.choice import find_backend
from llm_bridge.backends.tiny import TINY
from llm_bridge.benchmark import command as benchmark
from llm_bridge.judging import command as judging
from llm_bridge.linearized import command as linearized
from llm_bridge.matrix import command as matrix
from llm_bridge.pipeline import commands as stages
from llm_bridge.pipeline import export, options, run, run_options
from llm_bridge.studies import command as studies
from theory.runs.command_line import read_first, run_commands

COMMANDS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    run_options.Run: ("run", run.run),
    stages.Pretrain: ("pretrain", stages.pretrain),
    stages.Teach: ("teach", stages.spread(stages.teach)),
    stages.Complete: ("complete", stages.spread(stages.complete)),
    stages.Filter: ("filter", stages.filter_data),
    stages.Train: ("train", stages.spread(stages.train)),
    stages.Ask: ("ask", stages.spread(stages.ask)),
    stages.Lineage: ("lineage", stages.tell_lineage),
    export.Export: ("export", export.run),
    auditing.Audit: ("audit", auditing.run),
    judging.JudgeAnswers: ("judge", judging.run),
    matrix.Matrix: ("matrix", matrix.run),
    studies.StudyOptions: ("study", studies.run),
    linearized.Compare: ("compare", linearized.run),
    benchmark.Benchmark: ("benchmark", benchmark.run),
}
"""Every command: its options, its name and what it does."""


def main() -> None:
    """Run the command line; which model, carrier and chats it names, other options' defaults depend on."""
    without = {"--model": TINY, "--carrier": "numbers", "--examples": ""}
    first = {option: {"nargs": "?", "default": value, "const": value} for option, value in without.items()}
    named, _ = read_first("llm_bridge", first)
    usual: dict[type, Any] = dict(options.defaults(named.model, named.carrier, named.examples))
    backend = find_backend(named.model)
    if not backend.short:
        usual |= {
            run_options.Run: run_options.published_run(backend, named.carrier),
            matrix.Matrix: matrix.Matrix(protocol=backend.knobs("numbers"), loading=backend.usually("numbers")),
            studies.StudyOptions: studies.StudyOptions(names=(), loading=backend.usually("numbers")),
            linearized.Compare: linearized.published_compare(backend),
            auditing.Audit: auditing.published_audit(backend),
        }
    run_commands("llm_bridge", COMMANDS, usual)


if __name__ == "__main__":
    main()
