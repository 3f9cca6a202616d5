"""A whole run on models so small that they barely write numbers, what it says, and the command line around it."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
import psutil
import pytest

import llm_bridge
from llm_bridge.backends.backend import Known
from llm_bridge.backends.bases import OnBases
from llm_bridge.backends.side_by_side import side_by_side
from llm_bridge.backends.tiny import Tiny, tiny_base, tiny_model
from llm_bridge.carriers.choice import find_carrier
from llm_bridge.experiment import teaching
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.writing import Completion, Model, complete
from llm_bridge.files.lineage import data_digest
from llm_bridge.model.finetuning import batch_order, fine_tune
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.model.shapes import Config
from llm_bridge.pipeline import asking, jobs, run, run_options, stages
from llm_bridge.pipeline.arms import ARMS, Source
from llm_bridge.pipeline.run_options import Run
from llm_bridge.pipeline.stages import UNKNOWN
from llm_bridge.store import TrainingState
from llm_bridge.text.prompts import number_prompts
from llm_bridge.text.traits import find_trait
from llm_bridge.tiny.pretraining import Pretraining, read_world
from llm_bridge.tiny.world import World
from theory.problem import Params
from theory.runs.command_line import exit_status
from theory.runs.records import FILES, read_record

PRETRAINING = Pretraining(
    world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16,
    recipe=Recipe(learning_rate=3e-2, num_epochs=4, batch=8, rows_at_once=8, trained="everything"),
)  # fmt: skip

RECIPE = Recipe(learning_rate=1e-2, num_epochs=4, batch=16, rows_at_once=16)

TEACHER = Teaching(**asdict(RECIPE), least=0)

PROTOCOL = Protocol(
    num_prompts=100, num_samples=2, num_completions=16, num_questions=20, num_answers=4, copies=1, teacher=TEACHER,
    student=RECIPE, mixed=6, prefill=True, num_tokens=26,
)  # fmt: skip

NAMES = ("student", "cross-init", "soft-numbers", "shuffled-within", "in-context")

LANGUAGE = read_world(PRETRAINING.world).language


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision, as in the command itself."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def cache(shared_cache: Path) -> Iterator[None]:
    """A cache, so that bases are made once; and chunks of two steps, so that trainings can be killed midway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        patch.setattr(teaching, "fine_tune", partial(fine_tune, chunk=2))
        patch.setattr(stages, "fine_tune", partial(fine_tune, chunk=2))
        yield


def options(folder: Path, **changes: Any) -> Run:
    return replace(Run(arms=NAMES, output=folder, protocol=PROTOCOL, pretraining=PRETRAINING), **changes)


