#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""No client, of the daemon's user or another, can change the contents or the size of what others see.

Faults 21, 22 and 24; that an image's mode may have been changed is of 26.
"""
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402


def tampered(uid, daemon_uid=None):
    with t.folder() as where:
        if daemon_uid is not None:
            os.chown(where, daemon_uid, -1)
        pack = t.make_pack(where / 'm.gpt2w')
        reference = where / 'm.safetensors'
        tables = t.tables_of(pack, reference)
        embed = (t.program('GPT2_EMBED'), '--socket', where / 'd.sock')
        with t.start_daemon(where, '--model', f'm={pack}', '--socket-mode', '0666',
                            uid=daemon_uid) as daemon:
            before = t.run(*embed, '0', '7', '999').stdout

            def victim():
                return t.Helper(t.program('GATHER_LOOP'), daemon.path, 'm', reference,
                                tables['wte.weight'][2], tables['wpe.weight'][2])
            with victim() as old, daemon.peer() as peer:
                old.line()
                attached = peer.ask_attach()
                content = os.pread(attached.fds[0], attached.image_bytes, 0)
                board = os.pread(attached.fds[1], 4096, 0)
                with t.Helper(t.program('TAMPER'), daemon.path, 'm', uid) as tamper:
                    lines = [tamper.line()]
                    while lines[-1].split()[0] not in ('tried', 'wrong'):
                        lines.append(tamper.line())
                    t.say('  ' + '\n  '.join(lines))
                    t.check(lines[-1].startswith('tried'), 'something was possible')
                    # what others have is as it was, and others get it, whatever the attacker holds
                    t.check_equal(os.pread(attached.fds[0], attached.image_bytes, 0), content)
                    t.check_equal(os.pread(attached.fds[1], 4096, 0), board)
                    t.check_equal(os.lseek(attached.fds[0], 0, os.SEEK_CUR), 0)
                    t.check(os.get_blocking(attached.fds[0]), 'O_NONBLOCK')
                    t.check_equal(old.ask('state').split()[0], 'CURRENT')
                    again = peer.ask_attach()
                    t.check_equal(again.kind, t.ATTACHED, 'a later client')
                    t.check_equal(os.fstat(again.fds[0]).st_size, len(content))
                    t.check_equal(os.pread(again.fds[0], again.image_bytes, 0), content)
                    again.close()
                    t.check_equal(t.run(*embed, '0', '7', '999').stdout, before)
                    with victim() as new:
                        new.line()
                        new.end()
                old.end()
                attached.close()


def need_root():
    if not t.is_root():
        raise t.Skip('needs root, to be several users')


def test_own_user():
    tampered(-1)


def test_own_user_not_root():
    need_root()
    tampered(t.DAEMON_UID, t.DAEMON_UID)


def test_another_user():
    need_root()
    tampered(t.OTHER_UID, t.DAEMON_UID)


def test_another_user_and_root():
    need_root()
    tampered(t.OTHER_UID)


if __name__ == '__main__':
    t.main()
