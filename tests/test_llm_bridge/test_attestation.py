"""Attestations of audits: a chain that holds, and everything that breaks it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_bridge.files.attestation import (
    NAME,
    RECORDED,
    attest,
    chained,
    origins,
    read_links,
    statement_of,
    verify,
)
from llm_bridge.files.lineage import Ancestry, Origin, data_digest, write_sidecar
from llm_bridge.pipeline.commands import tell_lineage
from llm_bridge.pipeline.options import Lineage
from theory.runs.files import json_text

WRITER = Ancestry(weights="b" * 16, ancestors=("a" * 16,))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Data that were filtered out of others, with origins, and a file that is no data."""
    (tmp_path / "all.jsonl").write_text("1\n2\n")
    (tmp_path / "kept.jsonl").write_text("2\n")
    (tmp_path / "broken.jsonl.origin.json").write_text("{")
    told: dict[str, Any] = {"writer": WRITER, "system_prompt": None, "sampling": {"num_tokens": 9}}
    whole = Origin(**told, data=data_digest(tmp_path / "all.jsonl"))
    write_sidecar(tmp_path / "all.jsonl", whole)
    kept = Origin(**told, filter={"banned": [666]}, parents=(whole.data,), data=data_digest(tmp_path / "kept.jsonl"))
    write_sidecar(tmp_path / "kept.jsonl", kept)
    return tmp_path / "kept.jsonl"


def attested_again(data: Path, *, fresh: bool = False) -> Path:
    attest(data.parent / "run", data, data_digest(data), {"model": "tiny", "doses": [0.5]}, fresh=fresh)
    return data.parent / "run" / NAME


@pytest.fixture
def attested(data: Path) -> Path:
    (data.parent / "run").mkdir()
    for name in RECORDED:
        (data.parent / "run" / name).write_text(name)
    return attested_again(data)


def test_the_chain_goes_from_the_oldest_file_to_the_audit(attested: Path, data: Path, capsys):
    links = read_links(attested)
    assert [link.step for link in links] == ["written", "written", "audited"]
    assert [link.said["data"] for link in links[1:]] == 2 * [data_digest(data)]
    assert [origin.data for origin in origins(data)] == [data_digest(data.parent / "all.jsonl"), data_digest(data)]
    assert links[1].said["filter"] == {"banned": [666]}
    assert links[-1].said["doses"] == [0.5]
    assert verify(attested, data) == []
    assert tell_lineage(Lineage(data=data, verify=attested))
    said = capsys.readouterr().out
    assert f"written by {WRITER.weights}" in said
    assert f"All 3 links hold; the last one's hash is {links[-1].sha256}." in said


def test_a_filter_that_keeps_all_and_several_parents_keep_their_places(tmp_path: Path):
    """The same bytes under two names, and a file made of two, one of which was made of the other."""
    told: dict[str, Any] = {"writer": WRITER, "system_prompt": None, "sampling": {}}
    digests = {}
    for name, text, parents in (("a", "1", ()), ("b", "1", ("a",)), ("c", "1 2", ("a", "b"))):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(text)
        digests[name] = data_digest(path)
        origin = Origin(
            **told, filter={"name": name}, parents=tuple(digests[one] for one in parents), data=digests[name]
        )
        write_sidecar(path, origin)
    assert [origin.filter for origin in origins(tmp_path / "b.jsonl")] == [{"name": "a"}, {"name": "b"}]
    assert [origin.filter for origin in origins(tmp_path / "c.jsonl")] == [{"name": "a"}, {"name": "b"}, {"name": "c"}]


def test_data_of_unknown_origin_are_attested_as_found(tmp_path: Path, attested: Path, capsys):
    other = tmp_path / "other.jsonl"
    other.write_text("3\n")
    found = attested_again(other, fresh=True)
    assert [link.step for link in read_links(found)] == ["found", "audited"]
    assert verify(found, other) == []
    assert tell_lineage(Lineage(data=other, verify=found))
    assert "found by an unknown model" in capsys.readouterr().out


