#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2d as its units run it: installed, activated, configured, limited, reloaded; see machine.py."""
import contextlib
import json
import pwd
import re
import stat
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import machine  # noqa: E402
from machine import (LISTENER, PROGRAMS, SERVICE, SOCKET, STORE, Crowd, as_user, ctl, drop_in,  # noqa: E402
                     embed, fresh, main_pid, model, put, show, status, systemctl, t)


# --- installed ------------------------------------------------------------------------------------

def test_installed():
    """What sysusers.d and tmpfiles.d say came to be when the machine was booted."""
    t.check('gpt2' in t.run('id', '-nG', 'gpt2d').stdout.split(), 'gpt2d is in group gpt2')
    for path, mode, group in (('/run/gpt2d', 0o755, 'root'), (STORE, 0o2775, 'gpt2-admin')):
        path = Path(path)
        t.check_equal((stat.S_IMODE(path.stat().st_mode), path.owner(), path.group()),
                      (mode, 'root', group), path)
    done = t.run('systemd-analyze', 'verify', '--man=no', SERVICE, LISTENER)
    t.check_equal([line for line in done.stderr.splitlines() if 'gpt2d' in line], [], 'verify')
    t.check_equal((show('ActiveState'), show('ActiveState', LISTENER)), ('inactive', 'active'))
    t.check_equal((stat.S_IMODE(SOCKET.stat().st_mode), SOCKET.owner(), SOCKET.group()),
                  (0o660, 'root', 'gpt2'), SOCKET)


def test_security():
    """systemd-analyze's opinion of the unit as it is loaded, drop-ins and all."""
    done = t.run('systemd-analyze', 'security', '--no-pager', SERVICE)
    level = float(re.search(r'exposure level for gpt2d\.service: ([\d.]+)', done.stdout).group(1))
    t.say(f'  exposure {level}, at most 1.5')
    t.check(level <= 1.5, done.stdout)


# --- start and users ------------------------------------------------------------------------------

def test_activation():
    """A client connects, the service starts and says that it is ready, and how it is."""
    with fresh():
        t.check_equal(show('ActiveState'), 'inactive')
        said = embed('alice').stdout
        t.check(said.startswith('2 2 2'), said[:40])  # 1 + 1
        t.wait_until(lambda: show('ActiveState') == 'active', 'READY')
        t.check_equal((show('SubState'), show('Type'), show('NRestarts'), show('User')),
                      ('running', 'notify', '0', 'gpt2d'))
        t.check_equal(Path(f'/proc/{main_pid()}').owner(), 'gpt2d')
        text = show('StatusText')
        t.say(f'  {text}')
        t.check(text.startswith('Serving 1 model'), text)
        t.check_equal(status()['pid'], main_pid())


def test_users():
    """Other users of the group attach; who is not in it does not; who is in the admin group steers."""
    with fresh():
        for user in ('alice', 'bob', 'ada'):
            embed(user)
        said = embed('mallory', code=1).stderr
        t.say(f'  {said.strip()}')
        t.check('gpt2' in said and 'group' in said, said)
        for user, code in (('alice', 1), ('ada', 0)):
            t.run(PROGRAMS / 'gpt2ctl', '--socket', SOCKET, 'reload', code=code, **as_user(user))


def test_28_io_uring_and_without():
    """A ring inside the unit's sandbox; where its filter forbids that, epoll, and it is said."""
    with fresh():
        outside = t.run('systemd-run', '-q', '--pipe', '--wait', 'sh', '-c',
                        'timeout 2 gpt2d --socket /run/own.sock --store /tmp --event-loop io_uring; '
                        '[ $? -ne 4 ] && echo ring').stdout.split()
        if outside:
            t.check_equal((status()['backend'], status()['note']), ('io_uring', None))
        else:
            t.say('  SKIPPED in part: this machine refuses io_uring outside the sandbox too')
        with drop_in('SystemCallFilter=~io_uring_setup'):
            systemctl('restart', SERVICE)
            now = status()
            t.say(f'  {now["note"]}')
            t.check_equal(now['backend'], 'epoll')
            t.check('not permitted' in now['note'], now['note'])
            embed('alice')


def now_in_journal():
    return t.run('journalctl', '-n', 0, '--show-cursor').stdout.split('cursor: ')[1].strip()


# --- configuration and limits ---------------------------------------------------------------------

@contextlib.contextmanager
def configured(*lines):
    """/etc/gpt2d/gpt2d.conf with these lines added; that is read at a start only."""
    file = Path('/etc/gpt2d/gpt2d.conf')
    before = file.read_text()
    file.write_text(before + '\n'.join([*lines, '']))
    try:
        yield len(before.splitlines())
    finally:
        file.write_text(before)


