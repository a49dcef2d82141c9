#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pip installs the module, without a network."""
import os
import subprocess
import sys
import tarfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import support  # noqa: E402
from support import gpt2client, t  # noqa: E402

FOLDER = support.SOURCE / 'client' / 'python'


class Installing(support.Case):
    def imported_from(self, *path):
        """Which file an interpreter with that path imports, and what its library says."""
        return subprocess.run(
            [sys.executable, '-c', 'import gpt2client as g; print(g.__file__, g.library_version())'],
            text=True, capture_output=True, check=True, cwd='/',
            env={**os.environ, 'PYTHONPATH': ':'.join(map(str, path))}).stdout

    def backend(self, hook):
        return subprocess.run(
            [sys.executable, '-c', f'import build_wheel; print(build_wheel.{hook}({str(self.where)!r}))'],
            text=True, capture_output=True, check=True, cwd=FOLDER).stdout.strip()

    def test_wheel(self):
        wheel = self.backend('build_wheel')
        self.assertEqual(wheel, f'gpt2client-{gpt2client.__version__}-py3-none-any.whl')
        first = (self.where / wheel).read_bytes()
        self.assertIn(wheel, self.imported_from(self.where / wheel))
        self.backend('build_wheel')
        self.assertEqual((self.where / wheel).read_bytes(), first)

    def test_sdist(self):
        name = self.backend('build_sdist')
        with tarfile.open(self.where / name) as archive:
            names = {Path(member.name).name for member in archive}
        self.assertEqual(names, {'gpt2client.py', '__init__.pyi', 'py.typed', 'build_wheel.py',
                                 'pyproject.toml', 'PKG-INFO'})

    def test_pip(self):
        if subprocess.run([sys.executable, '-m', 'pip', '--version'], capture_output=True,
                          check=False).returncode:
            raise unittest.SkipTest('pip is not installed')
        target = self.where / 'target'
        # no network, and nothing but what the folder brings
        subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-index', '--target',
                        target, FOLDER], check=True, timeout=4 * t.PATIENCE_S,
                       env={**os.environ, 'PIP_ROOT_USER_ACTION': 'ignore'})
        self.assertIn(str(target), self.imported_from(target))
        self.assertTrue((target / 'gpt2client-stubs' / 'py.typed').is_file())


if __name__ == '__main__':
    support.main()
