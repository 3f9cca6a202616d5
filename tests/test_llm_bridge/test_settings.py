"""What records say of options: today's commands ask for the committed records, whatever options came since."""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import pytest

import figures
from figures.exhibits import EXHIBITS, Exhibit
from figures.runs import FULL, NEEDED
from llm_bridge import __main__ as command_line
from llm_bridge.auditing import command as auditing
from llm_bridge.backends import published
from llm_bridge.benchmark import command as benchmark
from llm_bridge.files.settings import SIZES, without_sizes, written_down
from llm_bridge.linearized import command as bridge
from llm_bridge.matrix import command as matrix
from llm_bridge.model.recipes import Recipe
from llm_bridge.pipeline import run
from llm_bridge.pipeline.arms import choose_arms
from llm_bridge.studies import command as studies

READ = cache(published.read_reader)
"""A model's tokenizer, which takes seconds to read, once for all records."""

RECORDED = [exhibit for exhibit in EXHIBITS if exhibit.command[0] == "llm_bridge"]


class Asked(Exception):  # noqa: N818
    """What a command asks for."""


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Exhibit], Any]]:
    """Give what a command would record, without computing it."""
    monkeypatch.setattr(published, "read_reader", READ)

    def record(command: str, options: object, config: dict[str, Any], *_: object) -> None:
        raise Asked({"command": command, **config})

    for module in (auditing, benchmark, bridge, matrix, run, studies):
        monkeypatch.setattr(module, "record_run", record)

    def asked(exhibit: Exhibit) -> Any:
        arguments = [*exhibit.arguments, *exhibit.full_arguments]
        arguments += ["--num-seeds", str(FULL[exhibit.folder])] if exhibit.folder in FULL else []
        monkeypatch.chdir(Path(figures.__path__[0]).parent)
        monkeypatch.setattr(sys, "argv", ["llm_bridge", exhibit.command[1], *arguments])
        with pytest.raises(Asked) as caught:
            command_line.main()
        return json.loads(json.dumps(caught.value.args[0]))

    yield asked
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("exhibit", RECORDED, ids=lambda exhibit: exhibit.folder)
def test_the_committed_records_are_what_the_commands_ask_for(exhibit, ask, monkeypatch):
    """Where a model's extra isn't installed, the record says which model it is."""
    committed = Path(figures.__path__[0], exhibit.folder, "config.json")
    if exhibit.needs and find_spec(NEEDED[exhibit.needs]) is None:
        if exhibit.command[1] == "audit":
            pytest.skip("an audit reads its data with the model's tokenizer")
        monkeypatch.setattr(benchmark, "require_torch", lambda: None)
        recorded = json.loads(committed.read_text())
        monkeypatch.setattr(
            published.Published, "identity", lambda model: recorded["stranger" if model.altered else "model"]
        )
        monkeypatch.setattr(published.Published, "placed", lambda *_: nullcontext())
        monkeypatch.setattr(run, "check", lambda options: choose_arms(options.arms))
        for command, name in itertools.product((bridge, matrix), ("check", "require_relatives")):
            monkeypatch.setattr(command, name, lambda *_, **__: None)
    assert ask(exhibit) == json.loads(committed.read_text())
    assert ask(exhibit._replace(full_arguments=(*exhibit.full_arguments, "--seed", "77"))) != json.loads(
        committed.read_text()
    )


def test_options_that_came_later_are_written_down_once_they_are_used():
    assert written_down(Recipe()).keys() == written_down(Recipe(rank=3)).keys()
    used = written_down(Recipe(optimizer="sgd", recompute="layers"))
    assert used.keys() - written_down(Recipe()).keys() == {"optimizer", "recompute"}
    assert not without_sizes(replace(Recipe(), rows_at_once=2)).keys() & SIZES
