"""SQL that finds the rows of one wedding, by the mapping's own columns and foreign keys. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from schemas.mapping import TableMapping, TableRule


def identifier(table: str) -> sql.Identifier:
    """Return a schema-qualified table's quoted name."""
    schema, _, name = table.partition(".")
    return sql.Identifier(schema, name)


def wedding_condition(mapping: TableMapping, rule: TableRule, *, alias: str, wedding: str) -> sql.Composable:
    """Return the condition that `alias`, a row of `rule`'s table, belongs to `wedding`; over parents by EXISTS.

    Raises:
        ConfigError: the table is the platform's: its rows belong to no wedding.
    """
    if rule.wedding_column is not None:
        return sql.SQL("{} = {}").format(sql.Identifier(alias, rule.wedding_column), sql.Literal(wedding))
    if rule.parent is None:
        raise ConfigError(f"table {rule.name} belongs to no wedding", hint="restore it as the platform's")
    parent = mapping.tables[rule.parent.table]
    upper = f"{alias}p"
    pairs = zip(rule.parent.columns, rule.parent.references, strict=True)
    joined = [
        sql.SQL("{} = {}").format(sql.Identifier(upper, there), sql.Identifier(alias, here)) for here, there in pairs
    ]
    return sql.SQL("EXISTS (SELECT FROM {} AS {} WHERE {} AND {})").format(
        identifier(parent.name),
        sql.Identifier(upper),
        sql.SQL(" AND ").join(joined),
        wedding_condition(mapping, parent, alias=upper, wedding=wedding),
    )
