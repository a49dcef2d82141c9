#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2d under systemd hangs, is restarted, killed, stopped, upgraded and removed, with clients that gather
all the while; see machine.py. GPT2W_LONG=1: 1,000 reloads and 200 kills.
"""
import contextlib
import os
import random
import signal
import stat
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import machine  # noqa: E402
from machine import (LISTENER, NEXT, SERVICE, SOCKET, STORE, THIS, Crowd, check_same_holdings,  # noqa: E402
                     check_same_image, container, drop_in, fresh, holdings, images, main_pid, model, put,
                     serving, show, status, systemctl, t)

LONG = os.environ.get('GPT2W_LONG') == '1'


# --- its life -------------------------------------------------------------------------------------

def test_29_watchdog():
    """A loop that is stuck is killed, and comes back."""
    with fresh(), drop_in('WatchdogSec=2s'), Crowd(10) as crowd:
        t.wait_until(lambda: show('ActiveState') == 'active', 'READY')
        pid, before = main_pid(), crowd.state()
        os.kill(pid, signal.SIGSTOP)
        serving(other_than=pid)
        t.wait_until(lambda: show('ActiveState') == 'active', 'READY again')
        t.check_equal(show('NRestarts'), '1')
        t.check('watchdog' in t.run('journalctl', '-q', '--no-pager', '-u', SERVICE, '-g',
                                    'watchdog').stdout, 'the journal says why')
        check_same_image(before, crowd.reattached())


def test_26_restart_under_200_clients():
    """No gather fails or is wrong, and all are connected again, by the path that all users take."""
    with fresh(), Crowd(200) as crowd:
        before = crowd.state()
        pid = main_pid()
        systemctl('restart', SERVICE)
        after = crowd.reattached()
        t.check_equal((main_pid() != pid, show('NRestarts'), show('Result')), (True, '0', 'success'))
        t.say(f'  {after["rounds"][0]} rounds, {after["wrong"][0]} of them wrong; '
              f'{after["refreshes"][0]} refreshes, {after["refused"][0]} refused and tried again')
        check_same_image(before, after)
        t.check_equal((model()['attached'], model()['taken_back']), (200, True))
        t.wait_until(lambda: len(images()) == 1, 'one image')
        t.check_equal(show('NFileDescriptorStore'), '2', 'a board and an image')


def kill_main(seen):
    """SIGKILL to the service's main process, once that is another than what was killed last."""
    pid = t.wait_until(lambda: (p := main_pid()) and p not in seen and p, 'a main process')
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    seen.add(pid)
    return pid


def test_25_ten_kills_at_once():
    """Ten in ten seconds or less: it always comes back, whatever the manager's start limit."""
    with fresh(), Crowd(20) as crowd:
        before, seen = crowd.state(), set()
        start = time.monotonic()
        for _ in range(10):
            kill_main(seen)
        seconds = time.monotonic() - start
        serving(other_than=None)
        after = crowd.reattached()
        t.wait_until(lambda: int(show('NRestarts')) >= 10, 'ten restarts')
        t.say(f'  in {seconds:.1f} s')
        check_same_image(before, after)
        t.wait_until(lambda: len(images()) == 1, 'one image')


def test_25_kills_under_load():
    """At random moments, with a pack that takes a while to load: no gather fails or is wrong."""
    kills = 200 if LONG else 50
    random.seed(25)
    with t.folder(parent='/var/tmp') as where, \
            fresh(t.uniform_pack(where, 3, vocab=20000, embd=768)), \
            Crowd(30) as crowd, Crowd(10, user='bob') as others:
        inode, before, seen = SOCKET.stat().st_ino, crowd.state(), set()
        kill_main(seen)  # from then on none has loaded what it serves
        crowd.reattached(), others.reattached()
        had = holdings()
        for turn in range(kills):
            last = kill_main(seen)
            if turn % 2:
                serving(other_than=last)  # else killed while it starts, often
            time.sleep(random.random() * 0.3)
        serving()
        after, second = crowd.reattached(), others.reattached()
        t.check(int(show('NRestarts')) >= kills, show('NRestarts'))
        t.check_equal(SOCKET.stat().st_ino, inode, 'the socket is the one of before')
        t.say(f'  {after["rounds"][0] + second["rounds"][0]} rounds, none wrong; '
              f'{after["refreshes"][0] + second["refreshes"][0]} refreshes; '
              f'orphaned seen {after["orphaned"][0] + second["orphaned"][0]} times')
        t.check(after['orphaned'][0] > 0, 'clients see that the daemon is gone')
        check_same_image(before, after)
        check_same_holdings(had)


