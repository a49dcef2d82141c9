# SPDX-License-Identifier: MIT
"""The exact code (enum gw_status) of a checkpoint, from pack_status, whose path is in $PACK_STATUS."""

import atexit
import os
import subprocess

# Pinned, see format/status.h.
OK, MEMORY, IO, NOT_FILE = 0, -2, -3, -5
SOURCE, SOURCE_KIND, SOURCE_TABLES = -80, -81, -82

_programs = {}


def _ask(line, *arguments):
    program = _programs.get(arguments)
    if program is None:
        program = subprocess.Popen([os.environ["PACK_STATUS"], *arguments], text=True,
                                   errors="surrogateescape", stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        _programs[arguments] = program
        atexit.register(_end, program)
    program.stdin.write(line + "\n")
    program.stdin.flush()
    answer = program.stdout.readline()
    if not answer.endswith("\n"):
        raise AssertionError(f"pack_status died of {line!r}: {program.wait()}")
    code, rest = answer[:-1].split(" ", 1)
    return int(code), rest


def _end(program):
    """Its exit code tells what a sanitizer found at the end."""
    program.stdin.close()
    if program.wait() != 0:
        os._exit(1)


def _line(paths, embd):
    return "\t".join([str(embd), *map(os.path.abspath, paths)])


def of(*paths, embd=0):
    """(code, message) of opening it, finding its tables and reading them; the message "" for OK."""
    code, rest = _ask(_line(paths, embd))
    return (code, rest.split(" ", 1)[1]) if code else (code, "")


def failures(*paths, embd=0):
    """Every allocation and system call fails once: (how many of memory, open, io, short reads)."""
    code, rest = _ask(_line(paths, embd), "--failures")
    if code:
        raise AssertionError(f"{paths}: {code} {rest}")
    return tuple(map(int, rest.split()))
