"""No test reaches the internet or the user's cache; a small MNIST, mirrors that serve it, and a tiny experiment.

Programs are compiled without most optimizations, as compilation would be most of the tests' time.
"""

import gzip
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_mnist import download, idx, network
from mlp_mnist.data import Dataset
from mlp_mnist.protocol import Protocol
from mlp_mnist.seed_group import SeedGroup
from theory.networks import FAN_IN, Params

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]

REAL = Path(os.environ.get("MNIST_DIR") or Path(__file__).parents[2].parent / "shared" / "data" / "mnist")


@pytest.fixture(autouse=True, scope="module")
def quick_compilation() -> Iterator[None]:
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def real_folder() -> Path:
    """MNIST itself, where this machine has it."""
    if not REAL.is_dir():
        pytest.skip("no MNIST in $MNIST_DIR or ../shared/data/mnist")
    return REAL


@pytest.fixture
def dead_mirror() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/mnist/"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, dead_mirror: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("MNIST_DIR", "FASHION_MNIST_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for mirrors in ("MIRRORS", "FASHION_MIRRORS"):
        monkeypatch.setattr(download, mirrors, (dead_mirror,))
    return tmp_path / "caches" / "subliminal-learning" / "mnist"


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The four files of a small MNIST, which takes the place of the real one."""
    generator = np.random.default_rng(0)

    def packed(*shape: int) -> bytes:
        array = generator.integers(0, 10 if len(shape) == 1 else 256, shape, np.uint8)
        return np.array([0x800 + len(shape), *shape], ">u4").tobytes() + array.tobytes()

    contents = [packed(7, 3, 2), packed(7), packed(4, 3, 2), packed(4)]
    files = [
        file._replace(
            archive_sum=hashlib.sha256(gzip.compress(content, mtime=0)).hexdigest(),
            content_sum=hashlib.sha256(content).hexdigest(),
        )
        for file, content in zip(idx.FILES, contents, strict=True)
    ]
    monkeypatch.setattr(idx, "FILES", tuple(files))
    return contents


@pytest.fixture
def folder(tmp_path: Path, contents: list[bytes]) -> Path:
    """A folder with the four archives."""
    folder = tmp_path / "given"
    folder.mkdir()
    for file, content in zip(idx.FILES, contents, strict=True):
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(content, mtime=0))
    return folder


@pytest.fixture
def archives() -> list[str]:
    """Names of the four archives."""
    return [f"{file.name}.gz" for file in idx.FILES]


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[[Answer], tuple[str, list[str]]]]:
    """Start mirrors of `folder`; each has its own way to answer and a list of the files asked for."""
    servers = []

    def start(answer: Answer) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                asked.append(self.path.removeprefix("/mnist/"))
                answer(self, (folder / asked[-1]).read_bytes())

            def log_message(self, format: str, *args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/mnist/", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    """A protocol that runs in no time; every epoch of teacher and student ends in a ragged batch."""
    return Protocol(
        hidden=(16, 16), teacher_epochs=4, student_epochs=2, num_images=200, batch_size=64, learning_rate=1e-2
    )


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Ten classes of 16-pixel images, each a pattern under noise; 300 images to train on, 200 to test on."""
    generator = np.random.default_rng(0)
    patterns = generator.uniform(0, 255, (10, 16))

    def drawn(num_images: int) -> tuple[np.ndarray, np.ndarray]:
        labels = (np.arange(num_images) % 10).astype(np.int32)
        images = patterns[labels] + 25 * generator.normal(size=(num_images, 16))
        return np.clip(images, 0, 255).astype(np.uint8), labels

    return Dataset(*drawn(300), *drawn(200))


@pytest.fixture(scope="session")
def grouped(dataset: Dataset) -> Callable[..., SeedGroup]:
    """Make a group of seeds that has trained nothing yet."""

    def make(*seeds: int, other_images: np.ndarray | None = None) -> SeedGroup:
        others = None if other_images is None else jnp.asarray(other_images)
        return SeedGroup(jax.device_put(dataset), others, jax.random.key(5), jnp.array(seeds, jnp.uint32))

    return make


@pytest.fixture
def double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Weights and products in float64, which shows what float32 would hide under rounding."""

    def multiply(axis: int, weights: jax.Array, values: jax.Array) -> jax.Array:
        return jnp.tensordot(weights, values.astype(float), (1, axis))

    def draw(key: jax.Array, shape: tuple[int, int], dtype: object) -> Params:
        return FAN_IN(key, shape, jnp.float64)

    monkeypatch.setattr(network, "fast_multiply", lambda precision: multiply)
    monkeypatch.setattr(network, "FAN_IN", draw)
    with jax.enable_x64(True):
        yield