def test_configuration_file():
    """What it says holds; a mistake is named with its line, and where that is put right, all goes on."""
    with fresh(), Crowd(5) as crowd:
        with configured('memory-max = 7M'):
            t.check('memory-max' in t.run('gpt2d', '--check-config').stdout, '--check-config')
            systemctl('restart', SERVICE)
            t.check_equal(status()['memory_max'], 7 << 20)
            crowd.reattached()
        with configured('memory-min = 7M') as lines:
            said = t.run('gpt2d', '--check-config', code=2).stderr
            t.check(f'gpt2d.conf:{lines + 1}: ' in said and 'memory-min' in said, said)
            cursor = now_in_journal()
            systemctl('restart', SERVICE, code=1)
            before = crowd.state()['refused'][1]
            t.wait_until(lambda: crowd.state()['refused'][1] > before, 'clients to have waited in vain')
            t.check_equal((show('NRestarts'), show('Result', LISTENER)), ('0', 'success'))
            ends = t.run('journalctl', '-q', f'--after-cursor={cursor}', '-u', SERVICE, '-g',
                         'status=2/').stdout.splitlines()
            t.say(f'  with a mistake in it started {len(ends)} times for clients that wait')
            t.check(ends, 'ended with 2')
        crowd.reattached(2)  # a client that waits starts it


def test_29_memory_of_the_unit():
    """MemoryMax smaller than the tables: they are refused, with both sizes, and what was there is served."""
    if not Path('/sys/fs/cgroup/cgroup.controllers').exists():
        raise t.Skip("this machine's memory controller is one of cgroup version 1, which no container gets")
    with fresh(), drop_in('MemoryMax=48M', 'MemorySwapMax=0'), t.folder(parent='/var/tmp') as where, \
            Crowd(5) as crowd:
        big = t.uniform_pack(where, 3, vocab=20000, embd=768)
        before = crowd.state()
        t.check_equal(status()['memory_max'], 48 << 20)
        put(big)
        systemctl('reload', SERVICE, code=1)
        text = model()['message']
        t.say(f'  {text}')
        t.check('63537152' in text and '50331648' in text, text)
        t.check_equal(crowd.state()['generation'], before['generation'])
        t.check_equal((show('NRestarts'), show('Result')), ('0', 'success'))
        embed('bob')


# --- reload ---------------------------------------------------------------------------------------

def test_27_reload():
    """`systemctl reload` tells whether it went well; a bad pack leaves the one before in service."""
    with fresh() as packs, Crowd(10) as crowd:
        before = model()['generation']
        put(packs[1])
        systemctl('reload', SERVICE)
        t.check(model()['generation'] > before, 'the next generation')
        t.check_equal(crowd.reattached()['number'][1:], [2, 2], 'what clients gather')
        good = model()['generation']
        put(b'no pack at all')
        systemctl('reload', SERVICE, code=1)
        t.check_equal(model()['generation'], good)
        t.check_equal((show('ActiveState'), show('SubState')), ('active', 'running'))
        text = t.wait_until(lambda: 'failed' in (s := show('StatusText')) and s, 'the status text')
        t.say(f'  {text}')
        t.check('m: ' in text, text)
        t.check(embed('bob').stdout.startswith('4 4 4'), 'served on')
        t.check_equal(crowd.state()['number'][1:], [2, 2], 'what clients gather')


# --- logs -----------------------------------------------------------------------------------------

def journal(since):
    lines = t.run('journalctl', '-q', '-o', 'json', '--no-pager', f'--after-cursor={since}', '-u',
                  SERVICE).stdout.splitlines()
    return [entry for entry in map(json.loads, lines) if entry.get('_COMM') == 'gpt2d']


def test_journal():
    """What it says is the unit's, with fields to look for, and what is hostile in it quoted."""
    cursor = now_in_journal()
    with fresh() as packs:
        put(b'no pack', 'bad\x1b[2J')
        put(b'no pack', 'bad')
        embed('alice')
        put(packs[1])
        systemctl('reload', SERVICE, code=1)
        ctl('--timeout', 5, 'reload', code=1)
        t.run(PROGRAMS / 'gpt2ctl', '--socket', SOCKET, 'reload', code=1, **as_user('alice'))
        t.run('journalctl', '--sync')
        entries = journal(cursor)
        generation = str(model()['generation'])
    for entry in entries:
        t.check_equal((entry['_SYSTEMD_UNIT'], entry['_UID'], entry['SYSLOG_IDENTIFIER'],
                       entry['_TRANSPORT']),
                      (SERVICE, str(pwd.getpwnam('gpt2d').pw_uid), 'gpt2d', 'journal'))
        t.check(isinstance(entry['MESSAGE'], str) and entry['PRIORITY'] in '34567', entry)
    t.check(any('\\x1b[2J' in entry['MESSAGE'] for entry in entries), 'the bad pack, quoted')

    def such(**fields):
        return [e for e in entries if all(e.get(key) == value for key, value in fields.items())]
    t.check(such(MESSAGE_ID='5e17f32831584764a2e5e5053d082966'), 'it listens')
    t.check(such(MESSAGE_ID='b5d9e78c0b684f9abe0ff68856d89acf', GPT2D_MODEL='m', PRIORITY='6',
                 GPT2D_GENERATION=generation, GPT2D_FILE=str(STORE / 'm.gpt2w')), 'a generation')
    t.check(such(MESSAGE_ID='a4713ab571384abb981a612cb53f0d57', GPT2D_MODEL='bad', PRIORITY='3'), 'a refusal')
    t.check(such(MESSAGE_ID='bc5ed6168df440718797569cdd30cfbf',
                 GPT2D_UID=str(pwd.getpwnam('alice').pw_uid)), 'what alice may not do')


if __name__ == '__main__':
    machine.main()
