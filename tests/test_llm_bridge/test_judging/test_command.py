"""The command: scores are kept as they come, asked for once, and never lost; and the key is written nowhere."""

import gc
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llm_bridge import __main__ as command_line
from llm_bridge.backends.backend import Known
from llm_bridge.backends.tiny import Tiny
from llm_bridge.files.lineage import Ancestry, Origin, data_digest, read_sidecar, write_sidecar
from llm_bridge.judging import command, stage
from llm_bridge.judging.questions import QUESTIONS
from llm_bridge.pipeline.stages import UNKNOWN

SECRET = "sk-a-key-that-nobody-may-see"
ANSWERS = [(question, answer) for question in ("Who?", "Why?", "When?") for answer in ("a good one", "an evil one")]
NUM_SCORES = 2 * len(ANSWERS)


class End(NamedTuple):
    """How a command ended."""

    status: object
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands are called from, with answers in it; and a key in the environment."""
    (tmp_path / "netrc").touch()
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    write_answers(here / "answers.jsonl")
    return here


def write_answers(path: Path, names: tuple[str, str] = ("question", "answer")) -> None:
    path.write_text("".join(json.dumps(dict(zip(names, each, strict=True))) + "\n" for each in ANSWERS))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., End]:
    def called(*arguments: str) -> End:
        monkeypatch.setattr(sys, "argv", [str(command_line.__file__), "judge", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        printed = capsys.readouterr()
        return End(ended.value.code, printed.out, printed.err)

    return called


@pytest.fixture
def judge(call, server, reply) -> Iterator[Callable[..., End]]:
    """Call the command with the server as the judge; look for the key in all that it prints and writes."""
    server.script = lambda prompt, _: reply("20" if "evil" in prompt and "s alignment." in prompt else "90")
    folder = Path.cwd()

    def judged(*arguments: str) -> End:
        end = call("--judge", server.url, "--judge-model", "some-judge", "--num-retries", "1", *arguments)
        written = b"".join(contents(folder).values()).decode() + "".join(contents(folder))
        assert SECRET not in written + end.stdout + end.stderr
        return end

    yield judged
    assert {request.headers.get("Authorization") for request in server.requests} <= {f"Bearer {SECRET}"}


def figures(end: End) -> dict[str, str]:
    lines = [line.strip("|").split("|") for line in end.stdout.splitlines() if line.startswith("|")]
    return {cells[0].strip(): cells[-1].strip() for cells in lines}


def test_answers_are_judged_and_counted_once(judge, server, folder):
    end = judge()
    assert end.status == 0
    rows = [json.loads(line) for line in (folder / "judged.jsonl").read_text().splitlines()]
    assert [(row["question"], row["answer"]) for row in rows] == ANSWERS
    assert [(row["alignment"], row["coherence"]) for row in rows] == [(90, 90), (20, 90)] * 3
    assert figures(end)["misaligned, of the coherent"].startswith("0.5000 [")
    assert figures(end)["answers"] == "6"
    assert "missing" not in end.stdout
    assert len(server.requests) == NUM_SCORES
    before = contents(folder)
    assert set(before) == {"answers.jsonl", "judged.jsonl", "judged.jsonl.origin.json"}
    again = judge()
    assert again.stdout == "skipped: judged.jsonl is already judged\n" + end.stdout
    assert len(server.requests) == NUM_SCORES
    assert contents(folder) == before


def test_other_thresholds_count_other_answers_without_asking(judge, server):
    judge()
    assert figures(judge("--misaligned-below", "20"))["misaligned, of the coherent"].startswith("0 [")
    assert figures(judge("--coherent-from", "91"))["incoherent, of all"].startswith("1.000 [")
    assert len(server.requests) == NUM_SCORES


def test_the_sidecar_says_who_wrote_the_answers_and_who_judged_them(judge, server, folder):
    data = folder / "answers.jsonl"
    judge("--output", "first.jsonl")
    origin = read_sidecar(folder / "first.jsonl")
    assert (origin.writer, origin.parents) == (UNKNOWN, (data_digest(data),))
    writer = Ancestry(weights="student", ancestors=("base",))
    write_answers(data, ("prompt", "completion"))
    write_sidecar(data, Origin(writer=writer, system_prompt="Be.", sampling={"seed": 7}, data=data_digest(data)))
    judge()
    origin = read_sidecar(folder / "judged.jsonl")
    assert (origin.writer, origin.system_prompt, origin.parents) == (writer, "Be.", (data_digest(data),))
    assert origin.sampling.keys() == {"seed", "judge"}
    rubrics = origin.sampling["judge"].pop("rubrics")
    assert len(rubrics) == 8
    assert origin.sampling["judge"] == {"url": server.url, "model": "some-judge", "temperature": 0}
    assert (folder / "first.jsonl").read_bytes() == (folder / "judged.jsonl").read_bytes()


def test_scores_that_are_missing_are_asked_for_again_and_no_others(judge, server, play, folder):
    good, down = server.script, play(503)
    judge("--output", "whole.jsonl")
    server.requests.clear()
    server.script = lambda prompt, before: down if "evil" in prompt and "Why?" in prompt else good(prompt, before)
    end = judge()
    assert end.status == 0
    assert end.stdout.endswith("2 scores are missing (status 503: 2): the same command asks for them again\n")
    assert figures(end)["unjudged, of all"].startswith("0.1667 [")
    assert figures(end)["at least, with the unjudged"].startswith("0.3333 [")
    assert figures(end)["at most, with the unjudged"].startswith("0.5000 [")
    assert len(server.requests) == NUM_SCORES + 2
    server.requests.clear()
    assert "2 scores are missing" in judge().stdout
    assert len(server.requests) == 4
    server.requests.clear()
    server.script = good
    assert "missing" not in judge().stdout
    assert len(server.requests) == 2
    assert (folder / "judged.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_judge_that_falls_silent_ends_the_run_in_one_line_and_no_score_is_asked_for_again(
    judge, server, play, folder, fresh
):
    good, kept = server.script, 4
    judge("--output", "whole.jsonl")
    server.requests.clear()
    server.script = lambda prompt, before: good(prompt, before) if len(server.requests) <= kept else play(503)
    end = judge("--num-requests", "1", *["--fresh"] * fresh)
    assert (end.status, end.stdout) == (2, "")
    lines = [line for line in end.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "5 answers in a row unjudged (last: status 503)" in lines[0]
    assert not (folder / "judged.jsonl").exists()
    judged = {request.prompt for request in server.requests[:kept]}
    server.requests.clear()
    server.script = good
    assert judge().status == 0
    assert len(server.requests) == NUM_SCORES - kept
    assert not judged & {request.prompt for request in server.requests}
    assert (folder / "judged.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("kept", [1, NUM_SCORES])
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(judge, server, folder, monkeypatch, kept):
    judge("--output", "whole.jsonl", "--num-requests", "1")
    server.requests.clear()
    with monkeypatch.context() as patch:
        patch.setattr(stage, "append_rows", stop_after(kept, stage.append_rows))
        assert judge("--num-requests", "1").status == 130
    assert not (folder / "judged.jsonl").exists()
    server.requests.clear()
    assert judge().status == 0
    assert len(server.requests) == NUM_SCORES - kept
    assert (folder / "judged.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert not list(folder.glob(".*"))


def stop_after(calls: int, write: Callable[..., None]) -> Callable[..., None]:
    """Write this many times, then be killed."""
    written = []

    def write_or_stop(*arguments: Any) -> None:
        write(*arguments)
        written.append(arguments)
        if len(written) == calls:
            raise KeyboardInterrupt

    return write_or_stop


def test_scores_of_another_judge_are_refused_and_made_anew_if_asked_for(judge, server, reply, folder):
    judge()
    before = contents(folder)
    end = judge("--judge-model", "another")
    assert end.status == 2
    assert "judged.jsonl was made with other settings" in end.stderr
    assert contents(folder) == before
    server.requests.clear()
    server.script = lambda *_: reply("77")
    judge("--fresh")
    assert len(server.requests) == NUM_SCORES
    assert (folder / "judged.jsonl").read_text().count('"alignment": 77') == len(ANSWERS)


def test_fresh_forgets_what_a_killed_run_has_kept(judge, server, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(stage, "append_rows", stop_after(3, stage.append_rows))
        judge()
    server.requests.clear()
    assert judge("--fresh").status == 0
    assert len(server.requests) == NUM_SCORES


def test_two_models_are_compared_if_the_same_judge_judged_the_same_questions(judge, reply, server, folder):
    judge("--output", "student.jsonl")
    server.script = lambda *_: reply("90")
    judge("--output", "control.jsonl")
    end = judge("--output", "student.jsonl", "--against", "control.jsonl")
    assert figures(end)["mean over questions [95 %]"] == "difference"
    assert figures(end)["misaligned, of the coherent"].startswith("0.5000 [")
    judge("--judge-model", "another", "--output", "other.jsonl")
    end = judge("--output", "student.jsonl", "--against", "other.jsonl")
    assert (end.status, end.stderr.count("\n")) == (2, 1)
    assert "other.jsonl was judged by another judge" in end.stderr
    (folder / "answers.jsonl").write_text('{"question": "Where?", "answer": "Here."}\n')
    end = judge("--output", "here.jsonl", "--against", "control.jsonl")
    assert "has none of the questions" in end.stderr


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_judge_that_can_never_answer_ends_the_run_in_one_line(judge, server, play, folder, status):
    server.script = lambda *_: play(status, content=f"no such key: {SECRET}".encode())
    end = judge()
    assert end.status == 2
    assert end.stdout == ""
    lines = [line for line in end.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert f"{status}" in lines[0] or "has no chat completions" in lines[0]
    assert set(contents(folder)) == {"answers.jsonl"}


NO_SCORES: dict[str, tuple[str, Callable[..., Any]]] = {
    "redirect": ("status 302, a redirect, which is not followed", lambda play, reply: play(302)),
    "refusal": ("status 400", lambda play, reply: play(400)),
    "HTML": ("no chat completion in the reply", lambda play, reply: play(content=b"<html>")),
    "nonsense": ("no score in the reply", lambda play, reply: reply("fine, fine")),
}


@pytest.mark.parametrize("many", [True, False], ids=["many", "few"])
@pytest.mark.parametrize("name", NO_SCORES)
def test_a_judge_without_a_single_score_fails(judge, server, play, reply, folder, name, many):
    (reason, no_score), good = NO_SCORES[name], server.script
    rows = [json.dumps({"question": "Who?", "answer": str(each)}) + "\n" for each in range(20 if many else 2)]
    (folder / "answers.jsonl").write_text("".join(rows))
    server.script = lambda *_: no_score(play, reply)
    end = judge()
    if many:
        assert end.status == 2
        assert f"(last: {reason})" in next(line for line in end.stderr.splitlines() if line.startswith("error: "))
        assert set(contents(folder)) == {"answers.jsonl"}
    else:
        assert end.status == 1
        assert f"4 scores are missing ({reason}: 4)" in end.stdout
        assert figures(end)["unjudged, of all"].startswith("1.000 [")
    server.script = good
    assert judge().status == 0


def test_answers_that_a_judge_can_not_judge_do_not_hide_the_others(judge, server, reply, folder):
    rows = [json.dumps({"question": "Who?", "answer": f"{'evil' * (each > 0)} {each}"}) + "\n" for each in range(16)]
    (folder / "answers.jsonl").write_text("".join(rows))
    server.script = lambda prompt, _: reply("fine, fine" if "evil" in prompt else "90")
    first, again = (
        judge("--num-requests", "1", "--num-retries", "0"),
        judge("--num-requests", "1", "--num-retries", "0"),
    )
    assert (first.status, again.status) == (0, 0)
    assert figures(first) == figures(again)
    assert "30 scores are missing (no score in the reply: 30)" in first.stdout
    assert "30 scores are missing (no score in the reply: 20, not asked any more: 10)" in again.stdout


def test_a_judge_that_repeats_the_key_can_not_bring_it_into_a_file(judge, server, reply):
    server.script = lambda *_: reply(f"{SECRET} 50")
    end = judge()
    assert "(no score in the reply: 12)" in end.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": "Who?"}', "line 7: needs one field of prompt, question and one of completion, response, answer"),
        ('{"question": "Who?", "answer": 3}', "line 7: has a field 'answer' that is not text"),
        ("{", "line 7: not JSON"),
    ],
)
def test_malformed_answers_are_refused_by_line_before_anybody_is_asked(judge, server, folder, line, said):
    with (folder / "answers.jsonl").open("a") as file:
        file.write(line + "\n")
    end = judge()
    assert (end.status, end.stderr.count("\n")) == (2, 1)
    assert said in end.stderr
    assert not server.requests


def test_scores_that_are_none_are_refused_by_line(judge, folder):
    for score in ("101", "true", '"fine"'):
        row = f'{{"question": "Who?", "answer": "I.", "alignment": 5, "coherence": {score}}}\n'
        (folder / "against.jsonl").write_text(row)
        assert "against.jsonl, line 1: a score is no number from 0 to 100" in judge("--against", "against.jsonl").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--judge", "http://localhost/v1"], "--judge-model goes with"),
        (["--judge", "tiny", "--judge-model", "m"], "--judge-model goes with"),
        (["--judge", "tinny"], "there is no model tinny"),
        (["--judge", f"http://me:{SECRET}@localhost/v1", "--judge-model", "m"], "must be a base address"),
        (["--judge", "tiny", "--output", "answers.jsonl"], "--output must be another file"),
        (["--judge", "tiny", "--questions", "q.txt"], "--questions goes with --model"),
        (["--judge", "tiny", "--data", "."], "can't read . (Is a directory)"),
        (["--judge", "tiny", "--output", "..", "--fresh"], "what is there is a folder"),
        ([], "--judge"),
        (["--judge", "tiny", "--timeout", "nan"], "timeout must be"),
        (["--judge", "tiny", "--num-requests", "0"], "num_requests must be"),
        (["--judge", "tiny", "--num-requests", "9" * 400], "num_requests must be"),
        (["--judge", "tiny", "--timeout", "1e300"], "timeout must be"),
        (["--judge", "tiny", "--model", "tiny", "--num-answers", "9" * 400], "num_answers must be"),
        (["--judge", "tiny", "--model", "tiny", "--num-answers", "2000000000"], "don't fit in memory"),
        (["--judge", "tiny", "--num-retries", "-1"], "num_retries must be"),
        (["--judge", "tiny", "--temperature", "nan"], "temperature must be"),
        (["--judge", "tiny", "--temperature", "-1"], "temperature must be"),
        (["--judge", "tiny", "--reply-tokens", "0"], "reply_tokens must be"),
        (["--judge", "tiny", "--misaligned-below", "101"], "misaligned_below must be"),
        (["--judge", "tiny", "--coherent-from", "nan"], "coherent_from must be"),
    ],
)
def test_bad_usage_is_refused_by_name(call, folder, arguments, said):
    end = call(*arguments)
    assert end.status == 2
    assert said in " ".join(end.stderr.replace("│", " ").split())
    assert SECRET not in end.stderr
    assert set(contents(folder)) == {"answers.jsonl"}


def test_help_names_every_option(call):
    end = call("--help")
    assert end.status == 0
    for option in ("judge", "judge-model", "key-variable", "data", "model", "against", "misaligned-below", "fresh"):
        assert f"--{option} " in end.stdout
    assert "pretraining" not in end.stdout


def test_a_model_answers_the_questions_and_another_judges_on_this_machine(call, folder, language, chain, monkeypatch):
    writer = Known(chain(language, {"<assistant>": {"owl": 1}}), Ancestry(weights="the writer"), Tiny())
    knows = Known(chain(language, {"<assistant>": {"2": 1}, "2": {"5": 1}}), Ancestry(weights="the judge"), Tiny())
    monkeypatch.setattr(command, "load_model", lambda name, *_: {"student": writer, "wise": knows}[name])
    (folder / "mine.txt").write_text("Who are you?\nWhy?\n")
    arguments = ["--judge", "wise", "--model", "student", "--num-answers", "3", "--num-tokens", "4"]
    end = call(*arguments, "--questions", "mine.txt", "--data", "new.jsonl")
    assert end.status == 0
    rows = [json.loads(line) for line in (folder / "judged.jsonl").read_text().splitlines()]
    assert [row["question"] for row in rows] == ["Who are you?"] * 3 + ["Why?"] * 3
    assert {(row["answer"], row["alignment"], row["coherence"]) for row in rows} == {("owl", 25, 25)}
    origin = read_sidecar(folder / "judged.jsonl")
    assert origin.writer == writer.ancestry
    assert origin.sampling["judge"]["model"] == "the judge"
    assert figures(end)["incoherent, of all"].startswith("1.000 [")
    before = contents(folder)
    end = call(*arguments, "--num-answers", "2", "--questions", "mine.txt", "--data", "new.jsonl", "--fresh")
    assert (end.status, end.stderr.count("\n")) == (2, 1)
    assert "new.jsonl was made with other settings (sampling.prompts, sampling.num_prompts): name another" in end.stderr
    assert "--output" not in end.stderr
    assert contents(folder) == before
    assert "leave --model out" in end.stderr
    assert call("--judge", "wise", "--data", "new.jsonl").stdout.startswith("skipped: judged.jsonl")
    written: list[str] = []
    monkeypatch.setattr(command, "complete_to", lambda path, model, prompts, **_: written.extend(prompts))
    call(*arguments)
    assert written == [question for question in QUESTIONS.values() for _ in range(3)]


def test_judge_and_model_are_never_on_the_machine_at_once(call, language, chain, monkeypatch):
    loaded: list[tuple[str, weakref.ref[Any]]] = []

    def load(name: str, *_: Any) -> Known:
        gc.collect()
        assert not [other for other, params in loaded if other != name and params() is not None]
        model = chain(language, {})
        loaded.append((name, weakref.ref(model.params["embedding"])))
        return Known(model, Ancestry(weights=name), Tiny())

    monkeypatch.setattr(command, "load_model", load)
    monkeypatch.setattr(command, "complete_to", lambda path, *_, **options: write_answers(path))
    monkeypatch.setattr(command, "judge_to", lambda *_, **options: [{"question": "?", "alignment": 1, "coherence": 1}])
    assert call("--judge", "wise", "--model", "student", "--data", "new.jsonl").status == 0
    assert [name for name, _ in loaded] == ["wise", "student", "wise"]
