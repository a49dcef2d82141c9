#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What gpt2d takes from the kernel, and what it makes of it: the same on Linux 6.1 as later.

Faults 21 and 24. GPT2W_KERNEL=6.1: it must be that kernel, on a machine where nothing is in the
way of what that one can (tests/kernel/run-machine); else what depends on the machine is only told.
"""
import ctypes
import fcntl
import mmap
import os
import re
import stat
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpt2w_test as t  # noqa: E402
from test_kill import reference  # noqa: E402
from test_restart import check_taken, inode, kept  # noqa: E402

KNOWN = os.environ.get('GPT2W_KERNEL')
HUGE = 2 << 20
TABLES = {'vocab': 20000, 'positions': 64, 'embd': 96}  # four huge pages and some small ones
# Python 3.11 has no names for these
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_EXEC = 1, 2, 4, 8, 32
F_GET_SEALS, MADV_COLLAPSE, MAP_FIXED, PR_SET_DUMPABLE = 1034, 25, 16, 4

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def version():
    return tuple(map(int, re.match(r'(\d+)\.(\d+)', os.uname().release).groups()))


def fails_with(errors, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        t.check(isinstance(error, errors), f'{call}{arguments}: {error!r}')
    else:
        t.check(False, f'{call}{arguments} succeeded')


def as_user(uid, function):
    """Runs it in a process of that user's; -1: of our own."""
    child = os.fork()
    if child == 0:
        try:
            if uid != -1:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # /proc/self/fd is this user's again
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    t.check_equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, f'as user {uid}')


def check_image(fd, size):
    seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
    if version() >= (6, 3):  # which knows of MFD_NOEXEC_SEAL
        seals |= F_SEAL_EXEC
    t.check_equal(fcntl.fcntl(fd, F_GET_SEALS), seals, 'seals')
    t.check_equal(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE, os.O_RDONLY, 'opened for')
    t.check_equal(stat.S_IMODE(os.fstat(fd).st_mode), 0o444, 'mode')
    fails_with(OSError, os.pwrite, fd, b'x', 0)
    fails_with(OSError, os.ftruncate, fd, 0)
    fails_with(PermissionError, mmap.mmap, fd, size)  # to be written to
    with mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) as shared:
        t.check_equal(shared[:size], os.pread(fd, size, 0), 'mapped and read')


def attached(path, uid):
    """Attaches as that user; what that one has, and what may be done to it."""
    with t.Peer(path) as peer:
        answer = peer.ask_attach('m')
        t.check_equal((answer.kind, len(answer.fds)), (t.ATTACHED, 2))
        image, board = answer.fds
        check_image(image, answer.image_bytes)
        board_seals = fcntl.fcntl(board, F_GET_SEALS)
        t.check_equal(board_seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
                      F_SEAL_SHRINK | F_SEAL_GROW, 'the board\'s seals')
        for fd in answer.fds:
            own = f'/proc/self/fd/{fd}'
            os.close(os.open(own, os.O_RDONLY))
            if uid == t.OTHER_UID:
                fails_with(PermissionError, os.open, own, os.O_RDWR)
                fails_with(PermissionError, os.chmod, own, 0o666)
        answer.close()


def test_21_seals():
    with t.folder() as where:
        t.make_pack(where / 'm.gpt2w')
        root = t.is_root()
        with t.start_daemon(where, '--store', where, '--socket-mode', '0666',
                            uid=t.DAEMON_UID if root else None) as daemon:
            for uid in (-1, t.DAEMON_UID, t.OTHER_UID) if root else (-1,):
                as_user(uid, lambda u=uid: attached(daemon.path, u))
            daemon.stop()


def test_24_mapping_of_a_writable_descriptor():
    """Kernels before 6.7 may refuse it, so clients get descriptors opened for reading. (Debian's
    6.1.192 makes it: it has the later kernels' change.)"""
    with t.folder() as where:
        t.make_pack(where / 'm.gpt2w')
        with t.start_daemon(where, '--store', where) as daemon, daemon.peer() as peer:
            answer = peer.ask_attach('m')
            os.chmod(f'/proc/self/fd/{answer.fds[0]}', 0o644)
            fd = os.open(f'/proc/self/fd/{answer.fds[0]}', os.O_RDWR)
            fails_with(PermissionError, os.write, fd, b'x')
            address = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
            mapped = address != ctypes.c_void_p(-1).value
            t.say(f'  such a mapping is {"made" if mapped else "refused"}')
            t.check(mapped or version() < (6, 7), 'no longer')
            os.close(fd)
            answer.close()
            t.check_equal(peer.ask_attach('m').kind, t.ATTACHED, 'the next')


def pmd_mapped(address):
    """Bytes of our mapping there that one entry each of the page table maps 2 MiB of."""
    here = False
    for line in Path('/proc/self/smaps').read_text().splitlines():
        if re.match('[0-9a-f]+-', line):
            here = int(line.split('-')[0], 16) == address
        elif here and line.startswith('ShmemPmdMapped:'):
            return int(line.split()[1]) * 1024
    return 0


