#!/usr/bin/env python3
"""Records demo.gif: a program is started, killed by SIGKILL, and read back.

A shell is driven in a pseudo-terminal, as a person would type, and what its screen
showed is drawn frame by frame. Nothing is put on the screen but by the shell: the pid
that is typed was read there.

Needs Linux, bash, Python 3.9, and

    pip install pyte pillow
    apt install fonts-dejavu-core

and is run in the repository's root:

    cargo build -p ttlog-examples --example hello
    cargo build -p ttlog-reader
    python3 examples/demo/record.py
"""

import argparse
import os
import pty
import random
import re
import select
import signal
import struct
import fcntl
import termios
import time
from pathlib import Path

import pyte
from PIL import Image, ImageColor, ImageDraw, ImageFont

COLUMNS, ROWS = 94, 28
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono{}.ttf"
FONT_SIZE = 14
MARGIN = 12
TITLE = "kill -9, then one command"

BACK, FRONT = "#1b1e24", "#d6d9df"
TITLE_COLOUR = "#7b828e"
COLOURS = {
    "default": FRONT,
    "black": "#3b4048",
    "red": "#ff6b70",
    "green": "#8fce6d",
    "brown": "#e8c06a",
    "blue": "#6db3f2",
    "magenta": "#cf8ef0",
    "cyan": "#5fc9d3",
    "white": FRONT,
}


class Session:
    """A shell in a terminal, and what its screen showed when."""

    def __init__(self, programs):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.frames = []
        self.random = random.Random(7)
        environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "PAGER": "cat",
            "PS1": "$ ",
            "HOME": "/",
        }
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            shell = ["bash", "--norc", "--noprofile", "--noediting"]
            os.execvpe("bash", shell, environment)
        size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)

    def watch(self, seconds):
        """Lets time pass, and notes what the screen shows meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.terminal], [], [], left)[0]:
                self.stream.feed(os.read(self.terminal, 65536))
                self.note()
        self.note()

    def note(self):
        """Adds what the screen shows, unless it showed that before."""
        shown = [
            [self.screen.buffer[y][x] for x in range(COLUMNS)] for y in range(ROWS)
        ]
        cursor = (self.screen.cursor.x, self.screen.cursor.y)
        if not self.frames or self.frames[-1][1:] != (shown, cursor):
            self.frames.append((time.monotonic(), shown, cursor))

    def type(self, line):
        """Types a line, and takes as long as a person does."""
        for character in line:
            os.write(self.terminal, character.encode())
            self.watch(self.random.uniform(0.04, 0.13))
        self.watch(0.4)
        os.write(self.terminal, b"\n")

    def find(self, pattern, seconds=30):
        """What the screen comes to show."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.watch(0.1)
            if found := re.search(pattern, "\n".join(self.screen.display)):
                return found[1]
        raise SystemExit(f"the screen never showed {pattern!r}")

    def end(self):
        """Ends the shell; returns the frames, each with how long it was seen."""
        self.note()
        over = time.monotonic()
        os.kill(self.pid, signal.SIGHUP)
        os.waitpid(self.pid, 0)
        times = [at for at, _, _ in self.frames] + [over]
        return [
            (later - at, shown, cursor)
            for (at, shown, cursor), later in zip(self.frames, times[1:])
        ]


class Painter:
    """Draws screens."""

    def __init__(self):
        self.fonts = {
            is_bold: ImageFont.truetype(FONT.format(name), FONT_SIZE)
            for is_bold, name in [(False, ""), (True, "-Bold")]
        }
        self.width = round(self.fonts[False].getlength("M"))
        self.height = FONT_SIZE + 5
        self.size = (
            COLUMNS * self.width + 2 * MARGIN,
            ROWS * self.height + 2 * MARGIN + self.height,
        )

    def paint(self, shown, cursor):
        image = Image.new("RGB", self.size, BACK)
        draw = ImageDraw.Draw(image)
        draw.text((MARGIN, MARGIN // 2), TITLE, TITLE_COLOUR, self.fonts[True])
        for y, row in enumerate(shown):
            for x, character in enumerate(row):
                self.character(draw, x, y, character, (x, y) == cursor)
        return image

    def character(self, draw, x, y, character, is_cursor):
        left = MARGIN + x * self.width
        top = MARGIN + (y + 1) * self.height
        front = colour(character.fg)
        if is_cursor:
            draw.rectangle((left, top, left + self.width, top + self.height - 2), FRONT)
            front = BACK
        if character.data.strip():
            font = self.fonts[bool(character.bold)]
            draw.text((left, top), character.data, front, font)


def colour(name):
    """Of a name, or of six hexadecimal digits."""
    name = name.replace("bright", "")
    return COLOURS.get(name) or (f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else FRONT)


def record(programs):
    """The session, as a person on call would have it."""
    session = Session(programs)
    session.watch(1.0)
    session.type("hello &")
    pid = session.find(r"recording as (\d+)")
    session.type("")
    session.watch(1.2)
    session.type(f"kill -9 {pid}")
    session.watch(0.6)
    session.type("")
    session.watch(0.6)
    session.type(f"ttlog-reader postmortem {pid}")
    session.watch(7.0)
    session.type(f"ttlog-reader view {pid}")
    session.watch(5.0)
    return session.end()


def blends():
    """A palette: every colour, and what letters' edges make of it and the ground."""
    steps = 12
    back = ImageColor.getrgb(BACK)
    entries = []
    for name in sorted({*COLOURS.values(), TITLE_COLOUR}):
        front = ImageColor.getrgb(name)
        for step in range(steps + 1):
            entries += [b + (f - b) * step // steps for f, b in zip(front, back)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(entries)
    return palette


def write(frames, path):
    painter = Painter()
    images = [painter.paint(shown, cursor) for _, shown, cursor in frames]
    palette = blends()
    images = [
        image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images
    ]
    # In hundredths of a second, of which viewers take less than two for more.
    times = [max(20, round(seconds * 100) * 10) for seconds, _, _ in frames]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=times,
        loop=0,
        optimize=False,
        disposal=1,
    )
    seconds = sum(times) / 1000
    print(f"{path}: {len(images)} frames, {seconds:.0f} s, {path.stat().st_size >> 10} KiB")


def main():
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=f"{target}/debug", help="where cargo built")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("demo.gif"))
    asked = parser.parse_args()
    build = Path(asked.build).resolve()
    for program in [build / "ttlog-reader", build / "examples" / "hello"]:
        if not program.exists():
            raise SystemExit(f"no such program: {program} (see the top of this script)")
    write(record(f"{build}:{build}/examples"), asked.out)


if __name__ == "__main__":
    main()
