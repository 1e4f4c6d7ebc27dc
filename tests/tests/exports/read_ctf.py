"""Has babeltrace2 read a trace, and prints its events as JSON.

    read_ctf.py TRACE

It fails where babeltrace2 does, or prints what is no event.
"""

import json
import re
import subprocess
import sys

HEAD = re.compile(r"\[(\d\d):(\d\d):(\d\d)\.(\d{9})\] (\S+) (.*?): (?=\{ thread_id = )")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
ESCAPE = re.compile(r"\\(.)")


class Fields:
    """What babeltrace2 prints between braces, from a place in a line on."""

    def __init__(self, line, at):
        self.line, self.at = line, at

    def take(self, words):
        assert self.line.startswith(words, self.at), f"no {words} in {self.line[self.at:]}"
        self.at += len(words)

    def match(self, pattern):
        found = re.compile(pattern).match(self.line, self.at)
        assert found, f"no {pattern} in {self.line[self.at:]}"
        self.at = found.end()
        return found

    def structure(self):
        fields = {}
        self.take("{ ")
        while not self.line.startswith("}", self.at):
            name = self.match(r"(\w+) = ").group(1)
            assert name not in fields, f"two of {name}"
            fields[name] = self.value()
            self.match(r",? ")
        self.take("}")
        return fields

    def value(self):
        if self.line.startswith('"', self.at):
            return ESCAPE.sub(r"\1", self.match(STRING.pattern).group(1))
        if self.line.startswith("( ", self.at):
            return self.match(r'\( "([^"]*)" : container = \d+ \)').group(1)
        number = self.match(r"-?(?:nan|inf|[\d.e+-]+)").group()
        return int(number) if re.fullmatch(r"-?\d+", number) else float(number)


def event(line):
    head = HEAD.match(line)
    assert head, f"no event: {line}"
    hours, minutes, seconds, ns = map(int, head.groups()[:4])
    rest = Fields(line, head.end())
    context = rest.structure()
    rest.take(", ")
    return {
        "at": ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + ns,
        "process": head.group(5), "name": head.group(6),
        "context": context, "fields": rest.structure(),
    }


# Without what the format's own words are written with.
asked = ["babeltrace2", "--clock-gmt", "--no-delta", sys.argv[1]]
read = subprocess.run(asked, check=True, stdout=subprocess.PIPE, encoding="utf-8")
events = [event(line) for line in read.stdout.splitlines()]
print(json.dumps(events, allow_nan=True).replace("NaN", '"NaN"'))
