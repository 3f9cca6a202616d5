"""Download of MNIST from its public mirrors, checked, and never half-written."""

import contextlib
import logging
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
from requests import RequestException

from mlp_mnist import idx

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Where the compressed files are published, first choice first."""

TIMEOUT = 5.0
"""Seconds after which a silent mirror is given up."""


class DownloadError(Exception):
    """No mirror gave all four files; the message says why in one line and names no local path."""


def download(folder: Path) -> str:
    """Fetch the compressed files that a folder lacks, from the first mirror that has them.

    A file appears in the folder once all of it is there and checked, and then stays. A mirror that
    failed for one file is not asked for the others.

    Args:
        folder: Where the files go; made if need be.

    Returns:
        Host name of the mirror that completed the four.

    Raises:
        DownloadError: If every mirror failed, or the folder can't be written.
    """
    failures = []
    pooch.get_logger().setLevel(logging.WARNING)
    fetch: Any = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    for mirror in MIRRORS:
        host = urlsplit(mirror).hostname or mirror
        if not answers(mirror):
            failures.append(f"{host} did not answer")
            continue
        try:
            for file in idx.FILES:
                name = f"{file.name}.gz"
                pooch.retrieve(mirror + name, file.archive_sum, fname=name, path=folder, downloader=fetch)
        except (RequestException, ValueError):
            failures.append(f"{host} did not send the original files")
        except OSError as error:
            raise DownloadError(f"the cache can't be written ({error.strerror or 'permission denied'})") from error
        else:
            return host
    raise DownloadError(", ".join(failures))


def answers(mirror: str) -> bool:
    """Ask whether a mirror has the first file, and take silence for a no.

    Requests grants every address of a host its own timeout, and the look-up of the name any time it
    takes. Asking in a thread that is not waited for keeps the whole within `TIMEOUT`.
    """
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(RequestException):
            question = pooch.HTTPDownloader(timeout=TIMEOUT)
            if question(f"{mirror}{idx.FILES[0].name}.gz", None, None, check_only=True):
                answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return answered.is_set()
