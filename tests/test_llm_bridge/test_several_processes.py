"""What several processes do with the files of a run: process 0 decides, or they would wait for each other for ever."""

from llm_bridge import store
from llm_bridge.files.lineage import Ancestry, Origin
from llm_bridge.store import append_rows, finish, is_written, kept_rows, remove

ORIGIN = Origin(writer=Ancestry(weights="w"), system_prompt=None, sampling={}, data="")


def test_a_file_is_done_if_process_0_says_so(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    assert not is_written(path, ORIGIN)
    with monkeypatch.context() as patch:
        patch.setattr(store, "agreed", lambda value: not value)
        assert is_written(path, ORIGIN)
    finish(path, [{"a": 1}], ORIGIN)
    monkeypatch.setattr(store, "agreed", lambda value: not value)
    assert not is_written(path, ORIGIN)
    monkeypatch.undo()
    assert is_written(path, ORIGIN)


def test_what_is_kept_is_what_process_0_has_read(tmp_path, monkeypatch):
    path = tmp_path / "part"
    append_rows(path, [{"a": 1}])
    assert kept_rows(path) == [{"a": 1}]
    monkeypatch.setattr(store, "told_by_first", lambda read: b'{"b": 2}\n{"c"')
    assert kept_rows(path) == [{"b": 2}]


def test_process_0_alone_writes_and_removes(tmp_path, monkeypatch):
    path = tmp_path / "part"
    append_rows(path, [{"a": 1}])
    monkeypatch.setattr(store, "done_by_first", lambda do: None)
    append_rows(path, [{"b": 2}])
    remove(path)
    finish(tmp_path / "rows.jsonl", [], ORIGIN)
    monkeypatch.undo()
    assert kept_rows(path) == [{"a": 1}]
    assert [each.name for each in tmp_path.iterdir()] == ["part"]
    remove(path)
    assert kept_rows(path) == []
