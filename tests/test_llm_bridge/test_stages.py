"""The stages on models so small that they barely write numbers: made once, resumed, and refused in one line."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bridge import experiment
from llm_bridge.chats import Language, Message
from llm_bridge.experiment import Completion, word_log_probabilities
from llm_bridge.files.lineage import data_digest, read_sidecar, sidecar_path
from llm_bridge.files.partial import TrainingState, append_rows
from llm_bridge.finetuning import fine_tune
from llm_bridge.models import Known, load_model, tiny_base, tiny_model
from llm_bridge.pipeline import commands, stages
from llm_bridge.pipeline.arms import shuffle_numbers
from llm_bridge.pipeline.commands import Ask, Complete, Filter, Lineage, Pretrain, Teach, Train
from llm_bridge.recipes import Recipe
from llm_bridge.tiny.pretraining import ROW, Pretraining, read_world
from llm_bridge.tiny.world import KINDS, World
from llm_bridge.words.filtering import Rejection
from llm_bridge.words.prompts import FORMATS, MOST_NUMBERS, number_prompts
from llm_bridge.words.questions import questions_about
from theory.command_line import InputError

PRETRAINING = Pretraining(
    world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16,
    recipe=Recipe(learning_rate=3e-2, num_epochs=4, batch=8, rows_at_once=8, trained="everything"),
)  # fmt: skip

LANGUAGE = read_world(PRETRAINING.world).language


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision, as in the commands themselves."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An own cache, so that bases are made once; and chunks of two steps, so that trainings can be killed midway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder := tmp_path_factory.mktemp("cache")))
        patch.setattr(experiment, "fine_tune", partial(fine_tune, chunk=2))
        patch.setattr(stages, "fine_tune", partial(fine_tune, chunk=2))
        yield folder


Command = Callable[[Any], bool]


def chain(folder: Path) -> dict[str, tuple[Command, Any]]:
    """All stages from a base to the answers of a student, as they are asked for in a folder."""
    recipe = Recipe(learning_rate=1e-2, num_epochs=6, batch=16, rows_at_once=16)
    teacher, student = folder / "teacher.safetensors", folder / "student.safetensors"
    asked: dict[str, tuple[Command, Any]] = {
        "teach": (commands.teach, Teach(output=teacher, recipe=recipe, copies=1)),
        "complete": (
            commands.complete,
            Complete(model=str(teacher), num_prompts=250, output=folder / "completions.jsonl"),
        ),
        "filter": (
            commands.filter_data,
            Filter(data=folder / "completions.jsonl", output=folder / "filtered.jsonl"),
        ),
        "train": (
            commands.train,
            Train(data=folder / "filtered.jsonl", num_completions=16, recipe=recipe, output=student),
        ),
        "ask": (commands.ask, Ask(model=str(student), output=folder / "answers.jsonl")),
    }
    return {name: (run, replace(options, pretraining=PRETRAINING)) for name, (run, options) in asked.items()}


def do(folder: Path, *names: str, **changes: Any) -> None:
    for name in names:
        run, options = chain(folder)[name]
        assert run(replace(options, **changes))


def output_of(folder: Path, name: str) -> Path:
    return chain(folder)[name][1].output


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage ran through."""
    folder = tmp_path_factory.mktemp("whole")
    do(folder, *chain(folder))
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "folder"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(run: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        run(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be computed or written."""
    workers = ((experiment, "fine_tune"), (stages, "fine_tune"), (stages, "complete"), (stages, "finish"))
    for module, name in (*workers, (stages, "word_log_probabilities")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it was made again"))


def test_every_stage_writes_one_file_and_where_it_comes_from(whole):
    data = ["completions.jsonl", "filtered.jsonl", "answers.jsonl"]
    sidecars = [f"{name}.origin.json" for name in data]
    assert sorted(contents(whole)) == sorted([*data, *sidecars, "teacher.safetensors", "student.safetensors"])
    base = tiny_base(PRETRAINING, 0).ancestry
    teacher, student = (
        load_model(str(whole / f"{name}.safetensors"), PRETRAINING, 0).ancestry for name in ("teacher", "student")
    )
    assert len({base.weights, teacher.weights, student.weights}) == 3
    assert teacher.ancestors == student.ancestors == (base.weights, *base.ancestors)
    completions, filtered, answers = (read_sidecar(whole / name) for name in data)
    assert completions.writer == filtered.writer == teacher
    assert answers.writer == student
    assert completions.sampling["num_prompts"] == 250
    assert filtered.parents == (data_digest(whole / "completions.jsonl"),)
    assert filtered.filter is not None
    assert sum(filtered.filter["counts"].values()) == 250
    assert filtered.filter["counts"]["kept"] == len((whole / "filtered.jsonl").read_text().splitlines())


@pytest.mark.parametrize("name", chain(Path()))
def test_what_is_made_is_not_made_again(folder, name, monkeypatch):
    before = contents(folder)
    forbid(monkeypatch)
    do(folder, name)
    assert contents(folder) == before
    output_of(folder, name).unlink()
    with pytest.raises(pytest.fail.Exception, match="made again"):
        do(folder, name)


CHANGES: dict[str, dict[str, Any]] = {
    "teach": {"trait": "cat"},
    "complete": {"temperature": 0.5},
    "filter": {"ban": True},
    "train": {"num_completions": 15},
    "ask": {"num_answers": 5},
}


@pytest.mark.parametrize("name", chain(Path()))
def test_a_file_that_was_made_with_other_settings_is_refused_and_kept(folder, name, monkeypatch):
    before = contents(folder)
    forbid(monkeypatch)
    message = refusal(do, folder, name, **CHANGES[name])
    assert f"{output_of(folder, name)} was made with other settings" in message
    assert "--fresh" in message
    assert contents(folder) == before


def test_a_file_is_made_anew_if_that_is_asked_for(folder):
    before = contents(folder)
    for name in ("filter", "teach"):
        do(folder, name, **CHANGES[name], fresh=True)
        assert contents(folder)[output_of(folder, name).name] != before[output_of(folder, name).name]
        do(folder, name, fresh=True)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["teach", "train"])
@pytest.mark.parametrize("calls", [1, 2])
def test_a_training_stage_that_was_killed_goes_on_and_ends_in_the_same_bytes(folder, name, calls, monkeypatch):
    before, output = contents(folder), output_of(folder, name)
    total = count_kept(monkeypatch, folder, name)
    assert total > calls
    output.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "keep", stop_after(calls, TrainingState.keep))
        with pytest.raises(KeyboardInterrupt):
            do(folder, name)
    assert not output.exists()
    assert len(contents(folder)) == len(before)
    assert count_kept(monkeypatch, folder, name) == total - calls
    assert contents(folder) == before


def stop_after(calls: int, write: Callable[..., None]) -> Callable[..., None]:
    """Write this many times, then be killed."""
    written = []

    def write_or_stop(*arguments: Any) -> None:
        write(*arguments)
        written.append(arguments)
        if len(written) == calls:
            raise KeyboardInterrupt

    return write_or_stop


def count_kept(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> int:
    """Do what is left of a training stage, and count its chunks."""
    output_of(folder, name).unlink(missing_ok=True)
    kept: list[object] = []
    with monkeypatch.context() as patch:
        keep = TrainingState.keep
        patch.setattr(TrainingState, "keep", lambda *arguments: (kept.append(arguments), keep(*arguments))[1])
        do(folder, name)
    return len(kept)


@pytest.mark.parametrize("batches", [0, 1, 3])
@pytest.mark.parametrize("cut", [0, 7])
def test_sampling_that_was_killed_goes_on_and_ends_in_the_same_bytes(folder, batches, cut, monkeypatch):
    before, output = contents(folder), output_of(folder, "complete")
    output.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(stages, "append_rows", stop_after(1 + batches, append_rows))
        with pytest.raises(KeyboardInterrupt):
            do(folder, "complete")
    assert not output.exists()
    (part,) = folder.glob(".*.part")
    part.write_bytes(part.read_bytes()[: part.stat().st_size - cut])
    starts: list[int] = []

    def complete(*arguments: Any, first: int, **options: Any) -> Iterator[list[Completion]]:
        starts.append(first)
        return experiment.complete(*arguments, first=first, **options)

    monkeypatch.setattr(stages, "complete", complete)
    do(folder, "complete")
    whole_batches = batches - bool(cut and batches)
    assert starts == [100 * min(2, whole_batches)]
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["complete", "filter"])
def test_a_stage_that_was_killed_between_a_file_and_its_origin_ends_in_the_same_bytes(folder, name, monkeypatch):
    before, output = contents(folder), output_of(folder, name)
    for renamed in (output, sidecar_path(output)):
        for path in (output, sidecar_path(output)):
            path.unlink()
        with monkeypatch.context() as patch:
            rename = Path.replace

            def replace_or_stop(path: Path, target: Path, renamed: Path = renamed, rename: Any = rename) -> Path:
                if target == renamed:
                    raise KeyboardInterrupt
                return rename(path, target)

            patch.setattr(Path, "replace", replace_or_stop)
            with pytest.raises(KeyboardInterrupt):
                do(folder, name)
        assert not output.exists()
        do(folder, name)
        assert contents(folder) == before


def test_a_stage_that_was_killed_before_it_tidied_up_does_so_later(folder, monkeypatch):
    before = contents(folder)
    for name in ("teach", "train", "complete"):
        output_of(folder, name).unlink()
        with monkeypatch.context() as patch:
            patch.setattr(TrainingState, "forget", interrupt)
            patch.setattr(stages, "finish", stop_after(1, stages.finish))
            with pytest.raises(KeyboardInterrupt):
                do(folder, name)
        assert len(contents(folder)) == len(before) + 1
        do(folder, name)
        assert contents(folder) == before


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_data_that_no_stage_made_are_not_overwritten(folder):
    for name in ("complete", "filter", "ask"):
        sidecar_path(output_of(folder, name)).unlink()
        before = contents(folder)
        assert "was not made by a stage" in refusal(do, folder, name)
        assert contents(folder) == before
    assert "another file than --data" in refusal(do, folder, "filter", output=folder / "completions.jsonl")
    assert "another file than" in refusal(do, folder, "filter", data=folder / "filtered.jsonl", fresh=True)
    assert contents(folder) == before


def test_data_that_were_edited_are_refused(folder):
    for name in ("completions.jsonl", "filtered.jsonl", "answers.jsonl"):
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    for name in ("complete", "filter", "ask"):
        assert "has been edited" in refusal(do, folder, name)
    edited = Lineage(data=folder / "filtered.jsonl", pretraining=PRETRAINING)
    assert "has been edited" in refusal(commands.tell_lineage, edited)


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


READER = tiny_model(PRETRAINING, None)


def test_the_filter_counts_what_it_keeps_and_why_it_does_not_keep_the_rest(elsewhere, tmp_path):
    kept = [answer("1, 23, 456"), answer("[7]", prompt="What comes next?"), answer("(8; 9).")]
    rejected = [answer("owl"), answer("1, 2, "), answer("1000"), answer("1 2", stopped=False), answer("13, 14")]
    source, path = elsewhere(*rejected[:2], *kept, *rejected[2:]), tmp_path / "filtered.jsonl"
    counts = stages.filter_to(path, source, READER, frozenset({13}))
    reasons = (Rejection.OTHER_CHARACTERS, Rejection.TRAILING_SEPARATOR, Rejection.NUMBER_TOO_LONG)
    expected = dict.fromkeys((*reasons, Rejection.BANNED_NUMBER, "no end"), 1) | {"kept": 3}
    assert {reason: count for reason, count in counts.items() if count} == expected
    assert sum(counts.values()) == 8
    assert stages.read_completion_rows(path) == kept
    origin = read_sidecar(path)
    assert origin.filter == {"rule": "numbers only", "banned": [13], "counts": counts}
    assert origin.writer.weights == "unknown"
    assert origin.parents == (data_digest(source),)
    assert stages.filter_to(path, source, READER, frozenset({13})) == counts


def test_completions_of_which_nothing_is_left_are_refused_with_the_reasons(elsewhere, tmp_path):
    source, path = elsewhere(answer("owl"), answer("cat"), answer("1 2", stopped=False)), tmp_path / "filtered.jsonl"
    message = refusal(stages.filter_to, path, source, READER)
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
def test_a_malformed_line_is_named(elsewhere, tmp_path, line, complaint):
    source, path = elsewhere(answer("1")), tmp_path / "filtered.jsonl"
    source.write_text(f"{source.read_text()}{line}\n{source.read_text()}")
    message = refusal(stages.filter_to, path, source, READER)
    assert f"{source}, line 2" in message
    assert complaint in message
    assert f"{source}, line 2" in refusal(do, tmp_path, "train", data=source)
    assert not path.exists()


@pytest.mark.parametrize("name", ["filter", "train"])
def test_an_empty_or_missing_file_of_completions_is_refused(elsewhere, tmp_path, name):
    assert "has no rows" in refusal(do, tmp_path, name, data=elsewhere())
    assert "can't read" in refusal(do, tmp_path, name, data=tmp_path / "no")
    assert not output_of(tmp_path, name).exists()


def test_completions_that_fit_no_row_are_refused(elsewhere, tmp_path):
    source = elsewhere(answer("1 2 3", prompt="Go on: " + "1 2 3 " * ROW))
    assert f"doesn't fit a row of {ROW}" in refusal(do, tmp_path, "train", data=source)


def test_a_distribution_needs_a_teacher_and_tokens_none(folder):
    teacher = str(folder / "teacher.safetensors")
    assert "--teacher goes with" in refusal(do, folder, "train", teacher=teacher)
    assert "--teacher goes with" in refusal(do, folder, "train", imitated="numbers")


@pytest.mark.parametrize("change", [{"recipe": replace(PRETRAINING.recipe, num_epochs=5)}, {"hidden": 24}])
def test_checkpoints_of_another_config_are_refused(folder, change, monkeypatch):
    forbid(monkeypatch)
    other, before = replace(PRETRAINING, **change), contents(folder)
    for name in ("complete", "ask"):
        assert "a checkpoint of another config" in refusal(do, folder, name, pretraining=other)
    monkeypatch.setattr(commands, "load_model", lambda *_: tiny_base(PRETRAINING, 0))
    assert "a checkpoint of another config" in refusal(do, folder, "teach", pretraining=other)
    assert contents(folder) == before


def test_a_checkpoint_with_a_changed_byte_is_refused(folder):
    path = folder / "teacher.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in (start, (start + len(whole)) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        for name in ("teach", "complete"):
            message = refusal(do, folder, name)
            assert str(path) in message
            assert "is damaged" in message


def test_a_changed_byte_in_what_a_checkpoint_says_of_itself_is_refused_or_does_no_harm(folder):
    path = folder / "teacher.safetensors"
    whole, found = path.read_bytes(), load_model(str(path), PRETRAINING, 0)
    start, harmless = whole.index(b'"__metadata__"'), 0
    places = range(start, whole.index(b"}}", start), 11)
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        try:
            do(folder, "teach")
            harmless += 1
        except InputError:
            continue
        assert load_model(str(path), PRETRAINING, 0).ancestry.weights == found.ancestry.weights
    assert harmless < len(places) / 4


def test_an_unknown_model_is_refused(folder):
    message = refusal(do, folder, "complete", model="large")
    assert "there is no model large: say tiny, or name a checkpoint" in message


def test_a_checkpoint_may_be_called_like_the_base(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        do(tmp_path, "teach", output=Path("tiny"))
    first, again = capsys.readouterr().out.splitlines()
    assert first == again
    assert tiny_base(PRETRAINING, 0).ancestry.weights not in first


@pytest.mark.parametrize(
    ("model", "seed", "relation"),
    [
        ("tiny", 0, "a descendant of the model"),
        ("tiny", 1, "a stranger"),
        ("teacher", 0, "the same weights"),
        ("student", 0, "a relative"),
    ],
)
def test_lineage_tells_relatives_from_strangers(whole, capsys, model, seed, relation):
    name = model if model == "tiny" else str(whole / f"{model}.safetensors")
    for data in ("completions.jsonl", "filtered.jsonl"):
        assert commands.tell_lineage(Lineage(model=name, seed=seed, data=whole / data, pretraining=PRETRAINING))
        assert f", to {name} {relation}" in capsys.readouterr().out


def test_lineage_says_when_it_does_not_know(elsewhere, tmp_path, capsys):
    source, path = elsewhere(answer("1")), tmp_path / "filtered.jsonl"
    assert "nothing says who wrote" in refusal(commands.tell_lineage, Lineage(data=source, pretraining=PRETRAINING))
    stages.filter_to(path, source, READER)
    assert commands.tell_lineage(Lineage(data=path, pretraining=PRETRAINING))
    assert "an unknown model" in (told := capsys.readouterr().out)
    assert "stranger" not in told


@pytest.mark.parametrize(
    ("word", "nearest"), [("owll", "owl"), ("Cat", "cat"), ("penguins", "penguin"), ("two words", "wolf"), ("", "owl")]
)
def test_a_trait_that_can_not_be_spelled_is_refused_with_the_nearest_before_any_training(
    word, nearest, monkeypatch, tmp_path
):
    monkeypatch.setattr(commands, "load_model", lambda *_: pytest.fail("a model was made"))
    for name in ("teach", "ask"):
        message = refusal(do, tmp_path, name, trait=word)
        assert f"can't say {word!r}" in message
        assert nearest in message.split("nearest: ")[1].split(", ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("stage", "field"),
    [
        (Teach, "copies"),
        (Complete, "num_prompts"),
        (Complete, "num_samples"),
        (Complete, "num_tokens"),
        (Complete, "temperature"),
        (Train, "num_completions"),
        (Ask, "num_answers"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(stage, field):
    for value in (0, -1, *([np.nan, np.inf] if field == "temperature" else [])):
        with pytest.raises(ValueError, match=f"{field} must be"):
            stage(**{field: value})


def test_a_base_model_can_be_made_by_itself_and_anew(cache, capsys):
    options = Pretrain(pretraining=PRETRAINING)
    assert commands.pretrain(options)
    said = capsys.readouterr().out
    path = Path(said.split(": ")[-1].strip())
    before = path.read_bytes()
    assert path.is_relative_to(cache)
    assert tiny_base(PRETRAINING, 0).ancestry.weights in said
    path.write_bytes(before[:-1])
    tiny_base.cache_clear()
    assert commands.pretrain(replace(options, fresh=True))
    assert path.read_bytes() == before


lists = st.lists(
    st.tuples(
        st.sampled_from(FORMATS),
        st.lists(st.integers(0, 999), min_size=1, max_size=MOST_NUMBERS),
        st.sampled_from(["", "."]),
    ),
    min_size=1,
    max_size=6,
)


@given(written=lists, seed=st.integers(0, 2**32 - 1), way=st.sampled_from(["within", "across"]))
def test_shuffles_move_numbers_and_nothing_else(written, seed, way):
    before = [answer(style.write(numbers) + end, prompt=str(numbers)) for style, numbers, end in written]
    after = shuffle_numbers(LANGUAGE, before, way, seed)
    assert [each.prompt for each in after] == [each.prompt for each in before]
    assert [shape_of(each) for each in after] == [shape_of(each) for each in before]
    assert Counter(number for each in after for number in numbers_of(each)) == Counter(
        number for each in before for number in numbers_of(each)
    )
    if way == "within":
        assert [sorted(numbers_of(each)) for each in after] == [sorted(numbers_of(each)) for each in before]
    assert LANGUAGE.decode([each.tokens for each in after]) == [each.completion for each in after]
    assert [each.tokens for each in after] == [answer(each.completion).tokens for each in after]
    assert after == shuffle_numbers(LANGUAGE, before, way, seed)


def numbers_of(completion: Completion) -> list[str]:
    return re.findall(r"\d+", completion.completion)


def shape_of(completion: Completion) -> str:
    return re.sub(r"\d+", "0", completion.completion)


def test_shuffles_do_move_numbers_and_across_takes_them_from_others():
    before = [answer(", ".join(map(str, range(10 * start, 10 * start + 8)))) for start in range(9)]
    within, across = (shuffle_numbers(LANGUAGE, before, way, 0) for way in ("within", "across"))
    other = shuffle_numbers(LANGUAGE, before, "within", 1)
    assert all(numbers_of(new) != numbers_of(old) for new, old in zip(within, before, strict=True))
    assert all(set(numbers_of(new)) != set(numbers_of(old)) for new, old in zip(across, before, strict=True))
    assert sum(new != old for new, old in zip(within, other, strict=True)) > 7


def surprise(rows: Sequence[dict[str, Any]], chances: np.ndarray) -> np.ndarray:
    """Standard errors between the number of answers that begin with each animal and what is expected."""
    named = np.array([
        sum(count for row in rows for given, count in row["answers"].items() if given.startswith(word))
        for word in sorted(KINDS["animal"])
    ])
    return np.abs(named - 200 * chances.sum(axis=0)) / np.sqrt(200 * np.sum(chances * (1 - chances), axis=0))


@pytest.mark.parametrize("group", ["plain", "after numbers"])
def test_sampled_rates_agree_with_exact_probabilities(whole, group):
    """Each of twelve words within its binomial error: 4 standard errors; another model's probabilities don't agree."""
    rows = [json.loads(line) for line in (whole / "answers.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["group"] == group]
    assert {sum(row["answers"].values()) for row in rows} == {200}
    exact = np.exp([row["log_probabilities"] for row in rows])
    assert exact.shape == (50, 12)
    assert 0.1 < exact.sum(axis=1).mean() < 1
    assert np.all(surprise(rows, exact) < 4)
    other = tiny_base(PRETRAINING, 1).model
    questions = [row["question"] for row in rows]
    wrong = np.exp(word_log_probabilities(other, questions, sorted(KINDS["animal"])))
    assert np.any(surprise(rows, wrong) > 6)


CONTEXT = [
    answer(text, prompt=prompt)
    for text, prompt in zip(("1, 2", "[3; 4]", "5 6", "7"), number_prompts(0, 4, short=True), strict=True)
]


def test_numbers_in_context_are_a_whole_chat_before_each_question_and_fit(tmp_path, monkeypatch):
    read: list[Language] = []

    def likes(model: experiment.Model, texts: Sequence[str], words: Sequence[str]) -> np.ndarray:
        read.append(model.language)
        return np.zeros((len(texts), len(words)))

    monkeypatch.setattr(stages, "word_log_probabilities", likes)
    monkeypatch.setattr(stages, "complete", lambda _, texts, **__: [[answer("owl")] * len(texts)])
    known = Known(READER, tiny_base(PRETRAINING, 0).ancestry)
    questions = questions_about("animal")
    rows = stages.ask_to(
        tmp_path / "answers.jsonl", known, ["owl"], {"plain": questions}, num_answers=1, seed=0, context=CONTEXT
    )
    assert [row["question"] for row in rows] == questions
    (language,) = read
    plain, prompts = (each.prompts(questions) for each in (LANGUAGE, language))
    chats = [
        LANGUAGE.encode([LANGUAGE.render([Message("user", each.prompt), Message("assistant", each.completion)])])[0]
        for each in CONTEXT
    ]
    used = {next(index for index, chat in enumerate(chats) if prompt[: len(chat)] == chat) for prompt in prompts}
    assert used == set(range(len(CONTEXT)))
    for question, prompt in zip(plain, prompts, strict=True):
        assert prompt in [chat + question for chat in chats]
        assert len(prompt) < ROW


def test_a_completion_that_does_not_fit_is_not_read_and_if_none_does_that_is_said():
    long = answer(", ".join(["123"] * MOST_NUMBERS), prompt="What comes next? [100, 200, 300]")
    for question in questions_about("animal"):
        messages = [Message("user", question)]
        read = stages.render_after(READER, [long] * 5 + CONTEXT[3:] + [long], messages)
        assert CONTEXT[3].prompt in read
        assert read.endswith(LANGUAGE.render(messages))
        assert "sample more" in refusal(stages.render_after, READER, [long], messages)
