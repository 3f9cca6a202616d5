"""Command line of the comparison with language models: `python -m llm_bridge run`, its stages, `matrix`, `compare`."""

from llm_bridge.matrix import command as matrix
from theory.command_line import run_commands


def main() -> None:
    """Run the command line."""
    run_commands("llm_bridge", {matrix.Matrix: ("matrix", matrix.run)})


if __name__ == "__main__":
    main()
