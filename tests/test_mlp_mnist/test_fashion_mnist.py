import gzip
import hashlib
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from mlp_mnist import data, download, idx
from theory.runs.command_line import InputError


def inverted(content: bytes) -> bytes:
    header = 4 * (content[3] + 1)
    return content[:header] + bytes(255 - byte for byte in content[header:])


def write_archive(folder: Path, file: idx.IdxFile, content: bytes) -> None:
    (folder / f"{file.name}.gz").write_bytes(gzip.compress(content, mtime=0))


def refusal(folder: Path, file: idx.IdxFile) -> str:
    with pytest.raises(InputError) as caught:
        idx.read_idx(folder, file)
    message = str(caught.value)
    assert "\n" not in message
    return message


def refusal_to_load(name: data.DataName, folder: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        data.load(data.resolve(name, folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def fashion_cache(cache) -> Path:
    return cache.with_name("fashion-mnist")


@pytest.fixture
def fashion_files(contents, monkeypatch) -> tuple[idx.IdxFile, ...]:
    """A small Fashion-MNIST, known by its archives alone, which hold the small MNIST with every byte inverted."""
    shapes = [(7, 3, 2), (7,), (4, 3, 2), (4,)]
    files = tuple(
        file._replace(shape=shape, archive_sum=hashlib.sha256(gzip.compress(inverted(content), mtime=0)).hexdigest())
        for file, shape, content in zip(idx.FASHION_FILES, shapes, contents, strict=True)
    )
    monkeypatch.setattr(idx, "FASHION_FILES", files)
    return files


@pytest.fixture
def fashion_folder(fashion_files, contents, tmp_path) -> Path:
    """A folder with its four archives."""
    folder = tmp_path / "fashion"
    folder.mkdir()
    for file, content in zip(fashion_files, contents, strict=True):
        write_archive(folder, file, inverted(content))
    return folder


def test_published_fashion_mnist_is_the_size_of_mnist_and_nothing_else():
    assert [file.name for file in idx.FASHION_FILES] == [file.name for file in idx.FILES]
    assert [file.shape for file in idx.FASHION_FILES] == [file.shape for file in idx.FILES]
    assert len({file.archive_sum for file in idx.FILES + idx.FASHION_FILES}) == 8


def test_fashion_mnist_is_known_by_its_archive(fashion_files, contents, tmp_path):
    for file, content in zip(fashion_files, contents, strict=True):
        write_archive(tmp_path, file, inverted(content))
        array = idx.read_idx(tmp_path, file)
        assert array.shape == file.shape
        assert content.endswith((255 - array).tobytes())


def test_one_altered_pixel_in_an_archive_of_fashion_mnist_is_refused(fashion_files, contents, tmp_path):
    altered = inverted(contents[0][:-1] + bytes([contents[0][-1] ^ 1]))
    write_archive(tmp_path, fashion_files[0], altered)
    assert "another archive than the one that Fashion-MNIST is published in" in refusal(tmp_path, fashion_files[0])


def test_uncompressed_fashion_mnist_is_held_to_its_shape(fashion_files, contents, tmp_path):
    images = fashion_files[0]
    (tmp_path / images.name).write_bytes(inverted(contents[0]))
    assert idx.read_idx(tmp_path, images).shape == (7, 3, 2)
    (tmp_path / images.name).write_bytes(inverted(contents[2]))
    assert "has shape (4, 3, 2), not Fashion-MNIST's (7, 3, 2)" in refusal(tmp_path, images)
    (tmp_path / images.name).write_bytes(b"\0" * 100)
    assert "starts with 0x00000000" in refusal(tmp_path, images)


@pytest.mark.parametrize("position", range(4))
def test_mnist_is_not_taken_for_fashion_mnist(position, fashion_files, contents, tmp_path):
    line = "is of MNIST (--data mnist), not of Fashion-MNIST: put Fashion-MNIST's original file in its place"
    (tmp_path / fashion_files[position].name).write_bytes(contents[position])
    assert line in refusal(tmp_path, fashion_files[position])
    write_archive(tmp_path, fashion_files[position], contents[position])
    assert line in refusal(tmp_path, fashion_files[position])


def test_an_archive_of_fashion_mnist_is_not_taken_for_mnist(fashion_files, contents, tmp_path):
    write_archive(tmp_path, idx.FILES[0], inverted(contents[0]))
    line = "is of Fashion-MNIST (--data fashion-mnist), not of MNIST: put MNIST's original file in its place"
    assert line in refusal(tmp_path, idx.FILES[0])


def test_uncompressed_fashion_mnist_is_not_taken_for_mnist(fashion_files, contents, tmp_path):
    (tmp_path / idx.FILES[0].name).write_bytes(inverted(contents[0]))
    assert "other contents than MNIST's" in refusal(tmp_path, idx.FILES[0])


def test_real_mnist_is_not_taken_for_fashion_mnist(real_folder):
    assert "is of MNIST (--data mnist)" in refusal(real_folder, idx.FASHION_FILES[3])


def test_fashion_mnist_is_looked_for_in_its_own_places(fashion_folder, folder, cache, fashion_cache, monkeypatch):
    shutil.copytree(folder, cache)
    shutil.copytree(fashion_folder, fashion_cache)
    monkeypatch.setenv("MNIST_DIR", str(folder))
    assert data.resolve("fashion-mnist") == ("fashion-mnist", fashion_cache, "data: Fashion-MNIST from the cache")
    monkeypatch.setenv("FASHION_MNIST_DIR", str(fashion_folder))
    source = data.resolve("fashion-mnist")
    assert source == ("fashion-mnist", fashion_folder, "data: Fashion-MNIST from $FASHION_MNIST_DIR")
    assert data.resolve("auto").folder == folder
    assert data.resolve("fashion-mnist", folder).reason == "data: Fashion-MNIST from --data-dir"


def test_fashion_mnist_is_read_like_mnist(fashion_folder, folder):
    fashion = data.load(data.resolve("fashion-mnist", fashion_folder))
    mnist = data.load(data.resolve("mnist", folder))
    for ours, theirs in zip(fashion, mnist, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, 255 - theirs)


def test_fashion_mnist_is_downloaded_into_its_own_cache(serve, fashion_folder, fashion_cache, archives, monkeypatch):
    def send_fashion(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        archive = (fashion_folder / Path(handler.path).name).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(archive)))
        handler.end_headers()
        handler.wfile.write(archive)

    mirror, asked = serve(send_fashion)
    monkeypatch.setattr(download, "FASHION_MIRRORS", (mirror,))
    source = data.resolve("fashion-mnist")
    assert source == ("fashion-mnist", fashion_cache, "data: Fashion-MNIST, downloaded from 127.0.0.1")
    assert data.load(source).train_images.shape == (7, 6)
    assert asked == archives


def test_fashion_mnist_without_a_mirror_is_refused_with_the_ways_out(folder, cache):
    shutil.copytree(folder, cache)
    message = refusal_to_load("fashion-mnist")
    assert "Fashion-MNIST is not in the cache and could not be downloaded" in message
    assert all(way in message for way in ("--data-dir", "$FASHION_MNIST_DIR", "--data digits"))


def test_one_set_in_a_folder_given_as_the_other_is_refused(folder, fashion_folder):
    assert "is of MNIST (--data mnist), not of Fashion-MNIST" in refusal_to_load("fashion-mnist", folder)
    assert "is of Fashion-MNIST (--data fashion-mnist), not of MNIST" in refusal_to_load("mnist", fashion_folder)
    assert "--data fashion-mnist" in refusal_to_load("auto", fashion_folder)


def test_other_images_have_the_pixels_of_the_source(folder, fashion_folder):
    for source in (data.resolve("mnist", folder), data.resolve("fashion-mnist", fashion_folder)):
        assert data.other_images(source).shape == (1437, 6)
