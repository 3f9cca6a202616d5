"""Rows of objects as parquet files: read as JSON lines are, and written in columns of fixed types."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_bridge.files.extra import require_extra
from theory.runs.command_line import InputError
from theory.runs.files import write_whole


def arrow() -> Any:
    """Import pyarrow."""
    require_extra("pyarrow.parquet", "export", "parquet files need")
    return require_extra("pyarrow")


def read_lines(path: Path) -> list[bytes]:
    """Read the rows of a parquet file as lines of JSON; what JSON can't hold is refused by its column."""
    library = arrow()
    damage = (library.ArrowException, OSError, ValueError, TypeError, OverflowError)
    try:
        table = library.parquet.ParquetFile(path).read()
    except damage as error:
        raise InputError(f"can't read {path} (it is no parquet file, or damaged): name another file") from error
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns.append([f"{json.dumps(name)}: {json.dumps(value)}" for value in column.to_pylist()])
        except damage as error:
            raise InputError(f"{path}: JSON can't hold the column {name!r} ({column.type}): leave it out") from error
    return [f"{{{', '.join(row)}}}".encode() for row in zip(*columns, strict=True)]


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, type]) -> None:
    """Write rows as a parquet file; a column's type is that of its values, lists are of token ids."""
    library = arrow()
    types = {str: library.string(), int: library.int64(), float: library.float64(), bool: library.bool_()}
    types |= {list: library.list_(library.int32())}
    schema = library.schema([(name, types[kind]) for name, kind in columns.items()])
    content = io.BytesIO()
    library.parquet.write_table(library.Table.from_pylist(list(rows), schema=schema), content)
    write_whole(path, content.getvalue())
