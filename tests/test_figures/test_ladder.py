"""The ladder: from records made up here, where every number is known, and from the committed ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from figures.build import save_spanning
from figures.gallery import gallery_page
from figures.ladder import is_climbable, ladder
from figures.ladder_plots import PANELS, draw_ladder
from figures.rungs import SPREAD
from theory import Sampling
from theory.claim import Claim
from theory.claims import channels, different_initialization, rescaling, trait_loss
from theory.claims.rescaling import SPREADS
from theory.runs.files import figure_bytes
from theory.runs.records import FILES, Record, in_memory, read_record

GALLERY = Path(__file__).parents[2] / "figures"
FOLDERS = (
    *("theory-verify", "mlp-mnist-compare-inits", "mlp-mnist-theory"),
    *("llm-bridge-compare", "llm-bridge-compare-smollm2"),
)
RUNGS = ("random networks", "MLP on MNIST", "tiny language model", "SmolLM2, 135M")
NUM_SEEDS = 12


def made_up(config: dict[str, Any], **arrays: np.ndarray) -> Record:
    return Record(Path(), config, {name.replace("__", "/"): array for name, array in arrays.items()}, [], "", {})


STEPS, STEP = (1e-5, 1e-4, 1e-3, 1e-1), 1e-3
"""The made-up teachers' steps, and the one at which the ladder stands."""


