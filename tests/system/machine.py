# SPDX-License-Identifier: MIT
"""What the tests share that run as root inside the machine that tests/system/run-machine boots, and nowhere
else: they stop services and make users.

Each test starts with the socket open, the service stopped and one pack, model m. The numbers in tests' names
are those of the list of faults.
"""
import contextlib
import json
import os
import pwd
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402

PROGRAMS = Path('/usr/bin')
STORE, SOCKET = Path('/var/lib/gpt2d'), Path('/run/gpt2d/gpt2d.sock')
DROP_INS = Path('/run/systemd/system/gpt2d.service.d')
# Two installations with meson install, not where they belong: this version, and one that came after it.
THIS, NEXT = Path('/gpt2w/this'), Path('/gpt2w/next')
SERVICE, LISTENER = 'gpt2d.service', 'gpt2d.socket'
# Who may connect, who may steer as well, and who may nothing.
USERS = {'alice': ['gpt2'], 'bob': ['gpt2'], 'ada': ['gpt2', 'gpt2-admin'], 'mallory': []}


def systemctl(*arguments, code=0):
    return t.run('systemctl', *arguments, code=code).stdout.strip()


def show(what, unit=SERVICE):
    return systemctl('show', '--value', '-p', what, unit)


def main_pid():
    return int(show('MainPID'))


def ctl(*arguments, code=0):
    return t.run(PROGRAMS / 'gpt2ctl', '--socket', SOCKET, *arguments, code=code)


def status():
    return json.loads(ctl('status', '--json').stdout)


def model(name='m'):
    listed = json.loads(ctl('list', '--json').stdout)['models']
    return next((entry for entry in listed if entry['name'] == name), None)


def serving(other_than=None):
    """The pid of the daemon that answers at the socket, once that is not other_than."""
    return t.wait_until(lambda: (pid := t.served_by(SOCKET)) and pid != other_than and pid,
                        'a daemon that answers')


def put(pack, name='m'):
    """By rename, as packs are to be replaced."""
    target = STORE / f'.{name}.tmp'
    target.write_bytes(pack if isinstance(pack, bytes) else pack.read_bytes())
    os.rename(target, STORE / f'{name}.gpt2w')


def as_user(name):
    """For subprocess: to be that user, with his groups."""
    entry = pwd.getpwnam(name)
    return {'user': entry.pw_uid, 'group': entry.pw_gid,
            'extra_groups': os.getgrouplist(name, entry.pw_gid)}


def embed(user, code=0):
    return t.run(PROGRAMS / 'gpt2-embed', '--socket', SOCKET, '--model', 'm', '1', '2', code=code,
                 **as_user(user))


@contextlib.contextmanager
def drop_in(*lines):
    """Lines for the [Service] section, for as long as this lasts."""
    DROP_INS.mkdir(parents=True, exist_ok=True)
    file = DROP_INS / 'test.conf'
    file.write_text('\n'.join(['[Service]', *lines, '']))
    systemctl('daemon-reload')
    try:
        yield
    finally:
        file.unlink()
        systemctl('daemon-reload')


@contextlib.contextmanager
def fresh(pack=None):
    """The state that each test starts with; the packs, by number."""
    systemctl('stop', SERVICE)
    for old in STORE.glob('*.gpt2w'):
        old.unlink()
    systemctl('reset-failed', SERVICE)
    systemctl('start', LISTENER)
    with t.folder(parent='/var/tmp') as where:
        packs = [t.uniform_pack(where, number) for number in (1, 2)]
        put(pack or packs[0])
        try:
            yield packs
        except BaseException:
            t.say('--- journal\n' + t.run('journalctl', '-q', '--no-pager', '-n', 60, '-u', SERVICE,
                                         '-u', LISTENER).stdout + '---')
            raise


