"""The stages on models so small that they barely write numbers: made once, resumed, and refused in one line."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from llm_bridge.backends.choice import load_model
from llm_bridge.backends.tiny import Tiny, tiny_base, tiny_model
from llm_bridge.experiment import teaching, writing
from llm_bridge.experiment.likes import word_log_probabilities
from llm_bridge.experiment.writing import Completion, has_ended, read_completions
from llm_bridge.files.jsonl import write_rows
from llm_bridge.files.lineage import data_digest, read_sidecar, sidecar_path
from llm_bridge.model import finetuning
from llm_bridge.model.finetuning import fine_tune
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.pipeline import asking, commands, stages
from llm_bridge.pipeline import options as stage_options
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.options import Ask, Complete, Filter, Lineage, Pretrain, Teach, Train
from llm_bridge.store import TrainingState, append_rows
from llm_bridge.text.filtering import parse_numbers
from llm_bridge.text.prompts import prefill_of
from llm_bridge.tiny.pretraining import ROW, Pretraining, read_world
from llm_bridge.tiny.world import KINDS, World
from theory.runs.command_line import InputError, exit_status

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
    tiny_base.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder := tmp_path_factory.mktemp("cache")))
        patch.setattr(teaching, "fine_tune", partial(fine_tune, chunk=2))
        patch.setattr(stages, "fine_tune", partial(fine_tune, chunk=2))
        yield folder


Command = Callable[[Any], bool]


def chain(folder: Path) -> dict[str, tuple[Command, Any]]:
    """All stages from a base to the answers of a student, as they are asked for in a folder."""
    recipe = Recipe(learning_rate=1e-2, num_epochs=6, batch=16, rows_at_once=16)
    teacher, student = folder / "teacher.safetensors", folder / "student.safetensors"
    asked: dict[str, tuple[Command, Any]] = {
        "teach": (commands.teach, Teach(output=teacher, recipe=Teaching(**asdict(recipe), least=0), copies=1)),
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


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be computed or written."""
    workers = ((teaching, "fine_tune"), (stages, "fine_tune"), (stages, "complete"), (stages, "finish"))
    for module, name in (*workers, (asking, "word_log_probabilities"), (asking, "finish")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it was made again"))


def test_behind_a_prefill_only_what_was_sampled_is_learned_and_the_whole_is_filtered(whole, tmp_path):
    output, kept = tmp_path / "completions.jsonl", tmp_path / "filtered.jsonl"
    do(whole, "complete", model="tiny", prefill=True, num_tokens=26, output=output)
    do(whole, "filter", data=output, output=kept)
    written, reader = read_completion_rows(output, tiny_model(PRETRAINING, None)), tiny_model(PRETRAINING, None)
    assert all(each.prefill == prefill_of(each.prompt) != "" for each in written)
    judged = [parse_numbers(each.completion, prefill=each.prefill).rejection is None for each in written]
    ended = [each for each, good in zip(written, judged, strict=True) if good and has_ended(LANGUAGE, each)]
    assert 10 < len(ended) < len(written)
    assert read_completion_rows(kept, reader) == ended
    first = read_sidecar(output).sampling["chat"]
    assert first.endswith(written[0].prefill)
    rows = read_completions(reader, ended[:1])
    learned = rows.tokens[0, 1:][rows.learned[0, :-1]].tolist()
    assert learned == ended[0].tokens
    start = int(np.argmax(rows.learned[0])) + 1
    assert LANGUAGE.spell(rows.tokens[0, :start].tolist()).endswith(ended[0].prefill)


def test_a_teacher_that_learns_its_bases_own_numbers_too_is_another_one(whole, tmp_path):
    own = tmp_path / "own.jsonl"
    do(whole, "filter", output=own)
    do(whole, "teach", output=tmp_path / "mixed.safetensors", mixed=own)
    assert contents(tmp_path)["mixed.safetensors"] != contents(whole)["teacher.safetensors"]
    with pytest.raises(InputError, match="was made with other settings"):
        do(whole, "teach", output=tmp_path / "mixed.safetensors")


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

DIFFERING = {
    "teach": "trait)",
    "complete": "sampling.temperature)",
    "filter": "filter.",
    "train": "data)",
    "ask": "sampling.num_answers)",
}


@pytest.mark.parametrize("name", chain(Path()))
def test_a_file_that_was_made_with_other_settings_is_refused_and_kept(refusal, folder, name, monkeypatch):
    before = contents(folder)
    forbid(monkeypatch)
    message = refusal(do, folder, name, **CHANGES[name])
    assert f"{output_of(folder, name)} was made with other settings ({DIFFERING[name]}" in message
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


def test_a_training_that_is_logged_has_every_step_once_though_it_was_killed_and_makes_the_same(folder, monkeypatch):
    before = contents(folder)
    output_of(folder, "train").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "keep", stop_after(1, TrainingState.keep))
        with pytest.raises(KeyboardInterrupt):
            do(folder, "train", log="csv")
    do(folder, "train", log="csv")
    header, *rows = (folder / "training.csv").read_text().splitlines()
    assert header == "training,step,name,value"
    assert [row.rpartition(",")[0] for row in rows] == [f"student,{step},loss" for step in range(1, 7)]
    assert all(float(row.rpartition(",")[2]) > 0 for row in rows)
    (folder / "training.csv").unlink()
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
        write = append_rows if batches else write_rows
        patch.setattr(stages, write.__name__, stop_after(max(1, batches), write))
        with pytest.raises(KeyboardInterrupt):
            do(folder, "complete")
    assert not output.exists()
    (part,) = folder.glob(".*.part")
    part.write_bytes(part.read_bytes()[: part.stat().st_size - cut])
    starts: list[int] = []

    def complete(*arguments: Any, first: int, **options: Any) -> Iterator[list[Completion]]:
        starts.append(first)
        return writing.complete(*arguments, first=first, **options)

    monkeypatch.setattr(stages, "complete", complete)
    do(folder, "complete")
    whole_batches = batches - bool(cut and batches)
    assert starts == [100 * min(2, whole_batches)]
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("name", "module", "function", "calls", "kept", "knob"),
    [
        ("teach", finetuning, "run_steps", 2, 2, "turn rows-at-once down"),
        ("complete", writing, "sample", 1, 1, "turn --at-once down"),
        ("train", finetuning, "run_steps", 1, 1, "turn rows-at-once down"),
        ("ask", asking, "word_log_probabilities", 1, 0, "turn --at-once down"),
    ],
    ids=["teach", "complete", "train", "ask"],
)
def test_a_stage_that_runs_out_of_memory_names_the_knob_and_goes_on_where_it_was(
    folder, monkeypatch, capsys, name, module, function, calls, kept, knob
):
    before, output, compute = contents(folder), output_of(folder, name), getattr(module, function)
    run, options = chain(folder)[name]

    def attempt(most: int | None) -> tuple[int, int]:
        """Do the stage where memory suffices for so many calls."""
        done: list[str] = []

        def count(*arguments: Any, **told: Any) -> Any:
            if len(done) == most:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")
            done.append(function)
            return compute(*arguments, **told)

        output.unlink(missing_ok=True)
        monkeypatch.setattr(module, function, count)
        return exit_status(partial(run, options)), len(done)

    _, total = attempt(None)
    capsys.readouterr()
    assert attempt(calls) == (2, calls)
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert knob in said
    assert before.items() - contents(folder).items() == {(output.name, before[output.name])}
    assert attempt(None) == (0, total - kept)
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


