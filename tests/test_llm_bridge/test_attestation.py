"""Attestations of audits: a chain that holds, and everything that breaks it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_bridge.files.attestation import NAME, attest, hash_of, origins, read_statement, verify
from llm_bridge.files.lineage import Ancestry, Origin, data_digest, write_sidecar
from llm_bridge.pipeline.commands import tell_lineage
from llm_bridge.pipeline.options import Lineage

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


@pytest.fixture
def attested(data: Path) -> Path:
    folder = data.parent / "run"
    folder.mkdir()
    for name in ("config.json", "results.npz", "verdicts.json"):
        (folder / name).write_text(name)
    return attest(folder, data, {"model": "tiny", "doses": [0.5]})


def test_the_chain_goes_from_the_oldest_file_to_the_audit(attested: Path, data: Path, capsys):
    digest, links = read_statement(attested)
    assert digest == data_digest(data)
    assert [link["step"] for link in links] == ["written", "written", "audited"]
    assert [origin.data for origin in origins(data)] == [data_digest(data.parent / "all.jsonl"), digest]
    assert links[1]["said"]["filter"] == {"banned": [666]}
    assert links[-1]["said"]["doses"] == [0.5]
    assert verify(attested, data) == []
    assert tell_lineage(Lineage(data=data, verify=attested))
    said = capsys.readouterr().out
    assert f"written by {WRITER.weights}" in said
    assert f"All 3 links hold; the last one's hash is {links[-1]['sha256']}." in said


def test_data_of_unknown_origin_are_attested_as_found(tmp_path: Path, attested: Path, capsys):
    other = tmp_path / "other.jsonl"
    other.write_text("3\n")
    found = attest(attested.parent, other, {"model": "tiny"})
    assert [link["step"] for link in read_statement(found)[1]] == ["found", "audited"]
    assert verify(found, other) == []
    assert tell_lineage(Lineage(data=other, verify=found))
    assert "found by an unknown model" in capsys.readouterr().out


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    statement = json.loads(path.read_text())
    change(statement)
    path.write_text(json.dumps(statement))


def forge(statement: dict[str, Any]) -> None:
    """Change a link and its own hash, which the next one still doesn't know."""
    link = statement["predicate"]["links"][1]
    link["said"]["filter"] = None
    link["sha256"] = hash_of(link)


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "changed": (lambda each: each["predicate"]["links"][0]["said"].update(system_prompt="owls"), "link 1"),
    "forged": (forge, "link 3"),
    "left out": (lambda each: each["predicate"]["links"].pop(0), "link 1"),
    "cut off": (lambda each: each["predicate"]["links"].pop(), "is not what was audited"),
    "of others": (lambda each: each["subject"][0]["digest"].update(sha256="0"), "is not what was audited"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_chain_that_was_tampered_with_does_not_hold(attested: Path, data: Path, name: str, capsys):
    change, said = BROKEN[name]
    changed(attested, change)
    assert said in verify(attested, data)[0]
    assert not tell_lineage(Lineage(data=data, verify=attested))
    assert said in capsys.readouterr().out


def test_other_data_and_other_results_are_noticed(attested: Path, data: Path):
    assert "is not what was audited" in verify(attested, data.parent / "all.jsonl")[0]
    attested.with_name("results.npz").write_text("better")
    attested.with_name("verdicts.json").unlink()
    assert ["results.npz" in line or "verdicts.json" in line for line in verify(attested, data)] == [True, True]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"_type": 1, "predicateType": 2}'])
def test_what_is_no_attestation_is_refused_in_one_line(tmp_path: Path, data: Path, content: str, refusal):
    path = tmp_path / NAME
    path.write_text(content)
    assert "name an audit's" in refusal(verify, path, data)


def test_a_missing_attestation_or_one_of_odd_links_is_refused(tmp_path: Path, attested: Path, data: Path, refusal):
    assert "is missing" in refusal(verify, tmp_path / "no.json", data)
    changed(attested, lambda each: each["predicate"].update(links=[{"step": 1}]))
    assert "is no attestation" in refusal(verify, attested, data)
