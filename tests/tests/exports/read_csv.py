"""Reads a table with Python's csv module alone, and prints its rows as JSON.

    read_csv.py TABLE

It fails where a row has more or fewer cells than the header.
"""

import csv
import json
import sys

with open(sys.argv[1], newline="", encoding="utf-8") as table:
    header, *rows = csv.reader(table, strict=True)
for row in rows:
    assert len(row) == len(header), f"{len(row)} cells, not {len(header)}: {row}"
print(json.dumps([dict(zip(header, row)) for row in rows]))
