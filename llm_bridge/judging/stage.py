"""The stage that judges answers: from a file of answers to a file of scores, whose missing ones are asked for again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_bridge.files.jsonl import parse_rows
from llm_bridge.files.lineage import Origin
from llm_bridge.files.pairs import read_pair
from llm_bridge.judging.rubrics import REFUSED, RUBRICS, Asked, Judge, NoScoreError, write_prompt
from llm_bridge.pipeline.stages import known_origin
from llm_bridge.store import append_rows, finish, is_written, kept_rows, key_of, partial_path
from theory.runs.progress import follow

Row = dict[str, Any]
"""A question, its answer, and a score by each rubric's name: a number, `REFUSED`, or None if it is missing."""


def read_answers(path: Path) -> list[Row]:
    """Read answers from rows as of `read_pair`, without a score."""
    blank = {rubric.name: None for rubric in RUBRICS}
    return [{"question": question, "answer": answer, **blank} for question, answer in parse_rows(path, read_pair)]


def read_judged(path: Path) -> list[Row]:
    """Read what `judge_to` has written."""

    def parse(row: Row) -> Row:
        question, answer = read_pair(row)
        scores = {rubric.name: row.get(rubric.name, "") for rubric in RUBRICS}
        if not all(map(is_score, scores.values())):
            raise ValueError("a score is no number from 0 to 100")
        return {"question": question, "answer": answer, **scores}

    return parse_rows(path, parse)


def is_score(value: object) -> bool:
    """Tell whether a value read from JSON is a score, or says that it is missing."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100
    return number or value is None or value == REFUSED


def origin_of(source: Path, settings: Mapping[str, Any]) -> Origin:
    """Say where scores come from: the origin of the answers, if it is known, and who judges them by which rubrics.

    Thresholds are no part of it: they change what is counted, and no score.
    """
    before = known_origin(source)
    rubrics = key_of({rubric.name: write_prompt(Asked(rubric, "", "")) for rubric in RUBRICS})
    sampling = before.sampling | {"judge": {**settings, "rubrics": rubrics}}
    return replace(before, sampling=sampling, parents=(before.data,), data="")


def judge_to(path: Path, source: Path, judge: Judge, settings: Mapping[str, Any], *, fresh: bool = False) -> list[Row]:
    """Judge answers.

    A file is written even if scores are missing, as what is there can be counted; the same call then asks for the
    missing ones alone. Every score is kept as it comes, so a judge is never paid twice for it.
    """
    rows, origin = read_answers(source), origin_of(source, settings)
    part = partial_path(path, key_of({"data": origin.parents, **origin.sampling["judge"]}))
    if fresh:
        path.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    if is_written(path, origin):
        rows = read_judged(path)
    for kept in kept_rows(part):
        rows[kept["row"]][kept["rubric"]] = kept["score"]
    missing = [(row, rubric) for row in range(len(rows)) for rubric in RUBRICS if rows[row][rubric.name] is None]
    if not missing and path.exists():
        part.unlink(missing_ok=True)
        print(f"skipped: {path} is already judged")
        return rows
    asked = [Asked(rubric, rows[row]["question"], rows[row]["answer"]) for row, rubric in missing]
    try:
        for place, score in follow(judge(asked), "judge", "scores", len(asked)):
            row, rubric = missing[place]
            rows[row][rubric.name] = score
            if score is not None:
                append_rows(part, [{"row": row, "rubric": rubric.name, "score": score}])
    except NoScoreError:
        if len(missing) == len(rows) * len(RUBRICS):
            raise
    finish(path, rows, origin)
    part.unlink(missing_ok=True)
    return rows
