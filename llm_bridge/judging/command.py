"""The command `python -m llm_bridge judge`."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from llm_bridge.backends.backend import Known, Loading
from llm_bridge.backends.choice import load_model
from llm_bridge.carriers.reading import require_room
from llm_bridge.experiment.protocol import require_texts
from llm_bridge.files.lineage import read_sidecar
from llm_bridge.judging.local import LocalJudge
from llm_bridge.judging.questions import QUESTIONS, read_questions
from llm_bridge.judging.report import Thresholds, measure, report
from llm_bridge.judging.rubrics import RUBRICS, Judge
from llm_bridge.judging.stage import Row, judge_to, origin_of, read_answers, read_judged
from llm_bridge.pipeline.stages import complete_to
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.command_line import InputError, require, require_count, require_seeds, require_writable


@dataclass(frozen=True, kw_only=True)
class JudgeAnswers:
    """Let a judge score answers to open questions, and count the misaligned ones.

    Each answer gets an alignment and a coherence from 0 to 100. Refusals and incoherent answers are left out; of the
    others those with a low alignment are misaligned. A score that can't be had stays open, is counted both ways, and is
    asked for again by the same command.
    """

    judge: str
    """Who judges: the base address of an OpenAI-compatible endpoint (http://localhost:8000/v1), or a model on this
    machine: a folder or a repository of the hub, or what a stage wrote."""
    judge_model: str | None = None
    """The judge's name at the endpoint."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key, which is sent to `--judge` and written nowhere; local servers
    mostly need none."""
    data: Path = Path("answers.jsonl")
    """The answers, read, or with --model written first: JSON lines with a `prompt` or `question` and its
    `completion`, `response` or `answer`."""
    model: str | None = None
    """A model that first writes `--data`, its answers to the questions."""
    questions: Path | None = None
    """Questions for `--model`, one a line. Default: eight on the themes of the published ones."""
    num_answers: int = 200
    """Answers of `--model` to each question."""
    num_tokens: int = 300
    """Most tokens of an answer."""
    against: Path | None = None
    """Scores to compare with, as of a control: an `--output` of this command with the same judge."""
    misaligned_below: float = Thresholds().alignment
    """An alignment below this is misaligned."""
    coherent_from: float = Thresholds().coherence
    """A coherence below this leaves an answer out."""
    num_requests: int = 8
    """Requests at a time to the endpoint."""
    timeout: float = 60.0
    """Seconds that a reply of the endpoint may take."""
    num_retries: int = 5
    """How often a request that failed is repeated."""
    temperature: float | None = 0.0
    """The judge's temperature at the endpoint; None for judges that take none."""
    reply_tokens: int = 16
    """Most tokens of a reply of the endpoint; a judge that thinks first needs some thousands."""
    seed: int = 0
    """Seed of tiny bases, and root of all randomness."""
    output: Path = Path("judged.jsonl")
    """Where the scores go; its name heads the column of the table."""
    fresh: bool = False
    """Ask for all scores anew."""
    loading: Annotated[Loading, tyro.conf.arg(name="")] = field(default_factory=lambda: Loading(longest=1024))
    """How a published model is run."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How tiny bases are made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, 1)
        for name in ("num_answers", "num_tokens", "reply_tokens"):
            require_count(name, getattr(self, name))
        require_texts("answers", self.num_answers, self.num_tokens)
        require(1 <= self.num_requests <= 1024, "num_requests", "from 1 to 1024", self.num_requests)
        require(self.num_retries >= 0, "num_retries", "at least 0", self.num_retries)
        require(0 < self.timeout <= 86400, "timeout", "above zero, and at most a day's 86400", self.timeout)
        valid = self.temperature is None or (math.isfinite(self.temperature) and self.temperature >= 0)
        require(valid, "temperature", "a finite number, at least 0, or None", self.temperature)
        for name in ("misaligned_below", "coherent_from"):
            require(0 <= getattr(self, name) <= 100, name, "from 0 to 100", getattr(self, name))

    def known(self, name: str) -> Known:
        """Take a model."""
        return load_model(name, self.pretraining, self.seed, self.loading)


def run(options: JudgeAnswers) -> bool:
    """Run the command; False if nothing is judged."""
    if options.output.resolve() in {each.resolve() for each in (options.data, options.against) if each}:
        raise InputError(f"--output must be another file than --data and --against, not {options.output}")
    if options.model is not None:
        require_writable(options.data, folder=False, option="--data")
    if options.questions and options.model is None:
        raise InputError("--questions goes with --model, which answers them")
    if options.model is None:
        read_answers(options.data)  # refused before a judge is loaded, or made
    else:
        choose_judge(options)  # refused before any work, and kept no longer: two models may be too many for the memory
        questions = read_questions(options.questions) if options.questions else list(QUESTIONS.values())
        answer(options, options.model, questions)
    judge, settings = choose_judge(options)
    thresholds = Thresholds(options.misaligned_below, options.coherent_from)
    rivals = {} if options.against is None else {options.against.stem: read_rival(options, options.against, settings)}
    rows = judge_to(options.output, options.data, judge, settings, fresh=options.fresh)
    models = {options.output.stem: rows, **rivals}
    print(report({name: measure(each, thresholds) for name, each in models.items()}), end="")
    if missing := sum(row[rubric.name] is None for row in rows for rubric in RUBRICS):
        from llm_bridge.judging.endpoint import Endpoint

        failures = judge.failures.most_common() if isinstance(judge, Endpoint) else [("no score in the reply", missing)]
        reasons = ", ".join(f"{reason}: {count}" for reason, count in failures)
        print(f"{missing} scores are missing ({reasons}): the same command asks for them again")
    return missing < len(rows) * len(RUBRICS)


def choose_judge(options: JudgeAnswers) -> tuple[Judge, dict[str, Any]]:
    """Take the judge, and what tells it from others."""
    remote = options.judge.startswith(("http://", "https://"))
    if remote != (options.judge_model is not None):
        raise InputError("--judge-model goes with a --judge that is an address, and only with one")
    if options.judge_model is None:
        known = options.known(options.judge)
        local = LocalJudge(model=known.model, seed=options.seed, limited=not known.backend.short)
        return local, {"model": known.ancestry.weights, "num_samples": local.num_samples, "seed": options.seed}
    from llm_bridge.judging.endpoint import Endpoint

    endpoint = Endpoint(
        url=options.judge,
        model=options.judge_model,
        key=os.environ.get(options.key_variable, "").strip(),
        key_variable=options.key_variable,
        num_requests=options.num_requests,
        timeout=options.timeout,
        num_retries=options.num_retries,
        temperature=options.temperature,
        reply_tokens=options.reply_tokens,
        seed=options.seed,
    )
    return endpoint, {"url": endpoint.url, "model": endpoint.model, "temperature": endpoint.temperature}


def answer(options: JudgeAnswers, name: str, questions: list[str]) -> None:
    """Let a model answer questions, unless it has.

    Each is asked as a prompt of its own for every answer, so that few are read at once.
    """
    prompts = [question for question in questions for _ in range(options.num_answers)]
    writer = options.known(name)
    if not writer.backend.short:
        require_room(writer.model, questions, options.num_tokens)
    advice = "name another --data for new answers, or leave --model out to judge those that are there"
    complete_to(options.data, writer, prompts, seed=options.seed, num_tokens=options.num_tokens, advice=advice)


def read_rival(options: JudgeAnswers, path: Path, settings: dict[str, Any]) -> list[Row]:
    """Read scores to compare with, which the same judge must have given, and about some of the same questions."""
    rows = read_judged(path)
    if read_sidecar(path).sampling.get("judge") != origin_of(options.data, settings).sampling["judge"]:
        raise InputError(f"{path} was judged by another judge, so it can't be compared: judge its answers anew")
    if not {row["question"] for row in rows} & {row["question"] for row in read_answers(options.data)}:
        raise InputError(f"{path} has none of the questions of {options.data}, so it can't be compared")
    return rows
