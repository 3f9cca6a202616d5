import shutil
import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pooch
import pytest

from mlp_mnist import download, idx


def fetch(folder: Path, *mirrors: str) -> str:
    return download.download(folder, idx.FILES, mirrors)


def refusal(folder: Path, *mirrors: str) -> str:
    with pytest.raises(download.DownloadError) as caught:
        fetch(folder, *mirrors)
    message = str(caught.value)
    assert "\n" not in message
    return message


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


def test_all_four_files_come_whole_and_in_silence(serve, folder, archives, tmp_path, capfd):
    mirror, asked = serve(send_whole)
    assert fetch(tmp_path / "new" / "folder", mirror) == "127.0.0.1"
    for name in archives:
        assert (tmp_path / "new" / "folder" / name).read_bytes() == (folder / name).read_bytes()
    assert asked == archives
    assert capfd.readouterr() == ("", "")


def test_only_missing_and_damaged_files_are_downloaded(serve, folder, archives, tmp_path):
    mirror, asked = serve(send_whole)
    partial = shutil.copytree(folder, tmp_path / "partial")
    (partial / archives[1]).write_bytes(b"damaged")
    (partial / archives[2]).unlink()
    fetch(partial, mirror)
    assert asked == archives[1:3]
    assert all((partial / name).read_bytes() == (folder / name).read_bytes() for name in archives)


def test_only_the_files_asked_for_are_downloaded(serve, archives, tmp_path):
    mirror, asked = serve(send_whole)
    download.download(tmp_path / "new", idx.FILES[2:], [mirror])
    assert asked == archives[2:]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(archives[2:])


def test_a_damaged_file_stays_until_a_whole_one_is_there(serve, dead_mirror, folder, archives):
    (folder / archives[0]).write_bytes(b"damaged")
    refusal(folder, dead_mirror, serve(send_other_file)[0])
    assert (folder / archives[0]).read_bytes() == b"damaged"
    assert sorted(path.name for path in folder.iterdir()) == sorted(archives)


def test_a_dead_mirror_gives_way_to_the_next(serve, dead_mirror, archives, tmp_path):
    mirror, asked = serve(send_whole)
    fetch(tmp_path / "new", dead_mirror, mirror)
    assert asked == archives


def test_a_silent_mirror_is_given_up_in_time(serve, archives, tmp_path, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        fetch(tmp_path / "new", f"http://127.0.0.1:{silent.getsockname()[1]}/mnist/", mirror)
    assert 0.5 <= time.monotonic() - start < 3
    assert asked == archives


@pytest.mark.parametrize(
    "answer", [send_half, send_half_unannounced, send_half_and_hang, send_other_file, send_not_found]
)
def test_a_mirror_that_fails_is_not_asked_again_and_leaves_nothing(answer, serve, archives, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    bad, asked_of_bad = serve(answer)
    new = tmp_path / "new"
    assert "127.0.0.1 did not send the original files" in refusal(new, bad)
    assert list(new.iterdir()) == []
    good, asked_of_good = serve(send_whole)
    fetch(new, bad, good)
    assert asked_of_bad == archives[:1] * 2
    assert asked_of_good == archives
    assert sorted(path.name for path in new.iterdir()) == sorted(archives)


def test_whole_files_of_a_mirror_that_then_fails_are_kept(serve, archives, tmp_path):
    def send_labels_by_half(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        (send_half if "labels" in handler.path else send_whole)(handler, body)

    bad, _ = serve(send_labels_by_half)
    good, asked_of_good = serve(send_whole)
    fetch(tmp_path / "new", bad, good)
    assert idx.read_idx(tmp_path / "new", idx.FILES[0]).shape == (7, 3, 2)
    assert asked_of_good == archives[1:]


def test_an_interrupted_download_leaves_nothing(dead_mirror, tmp_path, monkeypatch):
    def interrupted(downloader, url, output_file, pooch, check_only=False):
        if not check_only:
            Path(output_file).write_bytes(b"half")
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / "new", dead_mirror)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_used_is_named_without_its_path(serve, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = refusal(tmp_path / "file" / "new", serve(send_whole)[0])
    assert "the cache can't be used (Not a directory)" in message
    assert str(tmp_path) not in message


def test_every_mirror_that_failed_is_named(dead_mirror, tmp_path):
    mirrors = dead_mirror, dead_mirror.replace("127.0.0.1", "localhost")
    assert refusal(tmp_path / "new", *mirrors) == "127.0.0.1 did not answer, localhost did not answer"
