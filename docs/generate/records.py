"""The page of records: the columns of every table, from the schema."""

from docs.generate.columns import COLUMNS, TABLES
from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.meanings import MEANINGS
from gradflow.config.registry import GROUPS, classes_of, name_of
from gradflow.records.quantities import QUANTITIES
from gradflow.records.schema import DERIVED, SCHEMAS

HEAD = """# Records

The tables of a run, as parquet files in its folder, and their columns with their types.
[How to read records](../how-to/records.md) introduces them. Every table has the column `run_id`.
"""


def page() -> str:
    """A section per table.

    Raises:
        ValueError: a table or column has no meaning in docs/generate/columns.py.
    """
    of = {
        table: f"`diagnostic={name_of(config)}`"
        for config in classes_of("diagnostic")
        if issubclass(config, DiagnosticConfig)
        for table in config.TABLES
    }
    parts = [HEAD]
    for table, schema in SCHEMAS.items():
        if table not in TABLES:
            raise ValueError(f"docs/generate/columns.py: no meaning of the table {table}")
        parts += [f"## {table}", "", f"{TABLES[table]}."]
        parts += ["", f"Made by {of[table]}."] if table in of else []
        parts += ["", "| column | type | meaning |", "| --- | --- | --- |"]
        configured = [f"{group}_" for group in GROUPS] if table == "runs" else []
        for column in schema:
            if column.name == "run_id" or column.name.startswith(tuple(configured)):
                continue
            parts.append(f"| `{column.name}` | {column.type} | {meaning(table, column.name)} |")
        parts += [f"| `{g}*` | | the keys of [`{g}`]({_page(g)}.md) |" for g in configured]
        parts += [
            f"| `{name}` | | computed when read: {meaning(table, name)} |"
            for name in DERIVED.get(table, ())
        ]
        parts.append("")
    return "\n".join(parts)


def meaning(table: str, column: str) -> str:
    """Of a column, in a line.

    Raises:
        ValueError: it has none.
    """
    measured = {(q.table, q.name): q for q in QUANTITIES}
    if (table, column) in measured:
        quantity = measured[table, column]
        unit = f" ({quantity.unit})" if quantity.unit not in ("", "1") else ""
        return f"{quantity.doc}{unit}".replace("|", "\\|")
    text = COLUMNS.get(f"{table}.{column}", COLUMNS.get(column)) or _of_config(column)
    if text is None:
        raise ValueError(f"docs/generate/columns.py: no meaning of {table}.{column}")
    return text.replace("|", "\\|")


def _of_config(column: str) -> str | None:
    """Of a column that is a key of the config outside the groups: `steps`, `evaluation_every`."""
    group, _, name = column.partition("_")
    return MEANINGS[""].get(column) or MEANINGS.get(group, {}).get(name)


def _page(group: str) -> str:
    return "probe" if group == "details_" else group.rstrip("_")