def collapse(fd, size):
    """As gd_image_collapse does, through a read-only mapping. Bytes on huge pages, and errors."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    room = libc.mmap(None, size + HUGE, mmap.PROT_READ, flags, -1, 0)
    at = (room + HUGE - 1) & -HUGE
    t.check_equal(libc.mmap(at, size, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, fd, 0), at)
    before = ctypes.string_at(at, size)
    errors = set()
    for offset in range(0, size // HUGE * HUGE, HUGE):
        if libc.madvise(at + offset, HUGE, MADV_COLLAPSE) < 0:
            errors.add(os.strerror(ctypes.get_errno()))
    t.check(ctypes.string_at(at, size) == before, 'the bytes are as they were')
    huge = pmd_mapped(at)
    libc.munmap(room, size + HUGE)
    return huge, errors


def test_huge_pages():
    """Made by the daemon, and of a sealed image's small pages later on; none where denied."""
    setting = Path('/sys/kernel/mm/transparent_hugepage/shmem_enabled')
    denied = setting.exists() and '[deny]' in setting.read_text()
    with t.folder() as where:
        t.make_pack(where / 'm.gpt2w', **TABLES)
        with t.start_daemon(where, '--store', where) as daemon:
            size = daemon.model('m')['image_bytes']
            whole = 0 if denied else size // HUGE * HUGE
            if KNOWN:
                t.wait_until(lambda: daemon.model('m')['huge_bytes'] == whole, 'huge pages')
            t.wait_until(lambda: not daemon.model('m')['busy'], 'it has tried')
            made = daemon.status()['generations'][0]
            t.say(f'  the daemon made {made["huge_bytes"]} of {size} bytes huge')
            t.check(made['huge_bytes'] in range(0, whole + 1, HUGE), made)
            # the last page may be huge too, where the machine always makes such ones
            t.check(made['resident_bytes'] in (size, (size + HUGE - 1) & -HUGE), made)
            kernel = re.search(r'ShmemHugePages: +(\d+) kB', Path('/proc/meminfo').read_text())
            if KNOWN:
                t.check(int(kernel.group(1)) * 1024 >= whole, kernel.group(0))
            daemon.stop()
        with t.start_daemon(where, '--store', where, '--pages', 'small') as daemon, \
                daemon.peer() as peer:
            t.check_equal(daemon.model('m')['huge_bytes'], 0)
            answer = peer.ask_attach('m')
            huge, errors = collapse(answer.fds[0], answer.image_bytes)
            t.say(f'  a sealed image of small pages: {huge} of {size} bytes made huge', *errors)
            if KNOWN:
                t.check_equal((huge, bool(errors)), (whole, denied), errors)
            answer.close()
            daemon.stop()


def reserved_free():
    return int(re.search(r'HugePages_Free: +(\d+)', Path('/proc/meminfo').read_text()).group(1))


def test_reserved_huge_pages():
    """hugetlb's: sealed, mapped by clients, kept over a restart, and given back in the end."""
    with kept() as (where, store, pack, keeper, clients):
        right, free = reference(pack), reserved_free()
        size = (pack.stat().st_size + HUGE - 1) // HUGE * HUGE
        if free * HUGE < size:
            raise t.Skip('no 2 MiB pages are reserved (vm.nr_hugepages)')
        with keeper.daemon(store) as daemon:
            t.check_equal(daemon.model('m')['huge_bytes'], size, 'on huge pages')
            with daemon.peer() as peer:
                answer = peer.ask_attach('m')
                t.check_equal(os.fstat(answer.fds[0]).st_size, size, 'size')
                check_image(answer.fds[0], size)
                answer.close()
            t.check(KNOWN is None or reserved_free() == free - size // HUGE, 'taken of them')
            clients.add(daemon, right, n=2)
            before = inode(daemon)
            daemon.kill()
        clients.check('ORPHANED')
        with keeper.daemon(store) as daemon:
            check_taken(daemon, before)
            t.check_equal(daemon.model('m')['huge_bytes'], size, 'on huge pages still')
            clients.check('CURRENT')
            daemon.stop()
        clients.end()
    if KNOWN:
        t.wait_until(lambda: reserved_free() == free, 'all are free again')


def test_kernel():
    with t.folder() as where, t.start_daemon(where, '--store', where) as daemon:
        status = daemon.status()
        t.say(f'  Linux {os.uname().release}, event loop {status["backend"]}', status['note'] or '')
    if KNOWN:
        t.check_equal(version(), tuple(map(int, KNOWN.split('.'))), 'the kernel')
        t.check_equal((status['backend'], status['note']), ('io_uring', None))


if __name__ == '__main__':
    t.main()
