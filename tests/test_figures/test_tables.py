"""Tables in the folders' READMEs are those that the committed records give."""

import re

import pytest

from figures.tables import TABLES, filled


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.parent.name)
def test_a_page_has_the_tables_of_its_records(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- ([\w-]+) -->", text)) == {*TABLES[page], "end"}
    assert text == filled(page)


def test_a_number_that_no_record_gives_is_noticed(tmp_path, monkeypatch):
    (page, tables), *_ = TABLES.items()
    copy = tmp_path / page.name
    copy.write_text(page.read_text(encoding="utf-8").replace("| 6  ", "| 7  "), encoding="utf-8")
    monkeypatch.setitem(TABLES, copy, tables)  # pyright: ignore
    assert copy.read_text(encoding="utf-8") != filled(copy) == page.read_text(encoding="utf-8")
