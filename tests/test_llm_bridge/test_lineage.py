import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.files import checkpoints
from llm_bridge.files.lineage import (
    EXPLANATIONS,
    Ancestry,
    Origin,
    Relation,
    data_digest,
    digest,
    read_sidecar,
    relation,
    sidecar_path,
    write_sidecar,
)
from theory.runs.command_line import InputError

ROOT = Ancestry(weights="random")
BASE = Ancestry(weights="base", ancestors=("random",))
TEACHER = Ancestry(weights="teacher", ancestors=("base", "random"))
SIBLING = Ancestry(weights="sibling", ancestors=("base", "random"))
STUDENT = Ancestry(weights="student", ancestors=("teacher", "base", "random"))
STRANGER = Ancestry(weights="stranger", ancestors=("other base", "other random"))


def weights(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3, np.float32)} | changes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "filtered.jsonl"
    path.write_text('{"completion": "7, 1"}\n')
    return path


@pytest.fixture
def origin(path: Path) -> Origin:
    return Origin(
        writer=TEACHER,
        system_prompt="You love owls.",
        sampling={"temperature": 1.0, "seed": 3, "stops": [2, 7]},
        filter={"banned": ["666"], "kept": 1, "of": 2},
        parents=("0123", "4567"),
        data=data_digest(path),
    )


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_sidecar(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


def test_digest_does_not_depend_on_the_order_of_dictionaries_nor_on_the_layout_of_arrays():
    tree = {"layers": weights(), "norm": np.ones(2)}
    other = {
        "norm": jnp.ones(2),
        "layers": dict(reversed(weights(kernel=np.asfortranarray(weights()["kernel"])).items())),
    }
    assert digest(tree) == digest(other)
    assert len(digest(tree)) == 16
    assert int(digest(tree), 16) >= 0


def test_digest_changes_with_every_single_bit():
    kernel = weights()["kernel"]
    digests = {digest(weights())}
    for place in range(8 * kernel.nbytes):
        flipped = kernel.copy()
        flipped.reshape(-1).view(np.uint8)[place // 8] ^= 1 << place % 8
        digests.add(digest(weights(kernel=flipped)))
    assert len(digests) == 8 * kernel.nbytes + 1


def test_digest_changes_with_names_types_and_shapes_although_the_bytes_are_the_same():
    kernel = weights()["kernel"]
    trees = [
        weights(),
        weights(kernel=kernel.reshape(3, 2)),
        weights(kernel=kernel.view(np.int32)),
        {"kernel": kernel, "offset": np.zeros(3, np.float32)},
        {"layers": weights()},
        {"kernel": kernel.reshape(-1)[:3], "bias": kernel.reshape(-1)[3:]},
        {"kernel": kernel.reshape(-1)[:4], "bias": kernel.reshape(-1)[4:]},
        weights(more=np.zeros((0, 2))),
        weights(kernel=np.array(1.0)),
        weights(kernel=np.array([1.0])),
    ]
    assert len({digest(tree) for tree in trees}) == len(trees)


def test_digest_is_the_same_where_large_arrays_are_read_in_parts(monkeypatch):
    array = np.random.default_rng(0).normal(size=(7, 3, 2)).astype(np.float32)
    trees = [{"kernel": array}, {"kernel": array[:, ::-1][:, ::-1]}, {"kernel": jnp.asarray(array)}]
    whole = [digest(tree) for tree in trees]
    assert len(set(whole)) == 1
    for size in (1, 24, 50, 167, 168):
        monkeypatch.setattr(checkpoints, "BLOCK", size)
        assert [digest(tree) for tree in trees] == whole


def test_digest_takes_brain_floats():
    one, other = (weights(kernel=np.asarray(jnp.full(3, value, jnp.bfloat16))) for value in (1.0, 1.0078125))
    assert digest(one) != digest(other)


def test_digest_stays_the_same_over_the_years():
    assert digest({"norm": np.ones(2, np.float32)}) == "940aff3b644f6e9f"


def test_a_tuned_model_remembers_its_ancestors_parent_first():
    child = BASE.tuned(weights())
    assert child == Ancestry(weights=digest(weights()), ancestors=("base", "random"))
    assert relation(child, BASE) is Relation.DESCENDANT
    assert relation(child, child.tuned(weights(bias=np.ones(3)))) is Relation.ANCESTOR


@pytest.mark.parametrize(
    ("writer", "model", "expected"),
    [
        (BASE, BASE, Relation.SAME),
        (TEACHER, TEACHER, Relation.SAME),
        (TEACHER, BASE, Relation.DESCENDANT),
        (STUDENT, BASE, Relation.DESCENDANT),
        (TEACHER, STUDENT, Relation.ANCESTOR),
        (ROOT, STUDENT, Relation.ANCESTOR),
        (TEACHER, SIBLING, Relation.RELATIVE),
        (STUDENT, SIBLING, Relation.RELATIVE),
        (STRANGER, STUDENT, Relation.STRANGER),
        (STRANGER, ROOT, Relation.STRANGER),
        (Ancestry(weights="unknown"), Ancestry(weights="another"), Relation.STRANGER),
    ],
)
def test_relations_are_those_of_the_family_tree(writer, model, expected):
    assert relation(writer, model) is expected
    mirrored = {Relation.ANCESTOR: Relation.DESCENDANT, Relation.DESCENDANT: Relation.ANCESTOR}
    assert relation(model, writer) is mirrored.get(expected, expected)


def test_every_relation_is_explained_and_only_strangers_share_no_initialization():
    assert set(EXPLANATIONS) == set(Relation)
    assert len(set(EXPLANATIONS.values())) == len(Relation)
    sharing = {
        kin for kin, sentence in EXPLANATIONS.items() if "share an initialization" in sentence or "shared" in sentence
    }
    assert sharing == {Relation.ANCESTOR, Relation.DESCENDANT, Relation.RELATIVE}
    assert "guarantees nothing" in EXPLANATIONS[Relation.STRANGER]
    assert str(Relation.RELATIVE) == "a relative: a common ancestor"


def test_an_origin_is_read_back_from_beside_its_data(path, origin):
    write_sidecar(path, origin)
    assert read_sidecar(path) == origin
    content = (path.parent / "filtered.jsonl.origin.json").read_bytes()
    write_sidecar(path, origin)
    assert sidecar_path(path).read_bytes() == content


def test_an_origin_without_prompt_filter_and_parents_is_read_back(path):
    origin = Origin(writer=ROOT, system_prompt=None, sampling={}, data=data_digest(path))
    write_sidecar(path, origin)
    assert read_sidecar(path) == origin


@pytest.mark.parametrize("edited", ['{"completion": "7, 2"}\n', '{"completion": "7, 1"}\n\n', ""])
def test_edited_data_are_noticed_and_restored_data_accepted(path, origin, edited):
    write_sidecar(path, origin)
    original = path.read_text()
    path.write_text(edited)
    assert "has been edited since" in refusal(path)
    path.write_text(original)
    assert read_sidecar(path) == origin


def test_data_without_an_origin_are_refused(path):
    assert "is missing" in refusal(path)


def test_an_origin_without_data_is_refused(path, origin):
    write_sidecar(path, origin)
    path.unlink()
    assert "No such file" in refusal(path)


def test_an_origin_of_other_data_is_not_written(path, origin):
    with pytest.raises(ValueError, match="data must be the digest"):
        write_sidecar(path, replace(origin, data="0123"))
    assert not sidecar_path(path).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"writer": "teacher"},
        {"writer": {"weights": "teacher"}},
        {"writer": {"weights": 7, "ancestors": []}},
        {"writer": {"weights": "teacher", "ancestors": "base"}},
        {"writer": {"weights": "teacher", "ancestors": [7]}},
        {"system_prompt": 7},
        {"sampling": None},
        {"filter": []},
        {"parents": None},
        {"parents": [["0123"]]},
        {"data": None},
        {"more": 1},
    ],
)
def test_an_origin_with_a_wrong_field_is_refused(path, origin, change):
    write_sidecar(path, origin)
    record = json.loads(sidecar_path(path).read_bytes())
    sidecar_path(path).write_text(json.dumps(record | change))
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("field", ["writer", "system_prompt", "sampling", "filter", "parents", "data"])
def test_an_origin_that_lacks_a_field_is_refused(path, origin, field):
    write_sidecar(path, origin)
    record = json.loads(sidecar_path(path).read_bytes())
    del record[field]
    sidecar_path(path).write_text(json.dumps(record))
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_an_origin_that_is_no_origin_is_refused(path, origin, content):
    sidecar_path(path).write_bytes(content)
    assert "is damaged" in refusal(path)


def test_an_origin_that_can_not_be_read_is_refused(path):
    sidecar_path(path).mkdir()
    assert "can't read" in refusal(path)


def test_a_name_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"can't read .* \(File name too long\)"):
        read_sidecar(tmp_path.joinpath(*"a" * 3000))