class Crowd:
    """Clients that gather all the time, see crowd.c."""

    def __init__(self, count, user='alice', path=SOCKET, before=()):
        self.count = count
        options = as_user(user) if user else {}
        self.helper = t.Helper(*before, t.program('CROWD'), path, 'm', count, **options)

    def __enter__(self):
        t.wait_until(lambda: self.all_current(), 'all clients to gather')
        return self

    def __exit__(self, *what):
        self.helper.__exit__(*what)

    def state(self):
        state = json.loads(self.helper.ask('state'))
        t.check_equal(state['ended'], 0, 'clients that ended')
        t.check_equal(state['wrong'][0], 0, 'wrong or failed gathers')
        return state

    def all_current(self):
        state = self.state()
        return state['current'][0] == self.count and state['rounds'][1] > 0 and state

    def reattached(self, times=1):
        """Once each client has done that so often, and gathers on; its state."""
        state = t.wait_until(lambda: (s := self.all_current()) and s['refreshes'][1] >= times and s,
                             f'all clients to attach anew {times} times')
        t.wait_until(lambda: self.state()['rounds'][1] > state['rounds'][1], 'gathers to go on')
        return self.state()


def check_same_image(before, after):
    """That all clients had one image and have it still, or again: nothing was reloaded."""
    for field in ('inode', 'generation'):
        t.check_equal(before[field][1], before[field][2], f'one {field} for all')
        t.check_equal(after[field][1:], before[field][1:], f'{field} before and after')


def container(count):
    """Clients that see /run/gpt2d alone, mounted once, before all that the test does."""
    inside = 'mkdir -p /mnt/gpt2d; mount --bind /run/gpt2d /mnt/gpt2d; mount -t tmpfs tmpfs /run; ' \
             'exec setpriv --reuid bob --init-groups --inh-caps=-all "$@"'
    return Crowd(count, None, '/mnt/gpt2d/gpt2d.sock', ['unshare', '--mount', 'sh', '-c', inside, 'sh'])


def images():
    """The inodes of all images that any process has mapped or open."""
    found = set()
    for process in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            for line in (process / 'maps').read_text().splitlines():
                if 'memfd:gpt2d-image' in line:
                    found.add(int(line.split()[4]))
        with contextlib.suppress(OSError):
            for fd in (process / 'fd').iterdir():
                with contextlib.suppress(OSError):
                    if 'memfd:gpt2d-image' in os.readlink(fd):
                        found.add(os.stat(fd).st_ino)
    return found


def holdings():
    """What may not grow however often gpt2d reloads or is restarted, but for the last: kilobytes."""
    pid = main_pid()
    maps = Path(f'/proc/{pid}/maps').read_text().splitlines()
    now = status()
    memory = re.search(r'RssAnon:\s+(\d+)', Path(f'/proc/{pid}/status').read_text())
    return {'descriptors': len(os.listdir(f'/proc/{pid}/fd')),
            'mappings': sum('gpt2d-image' in line for line in maps),
            'stored': int(show('NFileDescriptorStore')), 'images': len(images()),
            'image bytes': now['image_bytes'], 'retired': now['retired'],
            "manager's descriptors": len(os.listdir('/proc/1/fd')), 'memory': int(memory.group(1))}


def check_same_holdings(before, grown_kb=1024):
    """Waits until all is again what it was."""
    def now_same():
        now = holdings()
        return all(now[key] == before[key] for key in before if key != 'memory') and now
    try:
        after = t.wait_until(now_same, 'what it holds')
    except AssertionError as error:
        raise AssertionError(f'{error}\n{before}\n{holdings()}') from error
    t.say(f'  before {before}\n  after  {after}')
    t.check(after['memory'] <= before['memory'] + grown_kb, 'memory')


def main():
    """Runs the tests of the calling program, or those named on its command line, if this is their machine."""
    if not Path('/run/systemd/system').is_dir() or os.geteuid() != 0 or not THIS.is_dir():
        raise SystemExit('this is for the machine of tests/system/run-machine')
    for name in ('gpt2d', 'gpt2-pack', 'gpt2-embed', 'gpt2ctl'):
        os.environ[name.upper().replace('-', '_')] = str(PROGRAMS / name)
    for name, groups in USERS.items():
        if not any(entry.pw_name == name for entry in pwd.getpwall()):
            t.run('useradd', '--system', *(['-G', ','.join(groups)] if groups else []), name)
    systemctl('enable', '--now', LISTENER)
    t.main()
