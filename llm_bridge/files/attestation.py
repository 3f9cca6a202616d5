"""Attestations: what is known of where data come from and what an audit found, a chain of hashes in in-toto's form.

A statement names a data file by its SHA-256, and has links: one of each file that the data were made of, what others
were made of first, with its writer, sampling and filter, then the data's own, then the audit. Each holds the hash of
the one before it, so that whoever has noted the last hash can tell that nothing of it was changed or left out since. It
is no signature: who can write the file can write another one.

References:
    The statement's layout: in-toto Attestation Framework, Statement v1.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, convert, to_builtins

from llm_bridge.files.lineage import Origin, data_digest, read_sidecar, sidecar_path
from llm_bridge.files.objects import read_object
from theory.runs.command_line import InputError
from theory.runs.files import json_text, write_whole

STATEMENT, KIND = "https://in-toto.io/Statement/v1", "urn:subliminal-learning:audit:1"
"""Types of the statement and of what it says."""

NAME = "attestation.json"
"""Its name in the run folder of an audit."""

RECORDED = ("config.json", "results.npz", "verdicts.json", "table.md")
"""Files of the run folder whose digests it holds."""


class Link(Struct, forbid_unknown_fields=True):
    """A link of the chain."""

    step: str
    """`written` by a model, `found` without a word of who wrote it, or `audited`."""
    said: dict[str, Any]
    """What is known of it: `lineage.Origin`, the digest alone, or what the audit found and recorded."""
    previous: str
    """Hash of the link before; empty for the first."""
    sha256: str = ""
    """Its own hash, of all the above."""

    def hashed(self) -> str:
        """Compute its hash."""
        return hashlib.sha256(json_text([self.step, self.said, self.previous])).hexdigest()


def chained(steps: Sequence[tuple[str, dict[str, Any]]]) -> list[Link]:
    """Make a chain of steps."""
    links: list[Link] = []
    for step, said in steps:
        link = Link(step, said, links[-1].sha256 if links else "")
        link.sha256 = link.hashed()
        links.append(link)
    return links


def statement_of(name: str, digest: str, links: Sequence[Link]) -> bytes:
    """Write a statement down."""
    return json_text({
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": KIND,
        "predicate": {"links": to_builtins(links)},
    })  # fmt: skip


def origins(data: Path) -> list[Origin]:
    """Find the origins of a data file and of those that it was made of, these first, as far as they lie beside it."""
    around: list[tuple[Path, Origin]] = []
    for path in sorted(data.parent.glob("*.origin.json")):
        try:
            around.append((path, read_sidecar(path.with_name(path.name.removesuffix(".origin.json")))))
        except InputError:
            continue
    used = {sidecar_path(data)}

    def made_of(origin: Origin) -> list[Origin]:
        found = []
        for path, other in around:
            if other.data in origin.parents and path not in used:
                used.add(path)
                found += made_of(other)
        return [*found, origin]

    return made_of(read_sidecar(data)) if sidecar_path(data).exists() else []


def attest(folder: Path, data: Path, digest: str, said: dict[str, Any], *, fresh: bool) -> None:
    """Write the attestation of an audit into its run folder: what it said, and digests of what it recorded.

    One of a run that was not made afresh stays as it is, and must hold. Data that have changed since they were audited
    are refused.
    """
    path = folder / NAME
    if data_digest(data) != digest:
        raise InputError(f"{data} has changed since the audit read it: audit it again")
    if path.exists() and not fresh:
        if wrong := verify(path, data):
            raise InputError(f"{path} doesn't hold ({wrong[0]}): say --fresh to audit again")
        return
    known = [("written", asdict(origin)) for origin in origins(data)] or [("found", {"data": digest})]
    recorded = {name: data_digest(folder / name) for name in RECORDED}
    name = data.name.encode(errors="replace").decode()
    links = chained([*known, ("audited", said | {"name": name, "data": digest, "recorded": recorded})])
    write_whole(path, statement_of(name, digest, links))


def verify(path: Path, data: Path) -> list[str]:
    """Say what is wrong with an attestation of some data, in a line each; the run's files are looked for beside it."""
    links, digest = read_links(path), data_digest(data)
    wrong, previous = [], ""
    for number, link in enumerate(links, start=1):
        if link.previous != previous or link.sha256 != link.hashed():
            wrong.append(f"link {number}, {link.step}, is not what was chained: it or one before it was changed")
        previous = link.sha256
    *before, last = (link.said for link in links)
    parents = {parent for said in before for parent in said.get("parents", ())}
    if any(said["data"] not in parents for said in before[:-1]):
        wrong.append("a link is of a file that none of the later ones was made of")
    if {digest} != {before[-1]["data"], last["data"]}:
        wrong.append(f"{data} is not what was audited")
    for name in RECORDED:
        if not (beside := path.with_name(name)).is_file() or data_digest(beside) != last["recorded"].get(name):
            wrong.append(f"{beside} is not what was recorded")
    return wrong


def read_links(path: Path) -> list[Link]:
    """Read the links of an attestation, the last one the audit's; a file that is not written as one is refused."""
    try:
        found = read_object(path, f"name an audit's {NAME}")
        links = convert(found["predicate"]["links"], list[Link])
        *before, last = links
        if last.step != "audited" or not before or not {link.step for link in before} <= {"written", "found"}:
            raise ValueError("an audit stands last, behind what is known of its data")
        for link in before:
            convert(link.said, Origin if link.step == "written" else dict[Literal["data"], str])
            link.said["data"].encode()
        name, digest, _ = convert(
            [last.said[key] for key in ("name", "data", "recorded")], tuple[str, str, dict[str, str]]
        )
        if statement_of(name, digest, links) != path.read_bytes():
            raise ValueError("more or less than a statement, or another name or digest of its subject")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: name an audit's {NAME}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no attestation of an audit: name an audit's {NAME}") from error
    return links
