"""Files: the same bytes for the same contents, written whole or not at all."""

import io
import json
import logging
import lzma
import os
import threading
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from theory.runs.command_line import InputError
from theory.runs.startup import WRITING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What reading a damaged file may raise; RuntimeError where bits of a zip header were flipped."""


def cache_folder() -> Path:
    """Say where downloads, base models and the like are kept, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "subliminal-learning"


def json_text(value: object) -> bytes:
    """Write a value as indented JSON in UTF-8, always the same bytes for the same value."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside and rename it, so that it is there whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with WRITING:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(content)
            aside.replace(path)
    except OSError as error:
        raise InputError(f"can't write {path} ({error.strerror}): choose another --output or make room") from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def npz_bytes(arrays: Mapping[str, np.ndarray], *, smallest: bool = False) -> bytes:
    """Pack arrays as a compressed `.npz`, always the same bytes for the same arrays; the smallest takes its time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA if smallest else zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def figure_bytes(figure: "Figure", kind: Literal["png", "pdf"]) -> bytes:
    """Render a figure, always the same bytes for the same figure."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    undated = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, dpi=200, metadata=undated[kind])
    return buffer.getvalue()
