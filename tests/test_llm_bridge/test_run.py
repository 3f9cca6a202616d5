"""A whole run on models so small that they barely write numbers, what it says, and the command line around it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from llm_bridge import __main__ as command_line
from llm_bridge import experiment
from llm_bridge.experiment import Completion
from llm_bridge.files.lineage import Origin, data_digest, write_sidecar
from llm_bridge.files.partial import TrainingState
from llm_bridge.finetuning import fine_tune
from llm_bridge.models import side_by_side, tiny_model
from llm_bridge.pipeline import commands, run, stages
from llm_bridge.pipeline.arms import ARMS
from llm_bridge.pipeline.report import SeedReport, gather
from llm_bridge.pipeline.run import DEFAULT_ARMS, Run, choose_arms
from llm_bridge.protocol import Protocol
from llm_bridge.recipes import Recipe
from llm_bridge.separability import Separability
from llm_bridge.tiny.pretraining import Pretraining, read_world
from llm_bridge.tiny.world import KINDS, World
from llm_bridge.words.prompts import number_prompts
from llm_bridge.words.traits import Trait
from theory.command_line import InputError
from theory.records import FILES, Outcome, read_record

PRETRAINING = Pretraining(
    world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16,
    recipe=Recipe(learning_rate=3e-2, num_epochs=4, batch=8, rows_at_once=8, trained="everything"),
)  # fmt: skip

RECIPE = Recipe(learning_rate=1e-2, num_epochs=4, batch=16, rows_at_once=16)

PROTOCOL = Protocol(num_prompts=200, num_completions=16, num_answers=4, copies=1, teacher=RECIPE, student=RECIPE)

NAMES = ("student", "cross-init", "soft-numbers", "shuffled-within", "in-context")

LANGUAGE = read_world(PRETRAINING.world).language

OWL = Trait("owl", "animal")


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision, as in the command itself."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An own cache, so that bases are made once; and chunks of two steps, so that trainings can be killed midway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(experiment, "fine_tune", partial(fine_tune, chunk=2))
        patch.setattr(stages, "fine_tune", partial(fine_tune, chunk=2))
        yield


def options(folder: Path, **changes: Any) -> Run:
    return replace(Run(arms=NAMES, output=folder, protocol=PROTOCOL, pretraining=PRETRAINING), **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("run") / "out"
    assert run.run(options(folder))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Everything but the provenance."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.pop("provenance.json", None)
    return files


def refusal(do: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        do(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_run_folder_holds_the_record_the_report_and_the_file_of_every_stage(folder):
    data = [f"{source}/{name}.jsonl" for source in ("teacher", "base") for name in ("completions", "filtered")]
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


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tiny_base", "teach_to", "complete_to", "filter_to", "train_to", "ask_to"):
        monkeypatch.setattr(run, name, lambda *_, **__: pytest.fail("something was done"))


def test_a_run_that_is_recorded_is_skipped_in_one_line(folder, monkeypatch, capsys):
    before = contents(folder)
    forbid(monkeypatch)
    assert run.run(options(folder))
    printed = capsys.readouterr().out
    commit = read_record(folder).provenance["commit"]
    assert printed.endswith(f"\nskipped: {folder} is already recorded, at commit {commit}\n")
    assert printed.startswith((folder / "table.md").read_text())
    assert contents(folder) == before


def test_a_folder_of_another_config_is_refused(folder, monkeypatch):
    before = contents(folder)
    forbid(monkeypatch)
    for change in ({"trait": "cat"}, {"arms": NAMES[:1]}, {"seed": 1}, {"protocol": replace(PROTOCOL, copies=2)}):
        for fresh in (False, True):
            message = refusal(run.run, options(folder, fresh=fresh, **change))
            assert f"{folder} holds a run of another configuration" in message
    assert contents(folder) == before


def test_a_run_that_was_killed_ends_in_the_same_bytes(folder, tmp_path, monkeypatch):
    """Killed after the first chunk of the second arm; what is done by then is not done again."""
    other = tmp_path / "out"
    with monkeypatch.context() as patch:
        keep = TrainingState.keep

        def keep_or_stop(state: TrainingState, *arguments: Any) -> None:
            keep(state, *arguments)
            if "cross-init" in state.path.name:
                raise KeyboardInterrupt

        patch.setattr(TrainingState, "keep", keep_or_stop)
        with pytest.raises(KeyboardInterrupt):
            run.run(options(other))
    left, whole = contents(other), contents(folder)
    assert not set(FILES) & set(left)
    (part,) = (other / "seed-0" / "students").glob(".cross-init.safetensors.*.part")
    for name in ("seed-0/teacher.safetensors", "seed-0/teacher/filtered.jsonl", "seed-0/answers/teacher.jsonl"):
        assert left[name] == whole[name]
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "fine_tune", lambda *_, **__: pytest.fail("the teacher was taught again"))
        patch.setattr(stages, "complete", only_answers(stages.complete))
        assert run.run(options(other))
    assert not part.exists()
    assert contents(other) == whole


def only_answers(complete: Callable[..., Any]) -> Callable[..., Any]:
    def ask(model: experiment.Model, prompts: Sequence[str], **rest: Any) -> Iterator[list[Completion]]:
        assert len(prompts) == 50, "numbers were sampled again"
        return complete(model, prompts, **rest)

    return ask


def test_an_unfinished_run_with_other_settings_is_refused_until_it_is_to_be_made_anew(tmp_path, monkeypatch):
    stop = replace(PROTOCOL, num_prompts=100)
    changed = replace(stop, teacher=replace(RECIPE, num_epochs=2))
    monkeypatch.setattr(run, "side_by_side", interrupt_at("numbers"))
    with pytest.raises(KeyboardInterrupt):
        run.run(options(tmp_path / "out", protocol=stop))
    before = contents(tmp_path / "out")
    assert list(before) == ["seed-0/teacher.safetensors"]
    message = refusal(run.run, options(tmp_path / "out", protocol=changed))
    assert "teacher.safetensors was made with other settings" in message
    assert contents(tmp_path / "out") == before
    with pytest.raises(KeyboardInterrupt):
        run.run(options(tmp_path / "out", protocol=changed, fresh=True))
    after = contents(tmp_path / "out")
    assert before.keys() == after.keys()
    assert before != after


def interrupt_at(stop: str) -> Callable[..., list[Any]]:
    def work(do: Callable[[Any], Any], jobs: Sequence[Any], title: str) -> list[Any]:
        if title == stop:
            raise KeyboardInterrupt
        return side_by_side(do, jobs, title)

    return work


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


def test_completions_made_elsewhere_take_the_place_of_the_teacher_s(tmp_path):
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


def test_arms_are_known_by_name_and_come_in_their_own_order():
    assert choose_arms(Run(arms=("cross-init", "student", "student"))) == ("student", "cross-init")
    assert choose_arms(Run(arms=("all",))) == tuple(ARMS)
    assert choose_arms(Run()) == DEFAULT_ARMS
    message = refusal(choose_arms, Run(arms=("student", "cros-init")))
    assert message.startswith("there is no arm 'cros-init'; nearest: cross-init")
    assert "in-context" in refusal(choose_arms, Run(arms=("xyz",)))
    assert "at least one of student" in refusal(choose_arms, Run(arms=()))


def test_what_can_not_be_run_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    forbid(monkeypatch)
    given = options(tmp_path / "out")
    assert "there is no base 'large' to run on: say tiny" in refusal(run.run, replace(given, model="large"))
    assert "can't say 'owll'; nearest: owl" in refusal(run.run, replace(given, trait="owll"))
    assert "can't read" in refusal(run.run, replace(given, completions=tmp_path / "no"))
    assert not list(tmp_path.iterdir())


def seed_report(seed: int, lifts: dict[str, float], drift: float = 0.0) -> SeedReport:
    """A report in which each student's log-odds of the owl rose by a lift, and those of all animals by a drift."""
    random = np.random.default_rng(seed)
    words = sorted(KINDS["animal"])
    owl = np.array([word == "owl" for word in words])

    def rows(lift: float, drift: float) -> list[dict[str, Any]]:
        odds = -2 + np.linspace(0, 1, len(words)) + drift + owl * (lift + random.normal(0, 0.05))
        likes = {"answers": {"owl": 1, "an owl's": 2, "cat": 1}, "log_probabilities": -np.log1p(np.exp(-odds))}
        return [{"group": group, **likes} for group in ("plain", "after numbers") for _ in range(2)]

    answers = {"base": rows(0, 0), "stranger": rows(0, 0), "teacher": rows(3, 0)}
    answers |= {name: rows(lift, drift) for name, lift in lifts.items()}
    told_apart = {"teacher": Separability(0.5, 0.4, 0.6, 100)}
    return SeedReport(answers, {"teacher": {"kept": 3, "no end": 1}}, told_apart, "a relative", [])