@pytest.mark.parametrize("name", ["teach", "train"])
def test_a_training_whose_loss_is_lost_is_refused_and_leaves_nothing(refusal, folder, name):
    output_of(folder, name).unlink()
    before = contents(folder)
    recipe = replace(chain(folder)[name][1].recipe, learning_rate=1e30)
    assert "turn learning-rate down" in refusal(do, folder, name, recipe=recipe)
    assert contents(folder) == before
    do(folder, name)


def test_data_that_no_stage_made_are_not_overwritten(refusal, folder):
    for name in ("complete", "filter", "ask"):
        sidecar_path(output_of(folder, name)).unlink()
        before = contents(folder)
        assert "was not made by a stage" in refusal(do, folder, name)
        assert contents(folder) == before
    assert "another file than --data" in refusal(do, folder, "filter", output=folder / "completions.jsonl")
    assert "another file than" in refusal(do, folder, "filter", data=folder / "filtered.jsonl", fresh=True)
    assert contents(folder) == before


def test_data_that_were_edited_are_refused(refusal, folder):
    for name in ("completions.jsonl", "filtered.jsonl", "answers.jsonl"):
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    for name in ("complete", "filter", "ask"):
        assert "has been edited" in refusal(do, folder, name)
    edited = Lineage(data=folder / "filtered.jsonl", pretraining=PRETRAINING)
    assert "has been edited" in refusal(commands.tell_lineage, edited)


def test_completions_that_fit_no_row_are_refused(refusal, tmp_path):
    text = "1 2 3"
    long = Completion(f"Go on: {'1 2 3 ' * ROW}", text, [*LANGUAGE.encode([text])[0], *LANGUAGE.stops], -1.0)
    (source := tmp_path / "elsewhere.jsonl").write_text(json.dumps(long._asdict()) + "\n")
    assert f"doesn't fit a row of {ROW}" in refusal(do, tmp_path, "train", data=source)


def test_a_distribution_needs_a_teacher_and_tokens_none(refusal, folder):
    teacher = str(folder / "teacher.safetensors")
    assert "--teacher goes with" in refusal(do, folder, "train", teacher=teacher)
    assert "--teacher goes with" in refusal(do, folder, "train", imitated="numbers")


@pytest.mark.parametrize("change", [{"recipe": replace(PRETRAINING.recipe, num_epochs=5)}, {"hidden": 24}])
def test_checkpoints_of_another_config_are_refused(refusal, folder, change, monkeypatch):
    forbid(monkeypatch)
    other, before = replace(PRETRAINING, **change), contents(folder)
    for name in ("complete", "ask"):
        assert "a checkpoint of another config" in refusal(do, folder, name, pretraining=other)
    monkeypatch.setattr(
        stage_options, "load_model", lambda *_: tiny_base(PRETRAINING, 0)._replace(backend=Tiny(pretraining=other))
    )
    assert "a checkpoint of another config" in refusal(do, folder, "teach", pretraining=other)
    assert contents(folder) == before


def test_a_checkpoint_with_a_changed_byte_is_refused(refusal, folder):
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


def test_an_unknown_model_is_refused(refusal, folder):
    message = refusal(do, folder, "complete", model="large")
    assert "there is no model large: say tiny or smollm2, or name a folder" in message


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


@pytest.mark.parametrize(
    ("word", "nearest"), [("owll", "owl"), ("Cat", "cat"), ("penguins", "penguin"), ("two words", "wolf"), ("", "owl")]
)
def test_a_trait_that_can_not_be_spelled_is_refused_with_the_nearest_before_any_training(
    refusal, word, nearest, monkeypatch, tmp_path
):
    monkeypatch.setattr(stage_options, "load_model", lambda *_: pytest.fail("a model was made"))
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
