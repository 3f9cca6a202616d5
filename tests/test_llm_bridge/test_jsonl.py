import os
from pathlib import Path
from typing import Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_bridge.files.jsonl import read_rows, write_rows
from theory.runs.command_line import InputError

ROW = {"prompt": "Continue: 7, 1", "completion": "4, 9", "tokens": [3, 1, 4], "log_probability": -2.5}
LINE = b'{"prompt": "Continue: 7, 1", "completion": "4, 9", "tokens": [3, 1, 4], "log_probability": -2.5}\n'


class Row(TypedDict):
    prompt: str
    completion: str
    tokens: list[int]
    log_probability: float


class Whole(TypedDict):
    log_probability: int


class Boolean(TypedDict):
    log_probability: bool


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "completions.jsonl"


def refusal(path: Path, kind: type = Row) -> str:
    with pytest.raises(InputError) as caught:
        read_rows(path, kind)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_rows_are_written_one_a_line_and_read_back(path):
    write_rows(path, [ROW, ROW | {"completion": "8"}])
    assert path.read_bytes() == LINE + LINE.replace(b"4, 9", b"8")
    assert read_rows(path, Row) == [ROW, ROW | {"completion": "8"}]


@given(rows=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), min_size=1, max_size=4))
@settings(max_examples=100)
def test_whatever_json_holds_comes_back_and_is_written_as_the_same_bytes_again(tmp_path_factory, rows):
    first, second = (tmp_path_factory.mktemp("rows") / name for name in ("first", "second"))
    write_rows(first, rows)
    assert first.read_bytes().count(b"\n") == len(rows)
    assert read_rows(first, dict[str, Any]) == rows
    write_rows(second, read_rows(first, dict[str, Any]))
    assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("text", ["42, ﬁve\u2028\x85\x0b\r\n7", "half of a pair: \ud83e", "\\\udc00"])
def test_text_that_breaks_lines_or_is_no_text_comes_back(path, text):
    write_rows(path, [{"completion": text}] * 2)
    assert read_rows(path, dict[str, str]) == [{"completion": text}] * 2


def test_a_number_that_json_lacks_is_not_written(path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_rows(path, [ROW | {"log_probability": float("-inf")}])
    assert not path.exists()


@pytest.mark.parametrize("end", [b"", b"\n\n", b"\r\n", b" \n\t\n"])
def test_blank_lines_at_the_end_are_tolerated(path, end):
    path.write_bytes(LINE + LINE.rstrip() + end)
    assert read_rows(path, Row) == [ROW, ROW]


def test_lines_may_end_as_on_windows(path):
    path.write_bytes(LINE.replace(b"\n", b"\r\n") * 2)
    assert read_rows(path, Row) == [ROW, ROW]


def test_a_whole_number_is_a_number_but_true_is_none(path):
    write_rows(path, [ROW | {"log_probability": -2}])
    assert read_rows(path, Row)[0]["log_probability"] == -2
    write_rows(path, [ROW | {"log_probability": True}])
    assert "Expected `float`, got `bool` - at `$.log_probability`" in refusal(path)
    assert "Expected `int`, got `bool` - at `$.log_probability`" in refusal(path, Whole)
    assert read_rows(path, Boolean) == [{"log_probability": True}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "blank, with rows after it"),
        (b"7, 1, 4\n", "not JSON"),
        (LINE[:40] + b"\n", "not JSON"),
        (LINE.rstrip() + LINE, "not JSON"),
        (LINE.replace(b"-2.5", b"NaN"), "NaN is no number of JSON"),
        (LINE.replace(b"-2.5", b"-Infinity"), "-Infinity is no number of JSON"),
        (LINE.replace(b"-2.5", b"-1e999"), "-1e999 is no number of JSON"),
        (LINE.replace(b"}", b', "of no account": [{"score": NaN}]}'), "NaN is no number of JSON"),
        (LINE.replace(b"-2.5", b"9" * 400), "Number out of range - at `$.log_probability`"),
        (LINE.replace(b"-2.5", b"9" * 5000), "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b"[1, 2]\n", "Expected `object`, got `array`"),
        (b"null\n", "Expected `object`, got `null`"),
        (LINE.replace(b"4, 9", b"\xff"), "not text in UTF-8"),
        (LINE.replace(b'"completion"', b'"answer"'), "Object missing required field `completion`"),
        (LINE.replace(b'"4, 9"', b"49"), "Expected `str`, got `int` - at `$.completion`"),
        (LINE.replace(b'"4, 9"', b"null"), "Expected `str`, got `null` - at `$.completion`"),
        (LINE.replace(b"[3, 1, 4]", b'"314"'), "Expected `array`, got `str` - at `$.tokens`"),
        (LINE.replace(b"-2.5", b'"-2.5"'), "Expected `float`, got `str` - at `$.log_probability`"),
    ],
)
def test_a_malformed_line_is_named(path, line, reason):
    path.write_bytes(LINE * 2 + line + LINE)
    message = refusal(path)
    assert "line 3: " in message
    assert reason in message


def test_a_mark_of_utf_8_is_no_text(path):
    path.write_bytes(b"\xef\xbb\xbf" + LINE)
    assert read_rows(path, Row) == [ROW]


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\n", b"\xef\xbb\xbf\n"])
def test_a_file_without_rows_is_refused(path, content):
    path.write_bytes(content)
    assert refusal(path).endswith("has no rows: it must hold JSON, one object a line")


def test_what_is_no_file_is_refused(path):
    assert "No such file" in refusal(path)
    path.mkdir()
    assert "directory" in refusal(path)
    path.rmdir()
    os.mkfifo(path)
    assert "is a pipe or a device" in refusal(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "is a pipe or a device" in refusal(path)
    path.unlink()
    path.symlink_to(path)
    assert "symbolic links" in refusal(path)