def test_27_reloads_under_gathering_clients():
    """Every gather is of one generation, and nothing is left of those before."""
    reloads, clients = (1000, 50) if LONG else (40, 20)
    with fresh() as packs, Crowd(clients) as crowd:
        packs = [pack.read_bytes() for pack in packs]
        for turn in range(2):  # both loaded once
            put(packs[1 - turn])
            systemctl('reload', SERVICE)
        crowd.reattached(2)
        had = holdings()
        for turn in range(reloads):
            put(packs[1 - turn % 2])
            systemctl('reload', SERVICE)
        last = model()['generation']
        after = t.wait_until(lambda: (s := crowd.all_current()) and s['generation'][1] == last and s,
                             'all clients to have the last generation')
        t.check_equal(after['number'][1:], [1, 1], 'what clients gather')
        published = status()['published_total']
        t.check_equal(published, reloads + 3, 'generations')
        t.say(f'  {reloads} reloads, {clients} clients, {after["rounds"][0]} rounds, none wrong; '
              f'{after["refreshes"][0]} refreshes')
        check_same_holdings(had)


def test_stop_leaves_the_socket():
    """`systemctl stop` ends the daemon alone; clients gather on, and their refresh starts it again."""
    with fresh(), Crowd(5) as crowd:
        inode = SOCKET.stat().st_ino
        systemctl('stop', SERVICE, LISTENER)
        t.check_equal((show('Result'), show('ActiveState')), ('success', 'inactive'))
        t.check(stat.S_ISSOCK(SOCKET.stat().st_mode), 'the socket stays')
        t.check_equal(t.served_by(SOCKET), None, 'nobody answers')
        before = crowd.state()['rounds'][1]
        t.wait_until(lambda: crowd.state()['rounds'][1] > before + 10, 'gathers without a daemon')
        systemctl('start', LISTENER)
        crowd.reattached()
        systemctl('stop', SERVICE)
        t.check(SOCKET.exists() and inode, 'and again')
        t.wait_until(lambda: show('ActiveState') == 'active', 'a client to start it')
        crowd.reattached(times=2)


def test_container_that_mounts_the_directory():
    """It reconnects after restart, kill and stop."""
    with fresh(), container(5) as crowd:
        systemctl('restart', SERVICE)
        crowd.reattached(1)
        kill_main(set())
        crowd.reattached(2)
        systemctl('stop', SERVICE)
        crowd.reattached(3)
        t.check_equal(show('ActiveState'), 'active')


def install(tree):
    """Over what is there, as a package would."""
    t.run('sh', '-c', f'tar -C {tree} -c . | tar -C / -x --keep-directory-symlink --no-overwrite-dir')
    t.run('systemd-sysusers')
    t.run('systemd-tmpfiles', '--create')
    t.run('ldconfig')
    systemctl('daemon-reload')


def test_26_upgrade():
    """Another version takes over, and back: it trusts nothing that is in a form it does not know, loads what
    it serves, and nobody notices but by the news. The same version over itself reloads nothing."""
    with fresh(), Crowd(20) as crowd, container(5) as others:
        first, inode = status()['release'], SOCKET.stat().st_ino
        for turn, (tree, same) in enumerate([(THIS, True), (NEXT, False), (NEXT, True), (THIS, False)]):
            before = crowd.state()
            install(tree)
            t.check_equal(crowd.state()['refreshes'], before['refreshes'], 'nobody was disturbed')
            systemctl('restart', SERVICE)
            after, _ = crowd.reattached(turn + 1), others.reattached(turn + 1)
            t.check_equal((status()['release'] == first, model()['taken_back'], SOCKET.stat().st_ino),
                          (tree is THIS, same, inode))
            if same:
                check_same_image(before, after)
            else:
                t.check(after['generation'][1] > before['generation'][2], 'a generation of its own')
            t.wait_until(lambda: len(images()) == 1, 'one image')
            t.check_equal(show('NFileDescriptorStore'), '2', 'a board and an image')
        t.check('another version stored it' in t.run('journalctl', '-q', '--no-pager', '-u', SERVICE).stdout,
                'the log says why')


def test_26_uninstall():
    """Clients keep what they have, and the operator his packs; what is installed again finds both."""
    files = [Path('/') / p.relative_to(THIS) for p in THIS.rglob('*') if not p.is_dir()]
    with fresh(), Crowd(20) as crowd, container(5) as others:
        systemctl('stop', LISTENER, SERVICE)
        for file in files:
            file.unlink()
        systemctl('daemon-reload')
        t.check_equal(show('LoadState'), 'not-found')
        before = crowd.state()['rounds'][1]
        t.wait_until(lambda: crowd.state()['rounds'][1] > before + 10, 'gathers without a daemon')
        t.check(list(STORE.glob('*.gpt2w')), 'the packs stay')
        install(THIS)
        systemctl('start', LISTENER)
        crowd.reattached(), others.reattached()


if __name__ == '__main__':
    machine.main()
