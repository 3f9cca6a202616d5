"""Tables in the folders' READMEs are those that the committed records give."""

import pytest

from figures.tables import TABLES, filled


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.parent.name)
def test_a_page_has_the_tables_of_its_records(page):
    assert page.read_text(encoding="utf-8") == filled(page)
    assert "| 0 " not in filled(page).split("reported")[0]
