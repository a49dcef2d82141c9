# SPDX-License-Identifier: MIT
"""What the tests of gpt2client.py share: packs, daemons, what the process maps, and a careful main."""
import os
import sys
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get('GPT2W_SOURCE', Path(__file__).resolve().parents[2]))
sys.path[:0] = [str(SOURCE / 'client' / 'python'), str(SOURCE / 'tests' / 'integration')]
import gpt2client  # noqa: E402
import gpt2w_test as t  # noqa: E402

GOLDEN = SOURCE / 'tests' / 'golden'
VOCAB, POSITIONS, EMBD = 1000, 64, 48


def mappings():
    """[(from, to, permissions, file)] of this process."""
    found = []
    for line in Path('/proc/self/maps').read_text().splitlines():
        words = line.split(None, 5)
        start, end = (int(word, 16) for word in words[0].split('-'))
        found.append((start, end, words[1], words[5] if len(words) > 5 else ''))
    return found


def images():
    """How many mappings of packs and of daemons' memory this process has."""
    return sum('.gpt2w' in file or 'memfd:' in file for _, _, _, file in mappings())


def lies_in_image(address):
    return any(start <= address < end and ('.gpt2w' in file or 'memfd:' in file)
               for start, end, _, file in mappings())


def descriptors():
    return len(os.listdir('/proc/self/fd'))


def private_bytes(pid='self'):
    """Memory that only this process has."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith('Private_'))


def in_child(body):
    """Runs body() in a forked child; what it returned, as a str, or its exception's."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(body())
        except BaseException as cause:
            text = f'{type(cause).__name__}: {cause}'
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, 'rb') as pipe:
        text = pipe.read().decode()
    t.check_equal(os.waitpid(pid, 0)[1], 0, 'status of the child')
    return text


class Case(unittest.TestCase):
    """A folder for the class, and exact checks of errors."""

    @classmethod
    def setUpClass(cls):
        cls.where = cls.enterClassContext(t.folder())

    def error(self, code, says, function, *args, index=None, **options):
        with self.assertRaises(gpt2client.Error) as caught:
            function(*args, **options)
        error = caught.exception
        self.assertEqual((error.code, error.index), (code, index), error)
        self.assertIn(says, str(error))
        return error


def main():
    """unittest.main with the reasons of skips; 77 where everything is skipped."""
    program = unittest.main(module='__main__', exit=False, verbosity=2)
    result = program.result
    for case, why in result.skipped:
        t.say(f'SKIPPED {case}: {why}')
    if not result.wasSuccessful():
        raise SystemExit(1)
    raise SystemExit(77 if result.testsRun == len(result.skipped) else 0)
