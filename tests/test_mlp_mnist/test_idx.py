import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from mlp_mnist import idx
from theory.runs.command_line import InputError


def refusal(folder: Path, file: idx.IdxFile) -> str:
    with pytest.raises(InputError) as caught:
        idx.read_idx(folder, file)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_archive(folder: Path, file: idx.IdxFile, content: bytes) -> None:
    (folder / f"{file.name}.gz").write_bytes(gzip.compress(content, mtime=0))


def test_bytes_come_back_in_the_shape_that_the_header_says(folder, contents):
    shapes = [(7, 3, 2), (7,), (4, 3, 2), (4,)]
    for file, content, shape in zip(idx.FILES, contents, shapes, strict=True):
        array = idx.read_idx(folder, file)
        assert array.shape == shape
        assert array.dtype == np.uint8
        assert array.tobytes() == content[4 * (len(shape) + 1) :]


def test_uncompressed_files_give_the_same_bytes(folder, contents, tmp_path):
    for file, content in zip(idx.FILES, contents, strict=True):
        (tmp_path / file.name).write_bytes(content)
        np.testing.assert_array_equal(idx.read_idx(tmp_path, file), idx.read_idx(folder, file))


def test_a_compressed_file_is_preferred_to_its_neighbor(folder):
    (folder / idx.FILES[0].name).write_bytes(b"never read")
    assert idx.read_idx(folder, idx.FILES[0]).shape == (7, 3, 2)


def test_either_form_of_a_file_counts_as_present(folder, archives, contents):
    assert idx.missing_files(folder, "mnist") == []
    (folder / archives[0]).unlink()
    assert idx.missing_files(folder, "mnist") == [idx.FILES[0].name]
    (folder / idx.FILES[0].name).write_bytes(contents[0])
    assert idx.missing_files(folder, "mnist") == []


def test_real_archives_have_the_sums_that_downloads_are_checked_against(real_folder):
    archives = [file for file in idx.FILES if (real_folder / f"{file.name}.gz").exists()]
    if not archives:
        pytest.skip("MNIST is here, but not compressed")
    for file in archives:
        assert hashlib.sha256((real_folder / f"{file.name}.gz").read_bytes()).hexdigest() == file.archive_sum


def test_one_altered_pixel_of_real_mnist_is_refused(real_folder, tmp_path):
    images = idx.FILES[2]
    array = idx.read_idx(real_folder, images)
    altered = bytearray(np.array([0x803, *array.shape], ">u4").tobytes() + array.tobytes())
    (tmp_path / images.name).write_bytes(altered)
    assert np.array_equal(idx.read_idx(tmp_path, images), array)
    altered[5000] ^= 1
    (tmp_path / images.name).write_bytes(altered)
    assert "t10k-images-idx3-ubyte is an idx file with other contents" in refusal(tmp_path, images)


def test_an_archive_cut_anywhere_is_refused(folder, archives):
    path = folder / archives[0]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(folder, idx.FILES[0])


@pytest.mark.parametrize("content", [b"<html>moved</html>", b"\x1f\x8b\x08\0" + bytes(40), b"\0" * 100])
def test_an_archive_that_is_none_is_refused(folder, archives, content):
    (folder / archives[3]).write_bytes(content)
    assert "t10k-labels-idx1-ubyte.gz is truncated or no gzip file" in refusal(folder, idx.FILES[3])


def test_a_damaged_byte_in_an_archive_is_refused(folder, archives):
    path = folder / archives[0]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    assert str(path) in refusal(folder, idx.FILES[0])


def test_labels_under_the_name_of_images_are_told_by_the_magic_number(folder, contents):
    write_archive(folder, idx.FILES[0], contents[1])
    assert "starts with 0x00000801, not 0x00000803" in refusal(folder, idx.FILES[0])


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_a_size_other_than_the_header_says_is_refused(folder, contents, change):
    write_archive(folder, idx.FILES[1], change(contents[1]))
    assert "not what its header says" in refusal(folder, idx.FILES[1])


def test_an_uncompressed_file_cut_anywhere_is_refused(folder, archives, contents):
    (folder / archives[0]).unlink()
    for length in range(len(contents[0])):
        (folder / idx.FILES[0].name).write_bytes(contents[0][:length])
        assert "train-images-idx3-ubyte " in refusal(folder, idx.FILES[0])


def test_labels_that_are_not_mnist_are_refused(folder, contents):
    write_archive(folder, idx.FILES[1], contents[1][:8] + bytes(7))
    assert "other contents than MNIST's" in refusal(folder, idx.FILES[1])


def test_a_file_without_permission_is_refused(folder, monkeypatch):
    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)
    assert "can't be read (Permission denied)" in refusal(folder, idx.FILES[0])


def test_a_folder_in_place_of_a_file_is_refused(folder, archives):
    path = folder / archives[0]
    path.unlink()
    path.mkdir()
    assert idx.missing_files(folder, "mnist") == [idx.FILES[0].name]
    assert "can't be read" in refusal(folder, idx.FILES[0])