def judged(student: float, stranger: float, num_seeds: int = 10, drift: float = 0.0) -> Outcome:
    lifts = {"student": student, "control": 0.0, "cross-init": stranger}
    return gather([seed_report(seed, lifts, drift) for seed in range(num_seeds)], list(lifts), OWL)


def outcomes(outcome: Outcome) -> list[str]:
    return [verdict.outcome for verdict in outcome.verdicts]


def test_a_lift_above_zero_holds_and_the_stranger_is_its_control():
    outcome = judged(1.0, 0.0)
    assert outcomes(outcome) == ["holds"] * 3
    assert [verdict.control for verdict in outcome.verdicts] == ["cross-init", "student", "student"]
    assert all(verdict.control_flips for verdict in outcome.verdicts)
    assert outcome.verdicts[0].measured.value == pytest.approx(1, abs=0.1)
    assert "(flips)" in outcome.table


def test_the_verdicts_flip_where_the_arms_are_alike():
    assert outcomes(judged(1.0, 1.0)) == ["fails", "holds", "fails"]
    assert outcomes(judged(0.0, 0.0)) == ["fails"] * 3
    assert [verdict.control_flips for verdict in judged(0.0, 0.0).verdicts] == [True, False, False]
    assert outcomes(judged(-1.0, 0.0))[0] == "fails"


