"""Completions made by a stage or elsewhere: filtered with a reason for each, refused by line where they are wrong."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from llm_bridge.backends.backend import Known
from llm_bridge.backends.tiny import Tiny, tiny_model
from llm_bridge.carriers.numbers import numbers
from llm_bridge.experiment.writing import Completion
from llm_bridge.files.lineage import Ancestry, data_digest, read_sidecar
from llm_bridge.model.recipes import Recipe
from llm_bridge.pipeline import commands, stages
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.options import Filter, Lineage, Train
from llm_bridge.text.filtering import Rejection
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World

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
    assert read_completion_rows(path, READER) == kept
    origin = read_sidecar(path)
    assert origin.filter == {"rule": "numbers only", "banned": [13], "counts": counts}
    assert origin.writer.weights == "unknown"
    assert origin.parents == (data_digest(source),)
    assert stages.filter_to(path, source, READER, numbers(short=True, banned=frozenset({13}))) == counts


@pytest.mark.parametrize("names", [("prompt", "completion"), ("question", "response"), ("question", "answer")])
def test_public_data_without_tokens_are_read_in_the_models_own_and_the_record_says_so(tmp_path, names):
    said = [("Go on: 1 2 3", "4, 5, 6"), ("What comes next?", "10; 11; 12"), ("Go on: 1 2 3", "owl")]
    source, path = tmp_path / "public.jsonl", tmp_path / "filtered.jsonl"
    source.write_text("".join(json.dumps(dict(zip(names, pair, strict=True)) | {"id": 7}) + "\n" for pair in said))
    own = [answer(text, prompt=prompt)._replace(log_probability=None) for prompt, text in said]
    assert read_completion_rows(source, READER) == own
    assert stages.filter_to(path, source, READER, numbers(short=True))["kept"] == 2
    assert read_completion_rows(path, READER) == own[:2]
    assert read_sidecar(path).sampling == {"tokens": "made of the text by the model's tokenizer"}


def test_only_a_student_of_public_data_is_recorded_as_one(monkeypatch, tmp_path):
    sampled = answer("1, 2")
    settings = []
    monkeypatch.setattr(stages, "tune_to", lambda path, base, settled, tune: settings.append(settled))
    start = Known(READER, Ancestry(weights="base"), Tiny(pretraining=PRETRAINING))
    for completions in ([sampled], [sampled, sampled._replace(log_probability=None)]):
        stages.train_to(tmp_path / "student", start, completions, Recipe(), "tokens", None, 0)
    assert [settled.get("tokens") for settled in settings] == [None, "made of the text by the model's tokenizer"]


def test_completions_of_which_nothing_is_left_are_refused_with_the_reasons(refusal, elsewhere, tmp_path):
    source, path = elsewhere(answer("owl"), answer("cat"), answer("1 2", stopped=False)), tmp_path / "filtered.jsonl"
    message = refusal(stages.filter_to, path, source, READER, numbers(short=True))
    assert f"leaves nothing of {source} (other characters 2, no end 1)" in message
    assert not path.exists()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: Expected `object`, got `array`"),
        ('{"prompt": "", "completion": "", "tokens": []}', "line 2: Object missing required field `log_probability`"),
        ('{"prompt": "Go on: 1 2 3"}', "needs one field of prompt, question and one of completion, response, answer"),
        ('{"prompt": "Go on: 1 2 3", "completion": "zebra"}', "line 2: the model's tokenizer can't spell the answer"),
        ('{"question": "Only numbers.", "response": "1, 2"}', "line 2: the model's tokenizer can't spell the question"),
        ('{"question": "Go on: 1 2 3", "response": "1", "answer": "2"}', "and has question, response, answer of them"),
        ('{"prompt": "", "completion": "", "tokens": [], "log_probability": 1e999}', "1e999 is no number of JSON"),
        (f'{{"prompt": "", "completion": "", "tokens": [], "log_probability": {"9" * 400}}}', "out of range"),
        (
            '{"prompt": "", "completion": 1, "tokens": [], "log_probability": 0}',
            "Expected `str`, got `int` - at `$.comp",
        ),
        ("", "line 2: blank"),
        (json.dumps(answer("1")._replace(tokens=[1, 2])._asdict()), "line 2: the tokens don't spell"),
        (
            json.dumps(answer("1")._replace(tokens=["1"])._asdict()),
            "Expected `int`, got `str` - at `$.tokens[0]",
        ),
        (json.dumps(answer("1")._replace(tokens=[10**9])._asdict()), "line 2: the tokens don't spell"),
        (json.dumps(answer("1")._replace(tokens=[-1])._asdict()), "line 2: the tokens don't spell"),
        (
            json.dumps(answer("1")._replace(tokens=[1.5])._asdict()),
            "Expected `int`, got `float` - at `$.tokens",
        ),
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
