# SPDX-License-Identifier: MIT
"""What pip calls to install this folder (PEP 517): zips the module, its stubs, and what describes them.

pip install ./client/python needs no network and no setuptools then. The library itself is installed by
meson, with the module; pip is for virtual environments.
"""
import base64
import hashlib
import re
import tarfile
import zipfile
from pathlib import Path

FILES = ['gpt2client.py', 'gpt2client-stubs/__init__.pyi', 'gpt2client-stubs/py.typed']
SOURCES = ['build_wheel.py', 'pyproject.toml']
HERE = Path(__file__).resolve().parent


def version():
    return re.search(r"^__version__ = '([^']+)'$", (HERE / FILES[0]).read_text(), re.M)[1]


def metadata():
    return ('Metadata-Version: 2.1\nName: gpt2client\n'
            f'Version: {version()}\nSummary: GPT-2 token and position tables, shared and verified\n'
            'License: MIT\nRequires-Python: >=3.8\n')


def wheel_files():
    """{path in the wheel: contents}"""
    info = f'gpt2client-{version()}.dist-info'
    files = {name: (HERE / name).read_bytes() for name in FILES}
    files[f'{info}/METADATA'] = metadata().encode()
    files[f'{info}/WHEEL'] = (b'Wheel-Version: 1.0\nGenerator: gpt2w\nRoot-Is-Purelib: true\n'
                              b'Tag: py3-none-any\n')
    record = ''
    for name, contents in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents).digest()).decode().rstrip('=')
        record += f'{name},sha256={digest},{len(contents)}\n'
    files[f'{info}/RECORD'] = (record + f'{info}/RECORD,,\n').encode()
    return files


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = f'gpt2client-{version()}-py3-none-any.whl'
    with zipfile.ZipFile(Path(wheel_directory) / name, 'w', zipfile.ZIP_DEFLATED) as wheel:
        for path, contents in wheel_files().items():
            wheel.writestr(zipfile.ZipInfo(path), contents, zipfile.ZIP_DEFLATED)
    return name


def build_sdist(sdist_directory, config_settings=None):
    top = f'gpt2client-{version()}'
    with tarfile.open(Path(sdist_directory) / f'{top}.tar.gz', 'w:gz') as archive:
        for path in FILES + SOURCES:
            archive.add(HERE / path, f'{top}/{path}')
        described = Path(sdist_directory) / 'PKG-INFO'
        described.write_text(metadata())
        archive.add(described, f'{top}/PKG-INFO')
        described.unlink()
    return f'{top}.tar.gz'
