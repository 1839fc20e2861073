"""Flips one bit of one value in a copy of a ledger: `flip.py DATABASE` lists `table column rows`, and
`flip.py DATABASE TABLE COLUMN ROW BIT` changes that row and says what it was. The row `all` is each of them."""

import sqlite3
import sys


def flipped(value, kind, bit):
    if value is None:
        value = {"INTEGER": 0, "TEXT": "\0", "BLOB": b"\0"}[kind]
    if isinstance(value, int):
        return value ^ (1 << bit % 40)
    raw = bytearray(value.encode() if isinstance(value, str) else value) or bytearray(1)
    # Of text only the lowest bit of a character, so that it stays text.
    raw[(bit // 8) % len(raw)] ^= 1 if isinstance(value, str) else 1 << bit % 8
    return raw.decode() if isinstance(value, str) else bytes(raw)


def columns(database, table):
    return [(row[1], row[2], row[5]) for row in database.execute(f"PRAGMA table_info({table})")]


def main(path, *chosen):
    database = sqlite3.connect(path)
    if not chosen:
        tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        for (table,) in tables.fetchall():
            (rows,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
            for name, _, _ in columns(database, table):
                print(table, name, rows)
        return
    table, column, row, bit = chosen[0], chosen[1], chosen[2], int(chosen[3])
    (rows,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    for row in range(rows) if row == "all" else [int(row)]:
        flip(database, table, column, row, bit)
    database.commit()


def flip(database, table, column, row, bit):
    known = columns(database, table)
    names = [name for name, _, _ in known]
    # A table without a key of its own has SQLite's.
    keys = [name for name, _, key in known if key] or ["rowid"]
    which = database.execute(f"SELECT {', '.join(keys)} FROM {table} LIMIT 1 OFFSET ?", (row,)).fetchone()
    where = " AND ".join(f"{key} IS ?" for key in keys)
    (before,) = database.execute(f"SELECT {column} FROM {table} WHERE {where}", which).fetchone()
    database.execute("PRAGMA ignore_check_constraints = ON")
    # A disk knows no constraints; where SQL sees one broken, another bit is flipped.
    while True:
        after = flipped(before, known[names.index(column)][1] or "TEXT", bit)
        try:
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", [after, *which])
            break
        except sqlite3.IntegrityError:
            bit += 1
    print(f"{table}.{column} of {which}: {before!r} became {after!r}"[:400])


main(*sys.argv[1:])
