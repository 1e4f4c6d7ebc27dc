"""Reads a trace by Perfetto's own schema, and prints what is in it as JSON.

    read_perfetto.py TRACE

It fails where the trace has a field that the schema has not, a name that was not told, a
slice that ends on a track on which none has begun, or one that does not end.
"""

import json
import math
import sys

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

DAY_NS = 86_400_000_000_000
EVENT = schema.TrackEvent
MARKS = {"level", "source", "truncated", "parent", "opened"}
MARKS |= {"open_at_death", "began_before", "continued", "goes_on"}


def check_known(message):
    """Fails at a field that the schema does not know, however deep."""
    assert len(UnknownFieldSet(message)) == 0, f"unknown fields in {message}"
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                check_known(part)


class Trace:
    """The packets of one sequence, one after the other."""

    def __init__(self, packets):
        self.names = {"event_categories": {}, "event_names": {}, "debug_annotation_names": {}}
        self.clock = None
        self.process = None
        self.tracks = {}
        self.threads = {}
        self.spans = []
        self.events = []
        self.open = {}
        # As Perfetto does it: by time, and those of one time in their order.
        self.moments = []
        for packet in packets:
            self.take_in(packet)
        for packet, event, name, arguments in sorted(self.moments, key=lambda it: it[0].timestamp):
            self.draw(packet.timestamp % DAY_NS, event, name, arguments)
        assert not any(self.open.values()), "a slice does not end"

    def take_in(self, packet):
        assert packet.trusted_packet_sequence_id == 1
        if packet.HasField("clock_snapshot"):
            clocks = {clock.clock_id for clock in packet.clock_snapshot.clocks}
            assert {schema.BUILTIN_CLOCK_REALTIME, schema.BUILTIN_CLOCK_BOOTTIME} <= clocks
            assert packet.sequence_flags == schema.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
            self.clock = packet.trace_packet_defaults.timestamp_clock_id
        for kind, known in self.names.items():
            for interned in getattr(packet.interned_data, kind):
                assert interned.iid not in known, "a number is used twice"
                known[interned.iid] = interned.name
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid not in self.tracks
            self.tracks[track.uuid] = track
            if track.HasField("process"):
                self.process = track
        if packet.HasField("track_event"):
            assert packet.sequence_flags == schema.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
            assert self.clock == schema.BUILTIN_CLOCK_REALTIME
            event = packet.track_event
            for category in event.category_iids:
                assert self.names["event_categories"][category] == "scene"
            name = event.name or self.names["event_names"].get(event.name_iid)
            annotations = event.debug_annotations
            arguments = {self.annotation_name(it): value_of(it) for it in annotations}
            assert len(arguments) == len(annotations), "two of one name"
            self.moments.append((packet, event, name, arguments))

    def annotation_name(self, annotation):
        return self.names["debug_annotation_names"][annotation.name_iid]

    def draw(self, at, event, name, arguments):
        track = self.tracks[event.track_uuid]
        fields = {name: value for name, value in arguments.items() if name not in MARKS}
        stack = self.open.setdefault(track.uuid, [])
        if event.type == EVENT.TYPE_INSTANT:
            assert track.thread.pid == self.process.process.pid
            said = {"name": name, "thread": track.thread.tid, "at": at, "fields": fields}
            said |= {key: arguments[key] for key in ("level", "source")}
            self.events.append(said)
        elif event.type == EVENT.TYPE_SLICE_BEGIN:
            stack.append((name, at, arguments))
            self.call(track, "enter", name, at)
        else:
            assert event.type == EVENT.TYPE_SLICE_END
            name, begun, began_with = stack.pop()
            self.call(track, "leave", name, at)
            if not track.HasField("thread"):
                self.end_span(track, (name, begun, began_with), at, arguments, fields)

    def call(self, track, what, name, at):
        if track.HasField("thread"):
            self.threads.setdefault(track.uuid, []).append([what, name, at])

    def end_span(self, track, begun, at, arguments, fields):
        name, since, began_with = begun
        assert track.parent_uuid == self.process.uuid and track.name == name
        self.spans.append({
            "name": name, "from": since, "to": at, "fields": fields,
            "open_at_death": arguments.get("open_at_death", False),
            "began_before": began_with.get("began_before", False),
            "is_child": "parent" in began_with,
        })

    def as_json(self):
        tracks = [(self.tracks[uuid].thread, calls) for uuid, calls in self.threads.items()]
        threads = [
            {"name": it.thread_name, "id": it.tid, "calls": calls} for it, calls in tracks
        ]
        process = self.process.process
        return {
            "process": [process.pid, process.process_name],
            "threads": threads, "spans": self.spans, "events": self.events,
        }


def value_of(annotation):
    """A value as JSON has it; what JSON has not is a text."""
    if annotation.array_values:
        return [value_of(part) for part in annotation.array_values]
    value = getattr(annotation, annotation.WhichOneof("value"))
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "inf", "-inf": "-inf"}[repr(value)]
    return value


with open(sys.argv[1], "rb") as file:
    trace = schema.Trace.FromString(file.read())
check_known(trace)
print(json.dumps(Trace(trace.packet).as_json()))
