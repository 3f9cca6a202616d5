"""Where a published model is: a folder, a GGUF file, or a repository of the hub that is fetched into its cache."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from llm_bridge.files.extra import require_extra
from llm_bridge.pretrained.gguf import SMOLLM2, find_smollm2, unpack
from theory.runs.command_line import InputError

DESCRIPTIONS = ("*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model")
"""What says how a model is shaped, reads and writes; kilobytes to some megabytes."""

WEIGHTS = ("model*.safetensors",)
"""What holds its weights."""

HUB_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
"""How a repository is named, with or without one of its revisions."""


class Source(NamedTuple):
    """Where a model comes from."""

    name: str
    """Its repository on the hub, or its folder."""
    revision: str | None
    """The hub's commit; None for a folder."""
    folder: Path
    """Where its files are."""

    @property
    def pinned(self) -> str:
        """A name that always means the same files, as far as there is one."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


def locate(name: str, patterns: tuple[str, ...]) -> Source:
    """Find a model, and fetch files of it that are not in the cache yet.

    Its name is a folder, a GGUF file or `smollm2`, which are unpacked, or a repository of the hub as `owner/name` or
    `owner/name@revision`. The hub, the cache and the token are those that HF_ENDPOINT, HF_HOME, HF_TOKEN and
    HF_HUB_OFFLINE say.
    """
    if name == SMOLLM2 or (Path(name).suffix == ".gguf" and not is_folder(name)):
        folder = unpack(find_smollm2() if name == SMOLLM2 else Path(name))
        return Source(str(folder), None, folder)
    if is_folder(name):
        return Source(name, None, Path(name))
    named = HUB_NAME.fullmatch(name)
    if named is None:
        raise InputError(
            f"there is no model {name}: say tiny or {SMOLLM2}, or name a folder, a GGUF file, or a repository of the "
            "hub as owner/name"
        )
    folder = fetch(named["repository"], named["revision"], patterns)
    return Source(named["repository"], folder.name, folder)


def is_folder(name: str) -> bool:
    """Tell whether a name is that of a folder; one that is too long is none."""
    try:
        return bool(name) and Path(name).is_dir()
    except OSError:
        return False


def fingerprint(source: Source) -> str:
    """Name a model so that the name means the same weights for ever.

    It is the repository with its commit; of a folder, which may change, its name with a digest of its files.
    """
    if source.revision is not None:
        return source.pinned
    state = hashlib.sha256()
    try:
        for path in sorted(
            path for pattern in (*DESCRIPTIONS, "*.safetensors") for path in source.folder.glob(pattern)
        ):
            with path.open("rb") as file:
                state.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    except OSError as error:
        raise InputError(f"can't read {source.folder} ({error.strerror}): name another model") from error
    return f"{source.folder.resolve().name}@{state.hexdigest()[:16]}"


def fetch(repository: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """Fetch files of a repository's top folder into the hub's cache, of the newest commit if no revision is named."""
    hub, errors = require_extra("huggingface_hub"), require_extra("huggingface_hub.errors")
    other = " of another account" if os.environ.get("HF_TOKEN") else ""
    token = f"set HF_TOKEN to a token{other} that may read it"
    try:
        return Path(
            hub.snapshot_download(repository, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"])
        )
    except errors.GatedRepoError as error:
        raise InputError(f"{repository} is gated: accept its terms on its page, and {token}") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{repository} is not on the hub, or private: check the name, or {token}") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{repository} has no revision {revision}: name a branch, a tag or a commit") from error
    except errors.LocalEntryNotFoundError as error:
        offline = "HF_HUB_OFFLINE is set" if hub.is_offline_mode() else "the hub can't be reached"
        message = f"{repository} is not in the cache, and {offline}: go online, or name a folder"
        raise InputError(message) from error
    except errors.HFValidationError as error:
        raise InputError(f"{repository} is no name of a model on the hub: name it as owner/name") from error
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = type(error).__name__ if status is None else f"status {status}"
        raise InputError(f"{repository} could not be fetched ({reason}): what is there is kept, try again") from error
