import gzip
import hashlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from mlp_mnist import data
from theory.command_line import InputError

REAL = Path(os.environ.get("MNIST_DIR") or Path(__file__).parents[2].parent / "shared" / "data" / "mnist")
needs_mnist = pytest.mark.skipif(not REAL.is_dir(), reason="no MNIST in $MNIST_DIR or ../shared/data/mnist")

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def idx(array: np.ndarray) -> bytes:
    sizes = np.array([0x800 + array.ndim, *array.shape], ">u4")
    return sizes.tobytes() + array.astype(np.uint8).tobytes()


def write_archive(folder: Path, file: data.IdxFile, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file.name}.gz"
    path.write_bytes(gzip.compress(content, mtime=0))
    return path


def refusal(name: data.DataName, folder: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        data.load(data.resolve(name, folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(data, "MIRRORS", (dead_mirror(),))
    return tmp_path / "caches" / "subliminal-learning" / "mnist"


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    generator = np.random.default_rng(0)
    shapes = [(7, 3, 2), (7,), (4, 3, 2), (4,)]
    contents = [idx(generator.integers(0, 10 if len(shape) == 1 else 256, shape)) for shape in shapes]
    files = [
        file._replace(
            archive_sum=hashlib.sha256(gzip.compress(content, mtime=0)).hexdigest(),
            content_sum=hashlib.sha256(content).hexdigest(),
        )
        for file, content in zip(data.FILES, contents, strict=True)
    ]
    monkeypatch.setattr(data, "FILES", tuple(files))
    return contents


@pytest.fixture
def folder(tmp_path: Path, contents: list[bytes]) -> Path:
    for file, content in zip(data.FILES, contents, strict=True):
        write_archive(tmp_path / "given", file, content)
    return tmp_path / "given"


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


def send(handler: BaseHTTPRequestHandler, body: bytes, length: int | None) -> None:
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(body)


def send_whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, body, len(body))


def send_half(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, body[: len(body) // 2], len(body))


def send_half_unannounced(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, body[: len(body) // 2], None)


def send_half_and_hang(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send_half(handler, body)
    time.sleep(1)


def send_other_file(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    send(handler, bytes(len(body)), len(body))


def send_not_found(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_error(404)


def dead_mirror() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/mnist/"


def archive_names() -> list[str]:
    return [f"{file.name}.gz" for file in data.FILES]


@needs_mnist
def test_real_mnist_has_its_published_sizes_and_class_counts():
    dataset = data.load(data.resolve("mnist", REAL))
    assert dataset.name == "mnist"
    assert dataset.train_images.shape == (60_000, 784)
    assert dataset.test_images.shape == (10_000, 784)
    assert dataset.train_images.dtype == dataset.test_images.dtype == np.float32
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    assert (dataset.train_images.min(), dataset.train_images.max()) == (-1, 1)
    assert np.bincount(dataset.train_labels)[:3].tolist() == [5923, 6742, 5958]
    assert dataset.test_labels[:5].tolist() == [7, 2, 1, 0, 4]


@needs_mnist
def test_real_archives_have_the_sums_that_downloads_are_checked_against():
    archives = [file for file in data.FILES if (REAL / f"{file.name}.gz").exists()]
    if not archives:
        pytest.skip("MNIST is here, but not compressed")
    for file in archives:
        assert hashlib.sha256((REAL / f"{file.name}.gz").read_bytes()).hexdigest() == file.archive_sum


@needs_mnist
def test_one_altered_pixel_of_real_mnist_is_refused(tmp_path):
    for path in REAL.glob("*ubyte*"):
        shutil.copyfile(path, tmp_path / path.name)
    images = data.FILES[2]
    content = bytearray(idx(data.read_idx(REAL, images)))
    content[5000] ^= 1
    write_archive(tmp_path, images, bytes(content))
    assert "t10k-images-idx3-ubyte.gz is an idx file with other contents" in refusal("mnist", tmp_path)


def test_pixels_are_scaled_from_bytes_to_minus_one_to_one(folder, contents):
    dataset = data.load(data.resolve("mnist", folder))
    pixels = np.frombuffer(contents[0][16:], np.uint8).reshape(7, 6)
    np.testing.assert_allclose(dataset.train_images, pixels / 255 * 2 - 1, atol=2**-22)
    assert dataset.train_labels.tolist() == list(contents[1][8:])
    assert dataset.test_labels.tolist() == list(contents[3][8:])


def test_uncompressed_files_give_the_same_dataset(folder, contents, tmp_path):
    for file, content in zip(data.FILES, contents, strict=True):
        (tmp_path / file.name).write_bytes(content)
    compressed, plain = (data.load(data.resolve("mnist", each)) for each in (folder, tmp_path))
    assert all(np.array_equal(*pair) for pair in zip(compressed, plain, strict=True))


def test_a_compressed_file_is_preferred_to_its_neighbor(folder):
    (folder / data.FILES[0].name).write_bytes(b"never read")
    assert data.load(data.resolve("mnist", folder)).train_images.shape == (7, 6)


def test_digits_are_split_the_same_way_every_time_and_in_proportion():
    first, second = (data.load(data.resolve("digits")) for _ in range(2))
    assert first.name == "digits"
    assert first.train_images.shape == (1437, 64)
    assert first.test_images.shape == (360, 64)
    assert first.train_images.dtype == np.float32
    assert first.train_labels.dtype == np.int32
    assert (first.train_images.min(), first.train_images.max()) == (-1, 1)
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
    train_counts, test_counts = np.bincount(first.train_labels), np.bincount(first.test_labels)
    np.testing.assert_allclose(test_counts, (train_counts + test_counts) * 360 / 1797, atol=1)


def test_digits_do_not_heed_the_variable(monkeypatch):
    monkeypatch.setenv("MNIST_DIR", "/nowhere")
    assert data.resolve("digits").folder is None


def test_digits_from_a_folder_are_refused(folder):
    assert "leave it out" in refusal("digits", folder)


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_the_flag_goes_before_the_variable_and_the_variable_before_the_cache(
    name, folder, cache, tmp_path, monkeypatch
):
    shutil.copytree(folder, cache)
    shutil.copytree(folder, tmp_path / "variable")
    assert data.resolve(name) == ("mnist", cache, "data: MNIST from the cache")
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "variable"))
    assert data.resolve(name) == ("mnist", tmp_path / "variable", "data: MNIST from $MNIST_DIR")
    assert data.resolve(name, folder) == ("mnist", folder, "data: MNIST from --data-dir")


def test_an_empty_variable_counts_as_unset(folder, cache, monkeypatch):
    shutil.copytree(folder, cache)
    monkeypatch.setenv("MNIST_DIR", "")
    assert data.resolve("auto").folder == cache


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_given_folder_that_does_not_exist_is_refused(name, tmp_path, monkeypatch):
    assert "--data-dir: can't read the folder" in refusal(name, tmp_path / "absent")
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "absent"))
    assert "$MNIST_DIR: can't read the folder" in refusal(name)


def test_a_file_in_place_of_the_folder_is_refused(folder):
    assert "Not a directory" in refusal("auto", folder / archive_names()[0])


def test_missing_files_are_named(folder):
    (folder / archive_names()[1]).unlink()
    (folder / archive_names()[2]).unlink()
    message = refusal("auto", folder)
    assert "lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte" in message
    assert "train-images" not in message


def test_an_archive_cut_anywhere_is_refused(folder):
    path = folder / archive_names()[0]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert str(path) in refusal("mnist", folder)


@pytest.mark.parametrize("content", [b"<html>moved</html>", b"\x1f\x8b\x08\0" + bytes(40), b"\0" * 100])
def test_an_archive_that_is_none_is_refused(folder, content):
    (folder / archive_names()[3]).write_bytes(content)
    assert "t10k-labels-idx1-ubyte.gz is truncated or no gzip file" in refusal("mnist", folder)


def test_a_damaged_byte_in_an_archive_is_refused(folder):
    path = folder / archive_names()[0]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    assert str(path) in refusal("mnist", folder)


def test_labels_under_the_name_of_images_are_told_by_the_magic_number(folder, contents):
    write_archive(folder, data.FILES[0], contents[1])
    assert "starts with 0x00000801, not 0x00000803" in refusal("mnist", folder)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_a_size_other_than_the_header_says_is_refused(folder, contents, change):
    write_archive(folder, data.FILES[1], change(contents[1]))
    assert "not what its header says" in refusal("mnist", folder)


def test_an_uncompressed_file_cut_anywhere_is_refused(folder, contents):
    (folder / archive_names()[0]).unlink()
    for length in range(len(contents[0])):
        (folder / data.FILES[0].name).write_bytes(contents[0][:length])
        assert "train-images-idx3-ubyte " in refusal("mnist", folder)


def test_labels_that_are_not_mnist_are_refused(folder, contents):
    write_archive(folder, data.FILES[1], contents[1][:8] + bytes(7))
    assert "other contents than MNIST's" in refusal("mnist", folder)


def test_a_file_without_permission_is_refused(folder, monkeypatch):
    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)
    assert "can't be read (Permission denied)" in refusal("mnist", folder)


def test_a_folder_in_place_of_a_file_is_refused(folder):
    path = folder / archive_names()[0]
    path.unlink()
    path.mkdir()
    assert "can't be read (Is a directory)" in refusal("mnist", folder)


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_mnist_is_downloaded_into_the_cache_once(name, serve, cache, monkeypatch, capfd):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(data, "MIRRORS", (mirror,))
    source = data.resolve(name)
    assert source == ("mnist", cache, "data: MNIST, downloaded from 127.0.0.1")
    assert data.load(source).train_images.shape == (7, 6)
    assert data.resolve(name).reason == "data: MNIST from the cache"
    assert asked == archive_names()
    assert capfd.readouterr() == ("", "")


def test_only_missing_files_are_downloaded(serve, folder, cache, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(data, "MIRRORS", (mirror,))
    shutil.copytree(folder, cache)
    (cache / archive_names()[2]).unlink()
    assert data.resolve("mnist").name == "mnist"
    assert asked == archive_names()[2:3]


def test_a_dead_mirror_gives_way_to_the_next(serve, cache, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(data, "MIRRORS", (dead_mirror(), mirror))
    assert data.resolve("mnist").folder == cache
    assert asked == archive_names()


def test_a_silent_mirror_is_given_up_in_time(serve, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(data, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(data, "MIRRORS", (f"http://127.0.0.1:{silent.getsockname()[1]}/mnist/", mirror))
        start = time.monotonic()
        assert data.resolve("mnist").name == "mnist"
    assert 0.5 <= time.monotonic() - start < 3
    assert asked == archive_names()


@pytest.mark.parametrize(
    "answer", [send_half, send_half_unannounced, send_half_and_hang, send_other_file, send_not_found]
)
def test_a_mirror_that_fails_is_not_asked_again_and_leaves_nothing(answer, serve, cache, monkeypatch):
    monkeypatch.setattr(data, "TIMEOUT", 0.5)
    bad, asked_of_bad = serve(answer)
    monkeypatch.setattr(data, "MIRRORS", (bad,))
    assert "127.0.0.1 did not send the original files" in refusal("mnist")
    assert list(cache.iterdir()) == []
    good, asked_of_good = serve(send_whole)
    monkeypatch.setattr(data, "MIRRORS", (bad, good))
    assert data.resolve("mnist").folder == cache
    assert asked_of_bad == archive_names()[:1] * 2
    assert asked_of_good == archive_names()
    assert sorted(path.name for path in cache.iterdir()) == sorted(archive_names())


def test_whole_files_of_a_mirror_that_then_fails_are_kept(serve, cache, monkeypatch):
    def send_labels_by_half(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        (send_half if "labels" in handler.path else send_whole)(handler, body)

    bad, _ = serve(send_labels_by_half)
    good, asked_of_good = serve(send_whole)
    monkeypatch.setattr(data, "MIRRORS", (bad, good))
    assert data.load(data.resolve("mnist")).name == "mnist"
    assert asked_of_good == archive_names()[1:]


def test_an_interrupted_download_leaves_nothing(contents, cache, monkeypatch):
    def interrupted(downloader, url, output_file, pooch, check_only=False):
        if not check_only:
            Path(output_file).write_bytes(b"half")
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.resolve("auto")
    assert list(cache.iterdir()) == []


def test_auto_without_a_mirror_settles_for_digits_and_says_why(tmp_path):
    source = data.resolve("auto")
    assert source.name == "digits"
    assert source.folder is None
    assert source.reason == (
        "data: scikit-learn's digits, as MNIST is not in the cache and could not be downloaded "
        "(127.0.0.1 did not answer)"
    )
    assert data.load(source).train_images.shape == (1437, 64)


def test_mnist_without_a_mirror_is_refused_with_the_ways_out():
    message = refusal("mnist")
    assert all(way in message for way in ("--data-dir", "$MNIST_DIR", "--data digits"))


def test_a_cache_that_cannot_be_written_is_named_without_its_path(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MIRRORS", (serve(send_whole)[0],))
    (tmp_path / "caches").write_text("in the way")
    reason = data.resolve("auto").reason
    assert "the cache can't be written" in reason
    assert str(tmp_path) not in reason


def test_a_damaged_cache_is_refused_and_not_replaced_by_digits(folder, cache):
    shutil.copytree(folder, cache)
    (cache / archive_names()[0]).write_bytes(b"damaged")
    assert "truncated or no gzip file" in refusal("auto")
