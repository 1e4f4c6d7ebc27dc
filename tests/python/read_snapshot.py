"""Reads a snapshot with lz4 and cbor2 alone, and prints what it holds as JSON.

    read_snapshot.py SNAPSHOT SCHEMA

It fails where the snapshot is not what the schema says. Where cddl-verifier is
not to be had, its keys are looked for in the schema, and that is all.
"""

import io
import json
import re
import shutil
import subprocess
import sys

import cbor2
import lz4.frame

ORDER = ["ledger", "cause", "incident", "thread", "call_site", "span", "event"]
SELF_DESCRIBED = bytes.fromhex("d9d9f7")


def sequence(data):
    """The items of a CBOR sequence."""
    decoder = cbor2.CBORDecoder(io.BytesIO(data))
    while True:
        try:
            yield decoder.decode()
        except cbor2.CBORDecodeEOF:
            return


def as_json(value):
    """A value as JSON has it: integers past 64 bits are strings, bytes are lists."""
    if isinstance(value, dict):
        (kind,) = [key for key in value if key != "whole"]
        return as_json(value[kind])
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


class Snapshot:
    """The items of a snapshot, by their kinds."""

    def __init__(self, items):
        self.head, *rest = items
        kinds = []
        self.of = {kind: [] for kind in ORDER}
        for item in rest:
            ((kind, content),) = item.items()
            kinds.append(ORDER.index(kind))
            self.of[kind].append(content)
        assert kinds == sorted(kinds), "items are not in their order"
        self.sites = {site["address"]: site for site in self.of["call_site"]}
        self.spans = {span["id"]: span for span in self.of["span"]}

    def check(self):
        assert self.head["format"] == "ttlog snapshot", self.head
        assert self.head["version"] == 1, self.head
        found = sum(len(items) for items in self.of.values())
        assert self.head["made"]["items"] == found, (self.head["made"], found)
        (ledger,) = self.of["ledger"]
        counts = ledger["counts"]
        lost = counts["overwritten"] + counts["dropped"] + counts["torn"]
        assert counts["written"] == counts["readable"] + lost, counts
        moments = [event["wall_ns"] for event in self.of["event"]]
        assert moments == sorted(moments), "events are not in time order"
        for event in self.of["event"]:
            assert event["thread"] < len(self.of["thread"]), event
            assert event["site"] in self.sites, event
            assert event.get("span") is None or event["span"] in self.spans, event
        for span in self.of["span"]:
            assert span["parent"] is None or span["parent"] in self.spans, span

    def fields(self, site, fields):
        names = self.sites[site]["fields"]
        return {names[index]: as_json(value) for index, value in fields}

    def parents(self, span):
        names = []
        while span["parent"] is not None:
            span = self.spans[span["parent"]]
            names.insert(0, self.sites[span["site"]]["name"])
        return names

    def event(self, event):
        site = self.sites[event["site"]]
        thread = self.of["thread"][event["thread"]]
        return {
            "level": site["level"],
            "target": site["target"],
            "fields": self.fields(event["site"], event["fields"]),
            "thread": thread["name"],
        }

    def open_span(self, span):
        fields = [field for _, field in span["fields"]]
        return {
            "name": self.sites[span["site"]]["name"],
            "fields": self.fields(span["site"], fields),
            "parents": self.parents(span),
        }

    def summary(self):
        header = self.head["header"]
        return {
            "pid": header["pid"],
            "name": header["name"],
            "why": self.head["made"]["why"],
            "by": self.head["made"]["by"],
            "ledger": self.of["ledger"][0],
            "incidents": [incident["message"] for incident in self.of["incident"]],
            "threads": [thread["name"] for thread in self.of["thread"]],
            "events": [
                self.event(event)
                for event in self.of["event"]
                if event.get("what", "event") == "event"
            ],
            "open_spans": [
                self.open_span(span) for span in self.of["span"] if span["open"]
            ],
        }


def keys(item):
    """The keys of all maps in an item."""
    if hasattr(item, "values"):
        yield from item
        item = item.values()
    if not isinstance(item, (str, bytes)) and hasattr(item, "__iter__"):
        for value in item:
            yield from keys(value)


def validate(items, schema):
    """Checks items against a schema; by what.

    Readers pass over keys that they do not know; this writer has none of them.
    """
    named = set(re.findall(r'[?{,] "?(\w+)"?:', schema))
    unnamed = {key for item in items for key in keys(item)} - named
    assert not unnamed, f"not in the schema: {unnamed}"
    try:
        from cddl_verifier import Validator
    except ImportError:
        return "keys"
    closed = Validator(re.sub(r"\n *\* tstr => any,", "", schema))

    def check(item):
        return closed.validate(cbor2.dumps(item), "snapshot-item")

    for wrong in [{"event": {"wall_ns": "noon"}}, {"event": {"moment_ns": 1}}, 7]:
        assert not check(wrong).valid, f"the validator lets {wrong} pass"
    head, *rest = items
    for item in [cbor2.CBORTag(55799, head), *rest]:
        assert check(item).valid, (item, check(item).errors)
    return "cddl-verifier"


def main(path, schema):
    with open(path, "rb") as file:
        compressed = file.read()
    data = lz4.frame.decompress(compressed)
    assert data.startswith(SELF_DESCRIBED), data[:16]
    lz4_program = shutil.which("lz4")
    if lz4_program:
        told = subprocess.run([lz4_program, "-dc", path], stdout=subprocess.PIPE, check=True)
        assert told.stdout == data, "lz4 -dc says something else"
    items = list(sequence(data))
    snapshot = Snapshot(items)
    snapshot.check()
    with open(schema, encoding="utf-8") as file:
        validated = validate(items, file.read())
    tools = {"lz4": bool(lz4_program), "validated_by": validated}
    print(json.dumps(snapshot.summary() | tools))


if __name__ == "__main__":
    main(*sys.argv[1:])
