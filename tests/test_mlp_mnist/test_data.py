import gzip
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from mlp_mnist import data, download, idx
from theory.runs.command_line import InputError


def refusal(name: data.DataName, folder: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        data.load(data.resolve(name, folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


def send_whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_real_mnist_has_its_published_sizes_and_class_counts(real_folder):
    dataset = data.load(data.resolve("mnist", real_folder))
    assert dataset.train_images.shape == (60_000, 784)
    assert dataset.test_images.shape == (10_000, 784)
    assert dataset.train_images.dtype == dataset.test_images.dtype == np.uint8
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    assert (dataset.train_images.min(), dataset.train_images.max()) == (0, 255)
    assert np.bincount(dataset.train_labels)[:3].tolist() == [5923, 6742, 5958]
    assert dataset.test_labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_pixels_and_labels_are_the_bytes_of_the_files(folder, contents):
    dataset = data.load(data.resolve("mnist", folder))
    assert dataset.train_images.dtype == dataset.test_images.dtype == np.uint8
    assert dataset.train_images.tolist() == np.frombuffer(contents[0][16:], np.uint8).reshape(7, 6).tolist()
    assert dataset.test_images.tolist() == np.frombuffer(contents[2][16:], np.uint8).reshape(4, 6).tolist()
    assert dataset.train_labels.tolist() == list(contents[1][8:])
    assert dataset.test_labels.tolist() == list(contents[3][8:])


def test_uncompressed_files_give_the_same_dataset(folder, contents, tmp_path):
    for file, content in zip(idx.FILES, contents, strict=True):
        (tmp_path / file.name).write_bytes(content)
    compressed, plain = (data.load(data.resolve("mnist", each)) for each in (folder, tmp_path))
    assert all(np.array_equal(*pair) for pair in zip(compressed, plain, strict=True))


LAYOUTS = {
    "torchvision's root": "MNIST/raw/{0}",
    "torchvision's MNIST": "raw/{0}",
    "dotted names": "{1}",
    "Kaggle's folder a file": "{0}/{0}",
    "Kaggle's folder a dotted file": "{1}/{1}",
}
"""Where a file is in the folder that people name; with its name, and the dotted one."""


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_as_people_have_them_give_the_same_dataset(layout, suffix, folder, contents, tmp_path, monkeypatch):
    for file, content in zip(idx.FILES, contents, strict=True):
        path = tmp_path / "kept" / f"{LAYOUTS[layout]}{suffix}".format(file.name, file.name.replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content, mtime=0) if suffix else content)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "kept"))
    expected, found = data.load(data.resolve("mnist", folder)), data.load(data.resolve("auto"))
    assert all(np.array_equal(*pair) for pair in zip(expected, found, strict=True))


def test_a_torchvision_root_with_both_sets_gives_each_its_own(tmp_path):
    for title in ("MNIST", "FashionMNIST"):
        (tmp_path / title / "raw").mkdir(parents=True)
        (tmp_path / title / "raw" / idx.FILES[0].name).touch()
    files = [idx.find_file(tmp_path, idx.files_of(name)[0]) for name in ("mnist", "fashion-mnist")]
    assert files == [tmp_path / title / "raw" / idx.FILES[0].name for title in ("MNIST", "FashionMNIST")]


def test_a_damaged_file_deep_in_a_folder_is_refused_by_its_path(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "MNIST" / "raw")
    path = tmp_path / "MNIST" / "raw" / f"{idx.FILES[1].name}.gz"
    path.write_bytes(b"damaged")
    assert refusal("mnist", tmp_path).startswith(f"{path} is truncated")


def test_digits_are_split_the_same_way_every_time_and_in_proportion():
    first, second = (data.load(data.resolve("digits")) for _ in range(2))
    assert first.train_images.shape == (1437, 64)
    assert first.test_images.shape == (360, 64)
    assert first.train_images.dtype == first.test_images.dtype == np.uint8
    assert first.train_labels.dtype == np.int32
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
    train_counts, test_counts = np.bincount(first.train_labels), np.bincount(first.test_labels)
    np.testing.assert_allclose(test_counts, (train_counts + test_counts) * 360 / 1797, atol=1)


def test_digits_have_seventeen_levels_of_brightness_from_0_to_255():
    dataset = data.load(data.resolve("digits"))
    levels = np.unique(dataset.train_images)
    np.testing.assert_allclose(levels, np.arange(17) * 255 / 16, atol=0.5)
    from sklearn.datasets import load_digits

    everything = np.vstack([dataset.train_images, dataset.test_images]).astype(int)
    assert (np.searchsorted(levels, everything)).sum() == load_digits(return_X_y=True)[0].sum()


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


def test_a_file_in_place_of_the_folder_is_refused(folder, archives):
    assert "Not a directory" in refusal("auto", folder / archives[0])