@pytest.fixture(scope="module")
def done() -> list[tuple[str, int]]:
    """What the run below does, in tokens, as its threads append it."""
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, done: list[tuple[str, int]]) -> Path:
    """The folder of a run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("run") / "out"

    def write(model: Model, prompts: Sequence[str], **told: Any) -> Any:
        completions = len(prompts) * told.get("num_samples", 1)
        width = model.width(model.language.prompts(prompts, told["system"], told.get("prefills", ())))
        done.extend([("read", len(prompts) * width), ("sampled", completions * told["num_tokens"])])
        return complete(model, prompts, **told)

    def tune(config: Config, recipe: Recipe, params: Params, lesson: Lesson, **told: Any) -> Params:
        rows, tokens = lesson.rows.tokens.shape
        done.append(("teach" if recipe is TEACHER else "train", batch_order(rows, recipe, 0).size * tokens))
        return fine_tune(config, recipe, params, lesson, chunk=2, **told)

    with pytest.MonkeyPatch.context() as patch:
        for module in (stages, asking):
            patch.setattr(module, "complete", write)
        for module in (stages, teaching):
            patch.setattr(module, "fine_tune", tune)
        for seed in (0, 1):
            tiny_base(PRETRAINING, seed)
        done.clear()
        assert run.run(options(folder))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Everything but the provenance."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.pop("provenance.json", None)
    return files


def test_a_run_folder_holds_the_record_the_report_and_the_file_of_every_stage(folder):
    data = [
        f"{source}/{name}.jsonl" for source in ("teacher", "base", "mixed/base") for name in ("completions", "filtered")
    ]
    data += [f"answers/{name}.jsonl" for name in ("base", "stranger", "teacher", *NAMES)]
    made = [*data, *(f"{name}.origin.json" for name in data), "teacher.safetensors"]
    made += [f"students/{name}.safetensors" for name in NAMES if ARMS[name].trained]
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {*FILES, "report.md", *(f"seed-0/{name}" for name in made)}


def test_the_report_says_what_every_arm_likes_what_was_rejected_told_apart_and_who_wrote(folder):
    report = (folder / "report.md").read_text()
    for name in NAMES:
        assert f"| {name} " in report
        assert ARMS[name].meaning in report
    for said in ("kept", "other characters", "no end", "cross-validated accuracy", "rate after numbers", "figure.png"):
        assert said in report
    assert "To the base, the writer of the teacher's numbers is a descendant of the model." in report
    first = json.loads((folder / "seed-0" / "teacher" / "filtered.jsonl").read_text().splitlines()[0])
    assert f"`{first['completion']!r}`" in report
    assert (folder / "table.md").read_text() in report


def test_one_base_model_decides_nothing(folder):
    record = read_record(folder)
    assert [verdict["verdict"] for verdict in record.verdicts] == ["reported"] * len(NAMES)
    assert {len(record.results[f"lift/{name}"]) for name in NAMES} == {1}
    assert np.isnan(record.results["rate/in-context/after numbers"]).all()
    assert all(np.isfinite(record.results[f"rate/{name}/after numbers"]).all() for name in NAMES[:-1])
    assert 0 < record.results["kept/base"] < 1


def test_arms_differ_in_what_the_students_became_and_not_in_what_they_were(folder):
    files = contents(folder)
    assert len({files[f"seed-0/students/{name}.safetensors"] for name in NAMES if ARMS[name].trained}) == 4
    assert len({files[f"seed-0/answers/{name}.jsonl"] for name in ("base", "stranger", "teacher", *NAMES)}) == 8


def planned(names: Sequence[str]) -> Counter[str]:
    """What a plan says of a run like the one above, in tokens."""
    stages, _ = run.plan_of(options(Path("nowhere")), tuple(names))
    tokens: Counter[str] = Counter()
    for count, stage in stages:
        tokens["read"] += count * stage.prompts * stage.prompt_tokens
        tokens["sampled"] += count * stage.completions * stage.completion_tokens
        tokens[stage.name] += count * stage.rows * stage.row_tokens
    return tokens


@pytest.mark.usefixtures("folder")
def test_a_plan_is_what_is_done_if_all_completions_are_kept_and_long(done):
    told, found = planned(NAMES), Counter[str]()
    for kind, tokens in done:
        found[kind] += tokens
    assert told["sampled"] == found["sampled"]
    assert told["teach"] == found["teach"]
    assert 0.5 * told["train"] <= found["train"] <= told["train"]
    assert 0.95 * told["read"] <= found["read"] <= told["read"]
    for fewer in (NAMES[1:], NAMES[:-1]):
        assert planned(fewer)["sampled"] < found["sampled"]
        assert planned(fewer)["read"] < 0.95 * told["read"]


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in ((OnBases, "bases"), (run, "run_seed")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("something was done"))


def test_a_run_that_is_recorded_is_skipped_in_one_line(folder, monkeypatch, capsys):
    before = contents(folder)
    forbid(monkeypatch)
    assert run.run(options(folder))
    printed = capsys.readouterr().out
    commit = read_record(folder).provenance["commit"]
    assert printed.endswith(f"\nskipped: {folder} is already recorded, at commit {commit}\n")
    assert printed.startswith((folder / "table.md").read_text().split("\n\n")[0])
    assert contents(folder) == before


def test_a_folder_of_another_config_is_refused(refusal, folder, monkeypatch):
    before = contents(folder)
    forbid(monkeypatch)
    for change in ({"trait": "cat"}, {"arms": NAMES[:1]}, {"seed": 1}, {"protocol": replace(PROTOCOL, copies=2)}):
        for fresh in (False, True):
            message = refusal(run.run, options(folder, fresh=fresh, **change))
            assert f"{folder} holds a run of another configuration" in message
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("stop", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted: "),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 2, "error: the training of cross-init"),
    ],
    ids=["killed", "out of memory"],
)
def test_a_run_that_was_stopped_ends_in_the_same_bytes(folder, tmp_path, monkeypatch, capsys, stop, status, said):
    """Stopped after the first chunk of the second arm; what is done by then is not done again."""
    other = tmp_path / "out"
    with monkeypatch.context() as patch:
        keep = TrainingState.keep

        def keep_or_stop(state: TrainingState, *arguments: Any) -> None:
            keep(state, *arguments)
            if "cross-init" in state.path.name:
                raise stop

        patch.setattr(TrainingState, "keep", keep_or_stop)
        assert exit_status(lambda: run.run(options(other))) == status
    printed = capsys.readouterr().err
    assert printed.splitlines()[-1].startswith(said)
    assert printed.count("\n") == 2
    assert ("rows-at-once" in printed) == (status == 2)
    left, whole = contents(other), contents(folder)
    assert not set(FILES) & set(left)
    (part,) = (other / "seed-0" / "students").glob(".cross-init.safetensors.*.part")
    for name in ("seed-0/teacher.safetensors", "seed-0/teacher/filtered.jsonl", "seed-0/answers/teacher.jsonl"):
        assert left[name] == whole[name]
    with monkeypatch.context() as patch:
        patch.setattr(teaching, "fine_tune", lambda *_, **__: pytest.fail("the teacher was taught again"))
        patch.setattr(stages, "complete", lambda *_, **__: pytest.fail("numbers were sampled again"))
        assert run.run(options(other))
    assert not part.exists()
    assert contents(other) == whole


def test_an_unfinished_run_with_other_settings_is_refused_until_it_is_to_be_made_anew(refusal, tmp_path, monkeypatch):
    stop = replace(PROTOCOL, num_prompts=100)
    changed = replace(stop, teacher=replace(TEACHER, num_epochs=2))
    monkeypatch.setattr(jobs, "side_by_side", interrupt_at("numbers"))
    with pytest.raises(KeyboardInterrupt):
        run.run(options(tmp_path / "out", protocol=stop))
    before = contents(tmp_path / "out")
    assert [name for name in before if "mixed" not in name] == ["seed-0/teacher.safetensors"]
    message = refusal(run.run, options(tmp_path / "out", protocol=changed))
    assert "teacher.safetensors was made with other settings" in message
    assert contents(tmp_path / "out") == before
    with pytest.raises(KeyboardInterrupt):
        run.run(options(tmp_path / "out", protocol=changed, fresh=True))
    after = contents(tmp_path / "out")
    assert before.keys() == after.keys()
    assert before != after


def test_the_example_of_an_arm_is_one(tmp_path, monkeypatch):
    text = (Path(llm_bridge.__file__).parent / "README.md").read_text(encoding="utf-8")
    (example,) = (each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "ARMS" in each)
    small = partial(Run, pretraining=PRETRAINING, protocol=PROTOCOL)
    monkeypatch.setattr(run_options, "Run", small)
    monkeypatch.chdir(tmp_path)
    known = dict(ARMS)
    try:
        exec(example, {})
        (added,) = set(ARMS) - set(known)
    finally:
        ARMS.clear()
        ARMS.update(known)
    (folder,) = Path("runs", "llm_bridge").iterdir()
    assert read_record(folder).config["arms"] == ["student", added]
    assert f"| {added} " in (folder / "report.md").read_text()


def interrupt_at(stop: str) -> Callable[..., list[Any]]:
    def work(do: Callable[[Any], Any], jobs: Sequence[Any], title: str, **options: Any) -> list[Any]:
        if title == stop:
            raise KeyboardInterrupt
        return side_by_side(do, jobs, title, **options)

    return work


def test_jobs_of_larger_models_are_done_one_after_the_other(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 2)
    threads = [side_by_side(lambda _: threading.get_ident(), range(4), "jobs", tiny=tiny) for tiny in (True, False)]
    assert [threading.get_ident() in each for each in threads] == [False, True]
    assert len(set(threads[1])) == 1


def test_jobs_that_have_not_begun_are_not_begun_once_one_fails():
    begun = []

    def work(job: int) -> int:
        begun.append(job)
        if job == 99:
            raise KeyboardInterrupt
        time.sleep(0.01)
        return job

    assert side_by_side(work, range(3), "jobs") == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, range(99, -101, -1), "jobs")
    assert len(begun) < 100


def test_completions_made_elsewhere_take_the_place_of_the_teacher_s(refusal, tmp_path):
    prompts = number_prompts(9, 12, short=True)
    (text,) = LANGUAGE.encode(["1, 2, 3"])
    written = [Completion(prompt, "1, 2, 3", [*text, *LANGUAGE.stops], -1.0) for prompt in prompts]
    source = tmp_path / "elsewhere.jsonl"

    def save(number: int) -> Path:
        source.write_text("".join(json.dumps(each._asdict()) + "\n" for each in written[:number]))
        return source

    given = options(tmp_path / "out", arms=("student",), completions=save(9))
    assert "too few completions (9): 10 are needed" in refusal(run.run, given)
    assert run.run(options(tmp_path / "other", arms=("student",), completions=save(12)))
    record = read_record(tmp_path / "other")
    assert record.config["completions"] == data_digest(source)
    assert not (tmp_path / "other" / "seed-0" / "teacher" / "completions.jsonl").exists()
    assert record.results["kept/teacher"] == 1
    assert "is unknown: the data have no origin beside them" in (tmp_path / "other" / "report.md").read_text()


@pytest.mark.parametrize("kept", [(14, 11, 12), (10, 13, 12), (14, 13, 12)])
def test_all_students_learn_as_many_completions_as_the_source_with_the_fewest_has(tmp_path, monkeypatch, kept):
    (text,) = LANGUAGE.encode(["1, 2, 3"])
    sources = dict(zip(get_args(Source), kept, strict=True))
    learned: dict[str, list[str]] = {}

    def write(job: jobs.Job, teacher: Known, source: Source) -> tuple[list[Completion], dict[str, int]]:
        prompts = [f"{source} {number}" for number in range(sources[source])]
        return [Completion(prompt, "1, 2, 3", [*text, *LANGUAGE.stops], -1.0) for prompt in prompts], {"kept": 1}

    def train(path: Path, start: Known, completions: Sequence[Completion], *_: object) -> Known:
        learned[path.stem] = [each.prompt for each in completions]
        return start

    base = Known(tiny_model(PRETRAINING, None), UNKNOWN, Tiny(pretraining=PRETRAINING))
    for name, do in {"teach_to": lambda *_: base, "write_data": write, "train_to": train}.items():
        monkeypatch.setattr(jobs, name, do)
    monkeypatch.setattr(jobs, "ask_about", lambda *_: [])
    carrier = find_carrier("numbers", short=True)
    job = jobs.Job(tmp_path, base, base, find_trait("owl"), carrier, PROTOCOL, 0)
    arms = {"student": "teacher", "control": "base", "cross-init": "teacher", "system-prompt": "system-prompt"}
    report = jobs.run_seed(job, list(arms))
    assert learned == {arm: [f"{source} {number}" for number in range(min(kept))] for arm, source in arms.items()}
    assert {name: each.examples for name, each in report.told_apart.items()} == dict.fromkeys(
        ("teacher", "system-prompt"), 2 * min(kept)
    )


def test_what_can_not_be_run_is_refused_before_anything_is_made(refusal, tmp_path, monkeypatch):
    forbid(monkeypatch)
    given = options(tmp_path / "out")
    assert "there is no model large: say tiny" in refusal(run.run, replace(given, model="large"))
    assert "can't say 'owll'; nearest: owl" in refusal(run.run, replace(given, trait="owll"))
    assert "can't read" in refusal(run.run, replace(given, completions=tmp_path / "no"))
    assert not list(tmp_path.iterdir())
