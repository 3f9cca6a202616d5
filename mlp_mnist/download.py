"""Download of MNIST or Fashion-MNIST from public mirrors, checked, and never half-written."""

import contextlib
import logging
import sys
import threading
from collections.abc import Sequence
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
"""Where MNIST's compressed files are published, first choice first."""

FASHION_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
"""The same for Fashion-MNIST."""

TIMEOUT = 5.0
"""Seconds after which a silent mirror is given up."""


class DownloadError(Exception):
    """No mirror gave all the files; the message says why in one line and names no local path."""


def download(folder: Path, files: Sequence[idx.IdxFile], mirrors: Sequence[str]) -> str:
    """Fetch compressed files into a folder, from the first mirror that has them.

    A file appears in the folder once all of it is there and checked, and then stays; a damaged one stays until then. A
    mirror that failed for one file is not asked for the others.
    """
    failures = []
    pooch.get_logger().setLevel(logging.WARNING)
    fetch: Any = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    for mirror in mirrors:
        host = urlsplit(mirror).hostname or mirror
        if not answers(mirror):
            failures.append(f"{host} did not answer")
            continue
        try:
            for file in files:
                name = f"{file.name}.gz"
                pooch.retrieve(mirror + name, file.archive_sum, fname=name, path=folder, downloader=fetch)
        except (RequestException, ValueError):
            failures.append(f"{host} did not send the original files")
        except OSError as error:
            raise DownloadError(f"the cache can't be used ({error.strerror or 'permission denied'})") from error
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