def test_missing_files_are_named(folder, archives):
    (folder / archives[1]).unlink()
    (folder / archives[2]).unlink()
    message = refusal("auto", folder)
    assert "lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte" in message
    assert "train-images" not in message


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_mnist_is_downloaded_into_the_cache_once(name, serve, cache, archives, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (mirror,))
    source = data.resolve(name)
    assert source == ("mnist", cache, "data: MNIST, downloaded from 127.0.0.1")
    assert data.load(source).train_images.shape == (7, 6)
    assert data.resolve(name).reason == "data: MNIST from the cache"
    assert asked == archives


def test_what_the_cache_lacks_is_downloaded(serve, folder, cache, archives, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (mirror,))
    shutil.copytree(folder, cache)
    (cache / archives[2]).unlink()
    assert data.load(data.resolve("mnist")).test_images.shape == (4, 6)
    assert asked == archives[2:3]


def test_auto_without_a_mirror_settles_for_digits_and_says_why():
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


def test_a_cache_that_cannot_be_used_is_named_without_its_path(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MIRRORS", (serve(send_whole)[0],))
    (tmp_path / "caches").write_text("in the way")
    reason = data.resolve("auto").reason
    assert "the cache can't be used (Not a directory)" in reason
    assert str(tmp_path) not in reason


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_what_is_damaged_in_the_cache_is_downloaded_again(name, serve, folder, cache, archives, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (mirror,))
    shutil.copytree(folder, cache)
    (cache / archives[1]).write_bytes(b"damaged")
    (cache / archives[2]).write_bytes((cache / archives[2]).read_bytes()[:-1])
    source = data.resolve(name)
    assert source == ("mnist", cache, "data: MNIST, downloaded from 127.0.0.1")
    assert data.load(source).test_images.shape == (4, 6)
    assert asked == archives[1:3]
    assert data.resolve(name).reason == "data: MNIST from the cache"


def test_a_damaged_uncompressed_file_in_the_cache_gives_way_to_an_archive(serve, folder, cache, archives, monkeypatch):
    monkeypatch.setattr(download, "MIRRORS", (serve(send_whole)[0],))
    shutil.copytree(folder, cache)
    (cache / archives[0]).unlink()
    (cache / idx.FILES[0].name).write_bytes(b"damaged")
    assert data.load(data.resolve("auto")).train_images.shape == (7, 6)


def test_a_damaged_cache_without_a_mirror_makes_auto_settle_for_digits_and_say_why(folder, cache, archives):
    shutil.copytree(folder, cache)
    (cache / archives[0]).write_bytes(b"damaged")
    source = data.resolve("auto")
    assert source == (
        "digits",
        None,
        "data: scikit-learn's digits, as MNIST is damaged in the cache and could not be downloaded "
        "(127.0.0.1 did not answer)",
    )
    assert data.load(source).train_images.shape == (1437, 64)
    assert "MNIST is damaged in the cache" in refusal("mnist")


def test_a_folder_in_place_of_a_cached_file_is_no_end_for_auto(serve, folder, cache, archives, monkeypatch):
    monkeypatch.setattr(download, "MIRRORS", (serve(send_whole)[0],))
    shutil.copytree(folder, cache)
    (cache / archives[0]).unlink()
    (cache / archives[0]).mkdir()
    assert "MNIST is damaged in the cache" in data.resolve("auto").reason


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_damaged_file_in_a_given_folder_is_refused_and_left_alone(name, serve, folder, archives, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (mirror,))
    (folder / archives[0]).write_bytes(b"damaged")
    assert "truncated or no gzip file" in refusal(name, folder)
    monkeypatch.setenv("MNIST_DIR", str(folder))
    assert "truncated or no gzip file" in refusal(name)
    assert (folder / archives[0]).read_bytes() == b"damaged"
    assert asked == []


def test_other_images_for_mnist_are_the_training_digits_between_the_centers_of_their_pixels(real_folder):
    images = data.other_images(data.resolve("mnist", real_folder))
    assert images.shape == (1437, 784)
    assert images.dtype == np.uint8
    digits = data.load(data.resolve("digits")).train_images[:5].reshape(5, 8, 8)
    at = (np.arange(28) + 0.5) / 3.5 - 0.5
    wide = np.array([[np.interp(at, np.arange(8), row) for row in digit] for digit in digits])
    whole = np.array([[np.interp(at, np.arange(8), column) for column in each.T] for each in wide]).transpose(0, 2, 1)
    np.testing.assert_allclose(images[:5].reshape(5, 28, 28), whole, atol=0.5 + 1e-3)


def test_digits_have_no_other_images():
    with pytest.raises(InputError, match=r"^--data digits: there is no other set of 8 by 8 pixels here.*$"):
        data.other_images(data.resolve("digits"))
