import shutil
import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pooch
import pytest

from mlp_mnist import download, idx


def refusal(folder: Path) -> str:
    with pytest.raises(download.DownloadError) as caught:
        download.download(folder)
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


def test_all_four_files_come_whole_and_in_silence(serve, folder, archives, tmp_path, monkeypatch, capfd):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (mirror,))
    assert download.download(tmp_path / "new" / "folder") == "127.0.0.1"
    for name in archives:
        assert (tmp_path / "new" / "folder" / name).read_bytes() == (folder / name).read_bytes()
    assert asked == archives
    assert capfd.readouterr() == ("", "")


def test_only_missing_files_are_downloaded(serve, folder, archives, tmp_path, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (mirror,))
    shutil.copytree(folder, tmp_path / "partial")
    (tmp_path / "partial" / archives[2]).unlink()
    download.download(tmp_path / "partial")
    assert asked == archives[2:3]


def test_a_dead_mirror_gives_way_to_the_next(serve, dead_mirror, archives, tmp_path, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (dead_mirror, mirror))
    download.download(tmp_path / "new")
    assert asked == archives


def test_a_silent_mirror_is_given_up_in_time(serve, archives, tmp_path, monkeypatch):
    mirror, asked = serve(send_whole)
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(download, "MIRRORS", (f"http://127.0.0.1:{silent.getsockname()[1]}/mnist/", mirror))
        start = time.monotonic()
        download.download(tmp_path / "new")
    assert 0.5 <= time.monotonic() - start < 3
    assert asked == archives


@pytest.mark.parametrize(
    "answer", [send_half, send_half_unannounced, send_half_and_hang, send_other_file, send_not_found]
)
def test_a_mirror_that_fails_is_not_asked_again_and_leaves_nothing(answer, serve, archives, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    bad, asked_of_bad = serve(answer)
    monkeypatch.setattr(download, "MIRRORS", (bad,))
    new = tmp_path / "new"
    assert "127.0.0.1 did not send the original files" in refusal(new)
    assert list(new.iterdir()) == []
    good, asked_of_good = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (bad, good))
    download.download(new)
    assert asked_of_bad == archives[:1] * 2
    assert asked_of_good == archives
    assert sorted(path.name for path in new.iterdir()) == sorted(archives)


def test_whole_files_of_a_mirror_that_then_fails_are_kept(serve, archives, tmp_path, monkeypatch):
    def send_labels_by_half(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        (send_half if "labels" in handler.path else send_whole)(handler, body)

    bad, _ = serve(send_labels_by_half)
    good, asked_of_good = serve(send_whole)
    monkeypatch.setattr(download, "MIRRORS", (bad, good))
    download.download(tmp_path / "new")
    assert idx.read_idx(tmp_path / "new", idx.FILES[0]).shape == (7, 3, 2)
    assert asked_of_good == archives[1:]


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(downloader, url, output_file, pooch, check_only=False):
        if not check_only:
            Path(output_file).write_bytes(b"half")
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download.download(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named_without_its_path(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MIRRORS", (serve(send_whole)[0],))
    (tmp_path / "file").write_text("in the way")
    message = refusal(tmp_path / "file" / "new")
    assert "the cache can't be written" in message
    assert str(tmp_path) not in message


def test_every_mirror_that_failed_is_named(dead_mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MIRRORS", (dead_mirror, dead_mirror.replace("127.0.0.1", "localhost")))
    assert refusal(tmp_path / "new") == "127.0.0.1 did not answer, localhost did not answer"