def test_fewer_than_ten_base_models_decide_nothing():
    assert outcomes(judged(1.0, 0.0, num_seeds=9)) == ["reported"] * 3
    assert outcomes(judged(0.0, 0.0, num_seeds=9)) == ["reported"] * 3
    assert outcomes(judged(1.0, 0.0, num_seeds=10)) == ["holds"] * 3


def test_a_drift_of_all_words_is_a_gain_and_no_lift():
    plain, drifted = judged(1.0, 0.0).results, judged(1.0, 0.0, drift=0.7).results
    for name in ("student", "control", "cross-init"):
        np.testing.assert_allclose(drifted[f"gain/{name}"], plain[f"gain/{name}"] + 0.7, rtol=1e-9)
        np.testing.assert_allclose(drifted[f"lift/{name}"], plain[f"lift/{name}"], rtol=0, atol=1e-9)
    assert set(plain["rate/student/plain"]) == {0.75}
    assert set(plain["kept/teacher"]) == {0.75}


class End(NamedTuple):
    """How a command ended."""

    status: object
    stdout: str
    stderr: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., End]:
    """Call the command line from an empty folder; models read and write as tiny ones, and none is made."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for module in (commands, run):
        monkeypatch.setattr(module, "tiny_model", lambda *_: tiny_model(PRETRAINING, None))
    monkeypatch.setattr(commands, "load_model", lambda *_: pytest.fail("a model was made"))
    forbid(monkeypatch)

    def called(*arguments: str) -> End:
        monkeypatch.setattr(sys, "argv", [str(command_line.__file__), *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        printed = capsys.readouterr()
        return End(ended.value.code, printed.out, printed.err)

    return called


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["teach", "--trait", "owll"], "can't say 'owll'; nearest: owl"),
        (["run", "--trait", "dolfin"], "can't say 'dolfin'; nearest: dolphin"),
        (["run", "--arms", "students"], "nearest: student"),
        (["run", "--model", "large"], "say tiny"),
        (["filter", "--data", "../empty.jsonl"], "empty.jsonl has no rows"),
        (["filter", "--data", "../malformed.jsonl"], "malformed.jsonl, line 2: not JSON"),
        (["run", "--completions", "../malformed.jsonl"], "malformed.jsonl, line 2: not JSON"),
        (["train", "--data", "../missing.jsonl"], "can't read ../missing.jsonl"),
        (["train", "--imitated", "numbers"], "--teacher goes with"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(call, tmp_path, arguments, named):
    (tmp_path / "empty.jsonl").touch()
    row = json.dumps(Completion("", "", [], 0.0)._asdict())
    (tmp_path / "malformed.jsonl").write_text(f"{row}\n{row[:-1]}\n")
    end = call(*arguments)
    assert end.status == 2
    assert end.stderr.startswith("error: ")
    assert end.stderr.count("\n") == 1
    assert named in end.stderr
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["complete", "--num-prompts", "0"], "num_prompts must be at least 1"),
        (["complete", "--temperature", "nan"], "temperature must be"),
        (["ask", "--num-answers", "-1"], "num_answers must be"),
        (["teach", "--learning-rate", "inf"], "learning_rate must be"),
        (["train", "--batch", "7"], "batch must be a multiple"),
        (["run", "--seed", "-1"], "seed must be a whole number"),
        (["run", "--num-seeds", "0"], "num_seeds must be at least 1"),
        (["train", "--imitated", "words"], "--imitated"),
        (["ponder"], "ponder"),
    ],
)
def test_bad_usage_is_refused_by_name(call, arguments, named):
    end = call(*arguments)
    assert end.status == 2
    assert named in " ".join(end.stderr.replace("│", " ").split())
    assert "Traceback" not in end.stderr
    assert not list(Path.cwd().iterdir())


def test_every_command_has_help_that_names_its_options(call):
    for name in ("run", "pretrain", "teach", "complete", "filter", "train", "ask", "lineage", "matrix"):
        end = call(name, "--help")
        assert end.status == 0
        assert "--seed" in end.stdout
        assert "pretraining" not in end.stdout


def test_the_program_exits_with_a_status_and_one_line(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("{}\n")
    write_sidecar(path, Origin(writer=stages.UNKNOWN, system_prompt=None, sampling={}, data=data_digest(path)))

    def call(*arguments: str) -> End:
        command = [sys.executable, "-m", "llm_bridge", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        return End(ended.returncode, ended.stdout, ended.stderr)

    known, missing = call("lineage", "--data", str(path)), call("lineage", "--data", "no")
    assert known == (0, f"{path} was written by an unknown model: whether it is a relative of tiny is open.\n", "")
    assert (missing.status, missing.stdout) == (2, "")
    assert missing.stderr.startswith("error: no.origin.json is missing")
    assert missing.stderr.count("\n") == 1
