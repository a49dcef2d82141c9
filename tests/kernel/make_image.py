#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""make_image.py KERNEL BUILD OUT TEST[:FUNCTION,...][@FILE=VALUE]...: an initramfs that runs tests
of the build, by meson's names of them, or functions of such a test; first, and one at a time, those
that want VALUE in a FILE below /proc/sys or /sys. KERNEL is what GPT2W_KERNEL tells them.

What they need is taken from this machine, to where it is on it: the programs and scripts that meson
starts them with, the libraries of those, the interpreter and its library. /init is init.py of this
folder, which reads /tests.json: [{"name", "command", "env", "setting"}, ...].
"""
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
# that the tests and init.py call by name
COMMANDS = 'sh true cat chmod kill ln mkdir mount sleep stat unshare'.split()
# of the interpreter's library
NOT_NEEDED = {'test', 'tests', 'idlelib', 'lib2to3', 'ensurepip', 'turtledemo', 'pydoc_data',
              'distutils', 'dist-packages', 'site-packages', 'tkinter', 'venv', 'sqlite3'}


class Image:
    """Files, by their paths in it; written as cpio's format "newc"."""

    def __init__(self):
        self.files = {}  # absolute path: what to read, a Path, or bytes
        self.modes = {}

    def add(self, path, content=None, mode=None):
        path = os.path.normpath(str(path))
        source = Path(path) if content is None else content
        self.files[path] = source
        if mode is None:
            mode = source.stat().st_mode & 0o777 if isinstance(source, Path) else 0o644
        self.modes[path] = mode

    def add_program(self, path):
        """With the libraries that it is linked to, if it is linked."""
        self.add(path, Path(path).resolve())
        if Path(path).open('rb').read(4) == b'\x7fELF':
            done = subprocess.run(['ldd', str(path)], capture_output=True, text=True, check=False)
            for library in re.findall(r'(/\S+) \(0x', done.stdout):
                self.add(library, Path(library).resolve())

    def write(self, out):
        folders = {str(parent) for path in self.files for parent in Path(path).parents} - {'/'}
        with open(out, 'wb') as file:
            for path in sorted(folders):
                self.entry(file, path, 0o40755, b'')
            for path, source in sorted(self.files.items()):
                data = source.read_bytes() if isinstance(source, Path) else source
                self.entry(file, path, 0o100000 | self.modes[path], data)
            self.entry(file, '/TRAILER!!!', 0, b'')

    @staticmethod
    def entry(file, path, mode, data):
        name = path[1:].encode() + b'\0'
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        head = b'070701' + b''.join(b'%08X' % field for field in fields) + name
        file.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


def add_python(image):
    image.add_program('/usr/bin/python3')
    library = Path(sysconfig.get_path('stdlib'))
    for folder, folders, files in os.walk(library):
        folders[:] = [f for f in folders if f not in NOT_NEEDED and not f.startswith('config-')]
        for name in files:
            path = Path(folder) / name
            if path.suffix == '.so':
                image.add_program(path)
            else:
                image.add(path, path.resolve())


def add_tests(image, kernel, build, names):
    known = {test['name']: test for test in json.loads(subprocess.run(
        ['meson', 'introspect', '--tests', str(build)], capture_output=True, check=True).stdout)}
    described = []
    for name in names:
        words, _, wanted = name.partition('@')
        name, _, functions = words.partition(':')
        if name not in known:
            raise SystemExit(f'{build} has no test "{name}"')
        test = known[name]
        # paths of meson's have /../ in them
        command = [os.path.normpath(word) if '/' in word else word for word in test['cmd']]
        described.append({'name': f'{name}, {wanted}' if wanted else name,
                          'command': command + functions.replace(',', ' ').split(),
                          'env': {**test['env'], 'GPT2W_KERNEL': kernel},
                          'setting': wanted.split('=') if wanted else None})
        for word in [*command, *test['env'].values()]:
            if word.startswith('/') and os.path.isfile(word) and word != '/usr/bin/python3':
                image.add_program(word)
    for folder in ('integration', 'faults'):  # what the scripts import
        for path in (HERE.parent / folder).glob('*.py'):
            image.add(path)
    image.add('/tests.json', json.dumps(described).encode())


def main():
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    kernel, build, out, *names = sys.argv[1:]
    image = Image()
    add_python(image)
    add_tests(image, kernel, build, names)
    for name in COMMANDS:
        image.add_program(shutil.which(name))
        # where scripts look for them, though it be another folder here
        image.add(f'/bin/{name}', Path(shutil.which(name)).resolve())
    image.add('/init', HERE / 'init.py', 0o755)
    image.add('/etc/passwd', b'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n')
    image.add('/etc/group', b'root:x:0:\nnogroup:x:65534:\n')
    image.write(out)


if __name__ == '__main__':
    main()
