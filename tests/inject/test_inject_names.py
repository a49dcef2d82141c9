#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""No call passes by: every function that the programs take from elsewhere is wrapped, or named in sure.txt
as one that is not made to fail. A new one fails this test until it has its place."""
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'integration'))
import gpt2w_test as t  # noqa: E402


def names(file):
    return set(re.sub(r'^#.*$', '', (HERE / file).read_text(), flags=re.MULTILINE).split())


def symbols(program):
    """(undefined, all) of a program's symbols, without their versions."""
    lines = [line.split() for line in t.run('nm', program).stdout.splitlines()]
    found = [(fields[-2], fields[-1].split('@')[0]) for fields in lines if len(fields) >= 2]
    return {name for kind, name in found if kind in 'Uw'}, {name for _, name in found}


def undefined(program):
    taken, everything = symbols(program)
    tools = [name for name in everything if re.match('__(asan|tsan|ubsan|gcov|sanitizer)_|__[a-z]+_chk$', name)]
    if tools:
        raise t.Skip(f'a sanitizer or _FORTIFY_SOURCE adds calls of its own ({tools[0]})')
    return taken


def test_every_call_has_its_place():
    wrapped, sure = names('wrapped.txt'), names('sure.txt')
    t.check_equal(wrapped & sure, set(), 'in both lists')
    for program in ('GPT2D', 'GPT2_PACK'):
        taken = undefined(t.program(program))
        t.check('malloc' in taken and 'open64' in taken, 'nm shows what there is')
        t.check_equal(sorted(taken - wrapped - sure), [],
                      f'{program}: neither in wrapped.txt (with a wrapper in calls.c) nor in sure.txt')


def test_wrapped_calls_are_wrapped():
    """The programs of these tests hold a wrapper of every call that the true ones make."""
    for program in ('GPT2D', 'GPT2_PACK'):
        taken = undefined(t.program(program)) & names('wrapped.txt')
        there = symbols(t.program(f'{program}_INJECT'))[1]
        missing = [name for name in sorted(taken) if f'__wrap_{name}' not in there]
        t.check_equal(missing, [], program)


if __name__ == '__main__':
    t.main()