def measurement(claim: Claim, case: str, num_seeds: int, **known: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of one case, those that the ladder doesn't read being zeros."""
    fields = dict.fromkeys(claim.measurement._fields, np.zeros(num_seeds)) | known
    return {f"{claim.name}/{case}/{name}": array for name, array in fields.items()}


def theory_record(draw: np.random.Generator, num_seeds: int) -> Record:
    fall, steps = draw.uniform(0.5, 1.5, num_seeds), np.tile(STEPS, (num_seeds, 1))
    slope = -fall[:, None] * np.array([0.1, 1.0])
    strange = slope * draw.normal(0, 0.1, (num_seeds, 1))
    change, strange_change = (one[..., None] * steps[:, None] for one in (slope, strange))
    scaled = np.broadcast_to(slope[:, None], (num_seeds, len(SPREADS), 2))
    further = np.exp(np.array(SPREADS))[:, None] * scaled
    cosines = np.stack([draw.uniform(0.1, 0.3, (num_seeds, 3)), draw.normal(0, 0.1, (num_seeds, 3))], axis=-1)
    rescaled = {"predicted": further, "shared": scaled, "largest": -5 * further, "steps": steps}
    rescaled["change"] = 0.99 * further[..., None] * steps[:, None, None]
    predicted = {"predicted": slope * steps[:, :1], "steps": steps / steps[:, :1]}
    predicted_strange = {"predicted_change": strange, "steps": steps}
    auxiliary = "auxiliary outputs"
    arrays = {
        **measurement(channels.CLAIM, "forms: tanh", num_seeds, cosine=cosines),
        **measurement(trait_loss.CLAIM, auxiliary, num_seeds, measured=0.98 * change, **predicted),
        **measurement(
            different_initialization.CLAIM, auxiliary, num_seeds, change=0.9 * strange_change, **predicted_strange
        ),
        **measurement(rescaling.CLAIM, f"rescaled: ReLU, {auxiliary}", num_seeds, **rescaled),
    }
    sampling = Sampling(num_seeds=num_seeds, teacher_steps=STEPS, learning_rates=(0.1, 1.0), largest_fitted_step=STEP)
    return made_up(sampling.config(), **arrays)


def digit_records(draw: np.random.Generator, num_seeds: int) -> tuple[Record, Record]:
    protocol = {"num_auxiliary": 3, "student_epochs": 5, "optimizer": "adam"}
    accuracy = {"shared": 0.5, "permuted": 0.5, "rescaled": 0.4, "stranger": 0.1}
    compared = {"accuracy/reference": np.full(num_seeds, 0.1), "accuracy/teacher": np.full(num_seeds, 0.9)}
    for init, mean in accuracy.items():
        compared[f"accuracy/{init} (aux)"] = mean + draw.normal(0, 0.01, num_seeds)
        compared[f"cosine/{init} (aux)"] = mean - 0.1 + draw.normal(0, 0.001, num_seeds)
    before = np.full((num_seeds // 2, 2, 6), 0.1)
    linearized = {
        "student/accuracy": before,
        "linearized/accuracies": 0.4 + draw.normal(0, 0.01, before[..., :2].shape),
    }
    return made_up({"data": "mnist", "protocol": protocol}, **compared), made_up({"numbers": [1, 3]}, **linearized)


def language_record(draw: np.random.Generator, num_seeds: int) -> Record:
    grown = np.array([1.0, 0.7, 0.1])[:, None, None] * np.array([0.01, 0.3])[:, None] * np.ones(4)
    predicted = grown * draw.uniform(0.9, 1.1, (num_seeds, 1, 1, 1))
    idle = draw.normal(0, 0.1, predicted.shape)
    cosines = np.array([0.04, 0.03, 0.0])[:, None, None] + draw.normal(0, 0.001, (num_seeds, 3, 3, 2))
    arrays = {
        "directions/cosines": cosines,
        "course/predicted": predicted,
        "course/raw": 0.9 * predicted + idle,
        "course/idle": idle,
        "odds/inits": np.zeros((num_seeds, 3, 4)),
        "odds/teachers": np.full((num_seeds, 5, 4), 5.0),
    }
    return made_up({"traits": ["owl", "cat"], "extent": {"times": [1, 300], "spread": 1.0}}, **arrays)


def make_records(seed: int = 0, num_seeds: int = NUM_SEEDS) -> dict[str, Record]:
    draw = np.random.default_rng(seed)
    language = (language_record(draw, num_seeds) for _ in FOLDERS[3:])
    parts = theory_record(draw, num_seeds), *digit_records(draw, num_seeds), *language
    return dict(zip(FOLDERS, parts, strict=True))


def committed_records() -> dict[str, Record]:
    there = [folder for folder in FOLDERS if (GALLERY / folder / "provenance.json").exists()]
    return {folder: read_record(GALLERY / folder) for folder in there}


def rung_names(records: dict[str, Record]) -> list[str]:
    return list(dict.fromkeys(name.split("/")[0] for name in ladder(records).results))


def rows_of(table: str) -> dict[tuple[str, str], list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n\n")[0].splitlines()[2:]]
    return {(rung, student): cells for rung, student, *cells in lines}


def swapped(records: dict[str, Record]) -> dict[str, Record]:
    """Exchange the shared student's and the stranger's measurements on every rung."""
    theory, compared, linearized, *languages = (records[folder] for folder in FOLDERS)
    shared, stranger = "trait-loss/auxiliary outputs/measured", "different-initialization/auxiliary outputs/change"
    cosine, accuracy = "channels/forms: tanh/cosine", "accuracy/{} (aux)"

    def exchange(record: Record, **changes: np.ndarray) -> Record:
        return record._replace(results=record.results | changes)

    def turn(record: Record) -> Record:
        names = ("directions/cosines", "course/raw", "course/idle")
        return exchange(record, **{name: record.results[name][:, ::-1] for name in names})

    pairs = [(name.format("shared"), name.format("stranger")) for name in (accuracy, "cosine/{} (aux)")]
    digits = {one: compared.results[other] for pair in pairs for one, other in (pair, pair[::-1])}
    changed = {shared: theory.results[stranger], stranger: theory.results[shared]}
    changed[cosine] = theory.results[cosine][..., ::-1]
    new = exchange(theory, **changed), exchange(compared, **digits), linearized, *map(turn, languages)
    return dict(zip(FOLDERS, new, strict=True))


def test_every_rung_is_there_and_every_control_flips():
    records = make_records()
    assert rung_names(records) == list(RUNGS)
    verdicts = ladder(records).verdicts
    assert [verdict.outcome for verdict in verdicts] == ["holds"] * 2 * len(RUNGS)
    assert all(verdict.control_flips for verdict in verdicts)


def test_verdicts_fail_if_the_strangers_are_the_ones_that_learn():
    assert {verdict.outcome for verdict in ladder(swapped(make_records())).verdicts} == {"fails"}


def test_control_is_the_matched_student_where_there_is_one():
    controls = [verdict.control for verdict in ladder(make_records()).verdicts[1::2]]
    assert controls == ["stranger − matched"] * len(RUNGS)


@pytest.mark.parametrize(("missing", "rung"), list(zip(FOLDERS, (RUNGS[0], RUNGS[1], *RUNGS[1:]), strict=True)))
def test_rung_with_a_missing_record_is_left_out(missing: str, rung: str):
    records = make_records()
    del records[missing]
    assert rung_names(records) == [name for name in RUNGS if name != rung]
    assert rung not in ladder(records).table


def test_rung_of_a_run_of_few_cases_is_left_out():
    records = make_records()
    few = records["theory-verify"].config | {"cases": "few"}
    records["theory-verify"] = records["theory-verify"]._replace(config=few)
    assert rung_names(records) == list(RUNGS[1:])


@pytest.mark.parametrize("missing", ["trait-loss/auxiliary outputs/measured", "channels/forms: tanh/cosine"])
def test_a_missing_array_is_an_error_and_no_missing_rung(missing):
    records = make_records()
    results = {name: array for name, array in records["theory-verify"].results.items() if name != missing}
    records["theory-verify"] = records["theory-verify"]._replace(results=results)
    with pytest.raises(KeyError, match=missing):
        ladder(records)


def test_one_rung_is_no_ladder():
    records = make_records()
    assert is_climbable({folder: records[folder] for folder in FOLDERS[:3]})
    assert not is_climbable({folder: records[folder] for folder in FOLDERS[:2]})
    assert not is_climbable({})


def test_numbers_in_the_table_are_those_of_some_obvious_lines():
    records = make_records(seed=1)
    theory, compared, linearized, language, _ = (records[folder].results for folder in FOLDERS)

    def written(values: np.ndarray) -> str:
        reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
        return f"{values.mean():.3f} ± {reach:.3f}"

    rows = rows_of(ladder(records).table)
    fall = -theory["trait-loss/auxiliary outputs/measured"][:, 1, 2]
    unit = -theory["trait-loss/auxiliary outputs/predicted"][:, 1].mean() * STEP / STEPS[0]
    assert rows["random networks", "shared init"][2] == written(fall / unit)
    strange = theory["different-initialization/auxiliary outputs/predicted_change"][:, 1] * STEP
    assert rows["random networks", "another init"][1] == written(-strange / unit)
    cosine = theory["channels/forms: tanh/cosine"][:, 1, 1]
    assert rows["random networks", "another init"][0] == f"{written(cosine)} †"
    further = np.exp(SPREAD) * theory["rescaling/rescaled: ReLU, auxiliary outputs/shared"][:, 0, 1] * STEP
    assert rows["random networks", "same function, units rescaled"][1] == written(-further / unit)
    assert rows["random networks", "same function, units rescaled"][0] == "0.200 ± 0.000 †"
    gain = linearized["linearized/accuracies"][:, 1, 0].mean() - 0.1
    for init, student in (("shared", "shared init"), ("stranger", "another init")):
        assert rows["MLP on MNIST", student][2] == written((compared[f"accuracy/{init} (aux)"] - 0.1) / gain)
    assert rows["MLP on MNIST", "shared init"][3] == f"{NUM_SEEDS}; predicted {NUM_SEEDS // 2}"
    odds = (language["course/raw"] - language["course/idle"])[:, 2, 1, 0]
    unit = language["course/predicted"][:, 0, 1, 0].mean()
    assert rows["tiny language model", "another init"][2] == written(odds / unit)
    assert rows["tiny language model", "shared init"][0] == written(language["directions/cosines"][:, 0, 0, 0])


def test_what_no_record_holds_is_a_dash_and_no_number():
    outcome = ladder(make_records())
    rows = rows_of(outcome.table)
    assert rows["MLP on MNIST", "another init"][1] == "–"
    absent = ("MLP on MNIST/matched/predicted", "MLP on MNIST/stranger/predicted")
    assert not set(absent) & set(outcome.results)
    assert "MLP on MNIST, another init: predicted" in outcome.table
    drawn = [text.get_text() for axes in draw_ladder(outcome).axes for text in axes.texts]
    assert drawn == ["not recorded"] * 2


def test_wrong_prediction_is_not_turned_into_a_right_one():
    records = make_records()
    language = records["llm-bridge-compare"]
    wrong = language.results | {"course/predicted": -language.results["course/predicted"]}
    records["llm-bridge-compare"] = language._replace(results=wrong)
    results = ladder(records).results
    assert results["tiny language model/shared/predicted"].mean() == pytest.approx(-1)
    assert results["tiny language model/shared/measured"].mean() == pytest.approx(0.9)


def test_few_seeds_decide_nothing():
    assert {verdict.outcome for verdict in ladder(make_records(num_seeds=4)).verdicts} == {"reported"}


def test_figure_is_drawn_from_the_record_alone():
    outcome = ladder(make_records())
    figure = draw_ladder(in_memory(outcome, Path(), {}, {}))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [title for title, _ in PANELS.values()]
    assert figure_bytes(figure, "png") == figure_bytes(draw_ladder(outcome), "png")


def test_ladder_is_saved_once_and_shown_right_after_the_overview(tmp_path: Path):
    records, config = make_records(), {"command": "figures quick", "seed": 0}
    saved = save_spanning("ladder", records, tmp_path, config, fresh=False)
    assert {path.name for path in (tmp_path / "ladder").iterdir()} == set(FILES)
    again = save_spanning("ladder", records, tmp_path, config, fresh=False)
    assert again["ladder"].provenance == saved["ladder"].provenance
    other = save_spanning("ladder", make_records(seed=1), tmp_path, config, fresh=False)
    assert other["ladder"].table != saved["ladder"].table
    page = gallery_page(saved, "python -m figures")
    assert page.index("overview/figure.png") < page.index("## The ladder") < page.index("ladder/figure.png")
    assert "ladder" not in gallery_page({}, "python -m figures")


def test_nothing_is_saved_where_there_is_one_rung_alone(tmp_path: Path):
    assert not save_spanning("ladder", {"theory-verify": make_records()["theory-verify"]}, tmp_path, {}, fresh=False)
    assert not list(tmp_path.iterdir())


def test_committed_records_climb():
    records = committed_records()
    outcome = ladder(records)
    assert set(rung_names(records)) >= set(RUNGS[:2])
    assert all(verdict.outcome != "fails" for verdict in outcome.verdicts)
    assert all(verdict.control_flips for verdict in outcome.verdicts if verdict.outcome == "holds")
    shared = [outcome.results[f"random networks/shared/{quantity}"] for quantity in ("measured", "predicted")]
    assert np.mean(shared[0] / shared[1]) == pytest.approx(1, abs=0.01)


@pytest.mark.skipif(not (GALLERY / "ladder").exists(), reason="not committed yet")
def test_committed_ladder_is_made_from_the_committed_records():
    assert read_record(GALLERY / "ladder").table == ladder(committed_records()).table
