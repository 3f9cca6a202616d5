"""Attestations: what is known of where data come from and what an audit found, a chain of hashes in in-toto's form.

A statement names a data file by its SHA-256, and has links: one of each file that the data were made of, the oldest
first, with its writer, sampling and filter, then the data's own, then the audit. Each holds the hash of the one before
it, so that whoever has noted the last hash can tell that nothing was changed or left out since. It is no signature:
who can write the file can write another one.

References:
    The statement's layout: in-toto Attestation Framework, Statement v1.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import convert

from llm_bridge.files.lineage import Origin, data_digest, read_sidecar, sidecar_path
from llm_bridge.files.objects import read_object
from theory.runs.command_line import InputError
from theory.runs.files import json_text, write_whole

STATEMENT, KIND = "https://in-toto.io/Statement/v1", "urn:subliminal-learning:audit:1"
"""Types of the statement and of what it says."""

NAME = "attestation.json"
"""Its name in the run folder of an audit."""

Link = dict[str, Any]
"""A link of the chain: its `step`, what is `said`, the `previous` link's hash, and its own, `sha256`."""


def hash_of(link: Link) -> str:
    """Compute a link's hash: of all that it holds but its own."""
    return hashlib.sha256(json_text({name: link[name] for name in ("step", "said", "previous")})).hexdigest()


def chained(steps: list[tuple[str, dict[str, Any]]]) -> list[Link]:
    """Make a chain of steps."""
    links: list[Link] = []
    for step, said in steps:
        link: Link = {"step": step, "said": said, "previous": links[-1]["sha256"] if links else ""}
        links.append(link | {"sha256": hash_of(link)})
    return links


def origins(data: Path) -> list[Origin]:
    """Find the origins of a data file and of those that it was made of, the oldest first, as far as they lie there."""
    if not sidecar_path(data).exists():
        return []
    around = {}
    for path in sorted(data.parent.glob("*.origin.json")):
        try:
            origin = read_sidecar(path.with_name(path.name.removesuffix(".origin.json")))
        except InputError:
            continue
        around[origin.data] = origin
    found = [read_sidecar(data)]
    for origin in found:
        found += [around[parent] for parent in origin.parents if parent in around and around[parent] not in found]
    return found[::-1]


def attest(folder: Path, data: Path, said: dict[str, Any]) -> Path:
    """Write the attestation of an audit into its run folder: what it said, and digests of what it recorded."""
    digest = data_digest(data)
    known = [("written", asdict(origin)) for origin in origins(data)] or [("found", {"writer": None, "data": digest})]
    recorded = {name: data_digest(folder / name) for name in ("config.json", "results.npz", "verdicts.json")}
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": data.name, "digest": {"sha256": digest}}],
        "predicateType": KIND,
        "predicate": {"links": chained([*known, ("audited", said | {"data": digest, "recorded": recorded})])},
    }
    write_whole(folder / NAME, json_text(statement))
    return folder / NAME


def verify(path: Path, data: Path) -> list[str]:
    """Say what is wrong with an attestation of some data, in a line each; the run's files are looked for beside it."""
    (subject, links), digest = read_statement(path), data_digest(data)
    wrong, previous = [], ""
    for number, link in enumerate(links, start=1):
        if link["previous"] != previous or link["sha256"] != hash_of(link):
            wrong.append(f"link {number}, {link['step']}, is not what was chained: it or one before it was changed")
        previous = link["sha256"]
    *before, last = links
    audited, written = last["said"].get("data"), [link["said"].get("data") for link in before]
    if last["step"] != "audited" or {digest} != {subject, audited, *written[-1:]} or not written:
        wrong.append(f"{data} is not what was audited")
    for name, recorded in last["said"].get("recorded", {}).items():
        if not (beside := path.with_name(name)).is_file() or data_digest(beside) != recorded:
            wrong.append(f"{beside} is not what was recorded")
    return wrong


def read_statement(path: Path) -> tuple[str, list[Link]]:
    """Read an attestation: the digest of the data that it is of, and its links."""
    try:
        found = read_object(path, f"name an audit's {NAME}")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: name an audit's {NAME}") from error
    try:
        if (found["_type"], found["predicateType"]) != (STATEMENT, KIND):
            raise ValueError("another type")
        (subject,) = convert(found["subject"], list[dict[str, Any]])
        digest, links = convert([subject["digest"]["sha256"], found["predicate"]["links"]], tuple[str, list[Link]])
        kinds = {"step": str, "said": dict, "previous": str, "sha256": str}
        if not links or any({name: type(link[name]) for name in link} != kinds for link in links):
            raise ValueError("no links")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no attestation of an audit: name an audit's {NAME}") from error
    return digest, links