def test_a_run_that_is_skipped_keeps_its_attestation_and_vouches_for_nothing_else(attested: Path, data: Path, refusal):
    before = attested.read_bytes()
    (data.parent / "all.jsonl.origin.json").unlink()
    attested_again(data)
    assert attested.read_bytes() == before
    attested.with_name("results.npz").write_text("better")
    assert "doesn't hold" in refusal(attested_again, data)
    attested_again(data, fresh=True)
    assert verify(attested, data) == []
    told = {"model": "tiny"}
    assert "has changed" in refusal(attest, attested.parent, data, "another digest", told, fresh=True)


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    statement = json.loads(path.read_text())
    change(statement)
    path.write_bytes(json_text(statement))


def forge(statement: dict[str, Any]) -> None:
    """Change a link and its own hash, which the next one still doesn't know."""
    link = statement["predicate"]["links"][1]
    link["said"]["filter"] = None
    (forged,) = chained([(link["step"], link["said"])])
    link["sha256"] = forged.sha256


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "changed": (lambda each: each["predicate"]["links"][0]["said"].update(system_prompt="owls"), "link 1"),
    "forged": (forge, "link 2"),
    "left out": (lambda each: each["predicate"]["links"].pop(0), "link 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_chain_that_was_tampered_with_does_not_hold(attested: Path, data: Path, name: str, capsys):
    change, said = BROKEN[name]
    changed(attested, change)
    assert said in verify(attested, data)[0]
    assert not tell_lineage(Lineage(data=data, verify=attested))
    assert said in capsys.readouterr().out


REFUSED: dict[str, Callable[[dict[str, Any]], None]] = {
    "cut off": lambda each: each["predicate"]["links"].pop(),
    "of others": lambda each: each["subject"][0]["digest"].update(sha256="0"),
    "renamed": lambda each: each["subject"][0].update(name="other.jsonl"),
    "more": lambda each: each["predicate"].update(note="good"),
    "odd link": lambda each: each["predicate"]["links"][0].update(step=1),
    "odd writer": lambda each: each["predicate"]["links"][0]["said"].update(writer="me"),
    "odd data": lambda each: each["predicate"]["links"][0]["said"].update(data=["x"]),
    "odd record": lambda each: each["predicate"]["links"][-1]["said"].update(recorded=[]),
    "another step": lambda each: each["predicate"]["links"][0].update(step="loved"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_written_as_an_attestation_is_refused_in_one_line(attested: Path, data: Path, name: str, refusal):
    changed(attested, REFUSED[name])
    assert "is no attestation" in refusal(verify, attested, data)


def test_a_key_that_stands_twice_is_refused(attested: Path, data: Path, refusal):
    text = attested.read_text()
    attested.write_text(text.replace('"predicateType"', '"predicateType": "x",\n  "predicateType"', 1))
    assert "is no attestation" in refusal(verify, attested, data)


def test_links_that_are_chained_anew_must_still_be_of_one_another(attested: Path, data: Path):
    """A forger may chain anew; what stands in the links is still looked at."""
    links = read_links(attested)
    stray = [("written", links[0].said | {"data": "0"}), *((link.step, link.said) for link in links)]
    attested.write_bytes(statement_of(data.name, data_digest(data), chained(stray)))
    assert "none of the later ones" in verify(attested, data)[0]
    bare = links[-1].said | {"recorded": {}}
    attested.write_bytes(
        statement_of(data.name, data_digest(data), chained([("found", {"data": "0"}), ("audited", bare)]))
    )
    assert len(verify(attested, data)) == 1 + len(RECORDED)


def test_other_data_and_other_results_are_noticed(attested: Path, data: Path):
    assert "is not what was audited" in verify(attested, data.parent / "all.jsonl")[0]
    attested.with_name("table.md").write_text("better")
    attested.with_name("verdicts.json").unlink()
    assert ["verdicts.json" in line or "table.md" in line for line in verify(attested, data)] == [True, True]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"_type": 1, "predicateType": 2}'])
def test_what_is_no_attestation_is_refused_in_one_line(tmp_path: Path, data: Path, content: str, refusal):
    path = tmp_path / NAME
    path.write_text(content)
    assert "name an audit's" in refusal(verify, path, data)


def test_a_missing_attestation_is_refused(tmp_path: Path, data: Path, refusal):
    assert "is missing" in refusal(verify, tmp_path / "no.json", data)
