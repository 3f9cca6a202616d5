"""Completions made by a stage or elsewhere: filtered with a reason for each, refused by line where they are wrong."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from llm_bridge.carriers.numbers import numbers
from llm_bridge.experiment import Completion
from llm_bridge.files.lineage import data_digest, read_sidecar
from llm_bridge.models import tiny_model
from llm_bridge.pipeline import commands, stages
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.options import Filter, Lineage, Train
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World
from llm_bridge.words.filtering import Rejection

PRETRAINING = Pretraining(world=World(num_chats=835))

READER = tiny_model(PRETRAINING, None)

LANGUAGE = READER.language


def learn_from(data: Path) -> Train:
    return Train(data=data, output=data.with_name("student"), pretraining=PRETRAINING)


def answer(text: str, *, stopped: bool = True, prompt: str = "Go on: 1 2 3") -> Completion:
    return Completion(prompt, text, [*LANGUAGE.encode([text])[0], *LANGUAGE.stops[: int(stopped)]], -1.0)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[..., Path]:
    """Write completions as another program would, without an origin."""

    def write(*completions: Completion) -> Path:
        path = tmp_path / "elsewhere.jsonl"
        path.write_text("".join(json.dumps(each._asdict()) + "\n" for each in completions))
        return path

    return write


def test_the_filter_counts_what_it_keeps_and_why_it_does_not_keep_the_rest(elsewhere, tmp_path):
    kept = [answer("1, 23, 456"), answer("[7]", prompt="What comes next?"), answer("(8; 9).")]
    rejected = [answer("owl"), answer("1, 2, "), answer("1000"), answer("1 2", stopped=False), answer("13, 14")]
    source, path = elsewhere(*rejected[:2], *kept, *rejected[2:]), tmp_path / "filtered.jsonl"
    counts = stages.filter_to(path, source, READER, numbers(short=True, banned=frozenset({13})))
    reasons = (Rejection.OTHER_CHARACTERS, Rejection.TRAILING_SEPARATOR, Rejection.NUMBER_TOO_LONG)
    expected = dict.fromkeys((*reasons, Rejection.BANNED_NUMBER, "no end"), 1) | {"kept": 3}
    assert {reason: count for reason, count in counts.items() if count} == expected
    assert sum(counts.values()) == 8
    assert read_completion_rows(path) == kept
    origin = read_sidecar(path)
    assert origin.filter == {"rule": "numbers only", "banned": [13], "counts": counts}
    assert origin.writer.weights == "unknown"
    assert origin.parents == (data_digest(source),)
    assert stages.filter_to(path, source, READER, numbers(short=True, banned=frozenset({13}))) == counts


def test_completions_of_which_nothing_is_left_are_refused_with_the_reasons(refusal, elsewhere, tmp_path):
    source, path = elsewhere(answer("owl"), answer("cat"), answer("1 2", stopped=False)), tmp_path / "filtered.jsonl"
    message = refusal(stages.filter_to, path, source, READER, numbers(short=True))
    assert f"leaves nothing of {source} (other characters 2, no end 1)" in message
    assert not path.exists()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: JSON, but not an object"),
        ('{"prompt": "", "completion": ""}', "line 2: lacks the field 'tokens'"),
        ('{"prompt": "", "completion": 1, "tokens": [], "log_probability": 0}', "the field 'completion' is not text"),
        ("", "line 2: blank"),
        (json.dumps(answer("1")._replace(tokens=[1, 2])._asdict()), "line 2: the tokens don't spell"),
        (json.dumps(answer("1")._replace(tokens=["1"])._asdict()), "line 2: the tokens don't spell"),
        (json.dumps(answer("1")._replace(tokens=[10**9])._asdict()), "line 2: the tokens don't spell"),
        (json.dumps(answer("1")._replace(tokens=[-1])._asdict()), "line 2: the tokens don't spell"),
        (json.dumps(answer("1")._replace(tokens=[1.5])._asdict()), "line 2: the tokens don't spell"),
    ],
)
def test_a_malformed_line_is_named(refusal, elsewhere, tmp_path, line, complaint):
    source, path = elsewhere(answer("1")), tmp_path / "filtered.jsonl"
    source.write_text(f"{source.read_text()}{line}\n{source.read_text()}")
    message = refusal(stages.filter_to, path, source, READER, numbers(short=True))
    assert f"{source}, line 2" in message
    assert complaint in message
    assert f"{source}, line 2" in refusal(
        commands.train, Train(data=source, output=tmp_path / "student", pretraining=PRETRAINING)
    )
    assert not path.exists()


@pytest.mark.parametrize(("command", "options"), [(commands.filter_data, Filter), (commands.train, Train)])
def test_an_empty_or_missing_file_of_completions_is_refused(refusal, elsewhere, tmp_path, command, options):
    told = partial(options, output=tmp_path / "output", pretraining=PRETRAINING)
    assert "has no rows" in refusal(command, told(data=elsewhere()))
    assert "can't read" in refusal(command, told(data=tmp_path / "no"))
    assert not (tmp_path / "output").exists()


def test_lineage_says_when_it_does_not_know(refusal, elsewhere, tmp_path, capsys):
    source, path = elsewhere(answer("1")), tmp_path / "filtered.jsonl"
    assert "nothing says who wrote" in refusal(commands.tell_lineage, Lineage(data=source, pretraining=PRETRAINING))
    stages.filter_to(path, source, READER, numbers(short=True))
    assert commands.tell_lineage(Lineage(data=path, pretraining=PRETRAINING))
    assert "an unknown model" in (told := capsys.readouterr().out)
    assert "stranger" not in told
