#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The daemon dies, packs change under it, generations come and go: nobody reads a wrong value.

The numbers in names are those of the list of faults.
"""
import contextlib
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402

CLIENTS = 8


class Clients:
    """Gathering processes, and what they are to find."""

    def __init__(self, stack):
        self.stack, self.helpers = stack, []

    def add(self, daemon, reference, model='m', n=1):
        path, tables = reference
        added = []
        for _ in range(n):
            helper = self.stack.enter_context(t.Helper(
                t.program('GATHER_LOOP'), daemon.path, model, path, tables['wte.weight'][2],
                tables['wpe.weight'][2]))
            added.append(helper)
        for helper in added:
            word, generation = helper.line().split()
            t.check_equal(word, 'ready')
            helper.generation = int(generation)
        self.helpers += added
        return added

    def check(self, state, helpers=None):
        """All go on gathering, and see that state."""
        for helper in helpers or self.helpers:
            seen, rounds = helper.ask('state').split()
            t.check_equal(seen, state, 'gpt2c_state')
            t.wait_until(lambda h=helper, r=rounds: int(h.ask('state').split()[1]) > int(r) + 10,
                         'ten more rounds')

    def end(self):
        rounds = [int(helper.end().split()[1]) for helper in self.helpers]
        t.check(all(rounds), 'a client did nothing', rounds)
        t.say(f'  {len(rounds)} clients, {sum(rounds)} rounds, every value right')


def reference(pack):
    out = Path(str(pack) + '.safetensors')
    return out, t.tables_of(pack, out)


@contextlib.contextmanager
def served(*arguments, **options):
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(t.folder())
        store = where / 'store'
        store.mkdir()
        pack = t.make_pack(store / 'm.gpt2w', seed=1, **options)
        daemon = stack.enter_context(t.start_daemon(where, '--store', store, *arguments))
        yield where, store, pack, daemon, Clients(stack)


def test_25_kill_while_clients_gather():
    with served() as (where, store, pack, daemon, clients):
        right = reference(pack)
        clients.add(daemon, right, n=CLIENTS)
        clients.check('CURRENT')
        daemon.kill()
        clients.check('ORPHANED')
        t.check(os.path.exists(daemon.path), 'a killed daemon leaves its socket')
        with t.start_daemon(where, '--store', store) as second:
            t.check_equal(second.path, daemon.path)
            new = clients.add(second, right, n=2)
            clients.check('CURRENT', new)
            clients.check('ORPHANED', [h for h in clients.helpers if h not in new])
            t.check(new[0].generation > clients.helpers[0].generation, 'a newer generation')
            second.stop()
            clients.check('ORPHANED')
        clients.end()


def change_pack(change):
    with served() as (_, store, pack, daemon, clients):
        right = reference(pack)
        clients.add(daemon, right, n=CLIENTS)
        change(pack)
        clients.check('CURRENT')
        clients.add(daemon, right)  # the image is served on
        clients.check('CURRENT')
        t.check_equal(daemon.model('m')['state'], 'serving')
        clients.end()
        daemon.stop()
        t.check(store.is_dir(), 'the store is left alone')


def test_truncated():
    change_pack(lambda pack: os.truncate(pack, 0))


def test_overwritten_in_place():
    def overwrite(pack):
        with open(pack, 'r+b') as file:
            file.write(b'\xff' * os.path.getsize(pack))
    change_pack(overwrite)


def test_deleted():
    change_pack(os.unlink)


def test_new_generation():
    with served() as (where, _, pack, daemon, clients):
        old = reference(pack)
        clients.add(daemon, old, n=CLIENTS)
        before = daemon.model('m')
        new_pack = t.make_pack(where / 'new', seed=2)
        new = reference(new_pack)
        with daemon.peer() as peer:
            attached = peer.ask_attach('m')
            os.rename(new_pack, pack)  # the daemon notices
            news = peer.receive()
            t.check_equal(news.kind, t.NEWS)
            t.check(news.generation > attached.generation and news.epoch == attached.epoch + 1,
                    'news of the next generation')
            attached.close()
        t.wait_until(lambda: daemon.model('m')['generation'] > before['generation'], 'the load')
        clients.check('SUPERSEDED')
        added = clients.add(daemon, new, n=2)
        clients.check('CURRENT', added)
        t.check_equal(added[0].generation, daemon.model('m')['generation'])
        t.check(daemon.model('m')['content_id'] != before['content_id'], 'another content')
        daemon.hup()  # nothing has changed: no new generation
        t.wait_until(lambda: 'looking at the packs again' in daemon.log(), 'SIGHUP')
        t.wait_until(daemon.settled, 'the models')
        clients.check('CURRENT', added)
        daemon.kill()
        clients.check('ORPHANED')
        clients.end()


def test_bad_pack_leaves_the_old_one():
    with served() as (where, _, pack, daemon, clients):
        right = reference(pack)
        clients.add(daemon, right, n=2)
        before = daemon.model('m')
        bad = bytearray(pack.read_bytes())
        bad[-4096 - 17] ^= 1
        (where / 'bad').write_bytes(bad)
        os.rename(where / 'bad', pack)
        model = t.wait_until(lambda: (m := daemon.model('m'))['message'] and m, 'the failed load')
        t.check_equal((model['state'], model['generation']), ('serving', before['generation']))
        t.say(f'  message: {model["message"]}')
        t.check('stays in service' in daemon.log(), 'the log says so')
        listed = t.run(t.program('GPT2CTL'), '--socket', daemon.path, 'list').stdout
        t.check(model['message'] in listed, 'gpt2ctl list tells the reason', listed)
        clients.check('CURRENT')
        t.make_pack(where / 'good', seed=1)  # the same contents: no new generation
        os.rename(where / 'good', pack)
        t.wait_until(lambda: not daemon.model('m')['message'], 'the good pack')
        clients.check('CURRENT')
        t.check_equal(daemon.model('m')['generation'], before['generation'])
        os.rename(t.make_pack(where / 'better', seed=2), pack)
        t.wait_until(lambda: daemon.model('m')['generation'] > before['generation'], 'the new one')
        clients.check('SUPERSEDED')
        clients.add(daemon, reference(pack))
        clients.end()


def test_withdrawn():
    with served() as (where, store, pack, daemon, clients):
        right = reference(pack)
        clients.add(daemon, right, n=2)
        with daemon.peer() as peer:
            peer.ask_attach().close()
            pack.rename(where / 'away')
            daemon.hup()
            news = peer.receive()
            t.check_equal((news.kind, news.generation), (t.NEWS, 0))
            t.wait_until(lambda: not daemon.models(), 'the model to go')
            answer = peer.ask_attach('m')
            t.check_equal((answer.kind, answer.reason), (t.REFUSED, t.NO_MODEL))
        for helper in clients.helpers:
            t.check(helper.ask('state').split()[0] in ('SUPERSEDED', 'ORPHANED'), 'not current')
        (where / 'away').rename(pack)
        daemon.hup()
        t.wait_until(lambda: daemon.model('m') and daemon.settled(), 'the model to come back')
        clients.check('CURRENT', clients.add(daemon, right))
        clients.end()


def test_several_models():
    with served() as (where, store, pack, daemon, clients):
        other = t.make_pack(store / 'other.gpt2w', vocab=77, positions=40, embd=33, seed=9)
        daemon.hup()
        t.wait_until(lambda: (m := daemon.model('other')) and m['state'] == 'serving', 'other')
        with daemon.peer() as peer:
            answer = peer.ask_attach()
            t.check_equal((answer.kind, answer.reason), (t.REFUSED, t.NAME_NEEDED))
            t.check('m, other' in answer.text, answer.text)
            answer = peer.ask_attach('nobody')
            t.check_equal((answer.kind, answer.reason), (t.REFUSED, t.UNKNOWN_MODEL))
            t.check('nobody' in answer.text, answer.text)
            for name in ('m', 'other'):  # one connection may attach both, one after the other
                answer = peer.ask_attach(name)
                t.check_equal((answer.kind, answer.model), (t.ATTACHED, name))
                answer.close()
        a = clients.add(daemon, reference(pack), n=2)
        b = clients.add(daemon, reference(other), model='other', n=2)
        clients.check('CURRENT')
        other.unlink()
        daemon.hup()
        t.wait_until(lambda: daemon.model('other') is None, 'other to go')
        clients.check('CURRENT', a)
        t.check(b[0].ask('state').split()[0] != 'CURRENT', 'withdrawn')
        t.check_equal([m['name'] for m in daemon.models()], ['m'])
        clients.end()


def test_reload_storm_while_clients_gather():
    """Two packs take turns; clients attach and gather all the while. Each sees one of the two whole."""
    with served(vocab=300) as (where, _, pack, daemon, clients):
        packs = [pack.read_bytes(), t.make_pack(where / 'two', vocab=300, seed=2).read_bytes()]
        references = [reference(pack), reference(where / 'two')]
        clients.add(daemon, references[0], n=4)
        for turn in range(1, 13):
            before = daemon.model('m')['generation']
            (where / 'next').write_bytes(packs[turn % 2])
            os.rename(where / 'next', pack)
            for _ in range(5):
                daemon.hup()
            t.wait_until(lambda b=before: daemon.model('m')['generation'] > b, 'a generation')
            if turn % 3 == 0:
                clients.add(daemon, references[turn % 2])
        for helper in clients.helpers:
            t.check_equal(helper.ask('state').split()[0],
                          'CURRENT' if helper is clients.helpers[-1] else 'SUPERSEDED')
        clients.end()
        fds = t.wait_until(lambda: daemon.settled() and daemon.fds(), 'the last load')
        t.say(f'  the daemon has {fds} descriptors open after 12 generations')
        t.check(fds < 24, 'old images are still open', fds)
        daemon.stop()


def test_27_sigterm_removes_the_socket():
    for number in (signal.SIGTERM, signal.SIGINT):
        with served() as (where, _, pack, daemon, clients):
            clients.add(daemon, reference(pack), n=2)
            daemon.process.send_signal(number)
            t.check_equal(daemon.process.wait(t.PATIENCE_S), 0, 'exit code')
            t.check(not os.path.exists(daemon.path), 'the socket is removed')
            t.check(not os.path.exists(daemon.path + '.lock'), 'and its lock')
            clients.check('ORPHANED')
            clients.end()


def test_file_mode():
    """--share file: the pack's own pages; a client has to allow that."""
    with served('--share', 'file') as (where, _, pack, daemon, _):
        embed = (t.program('GPT2_EMBED'), '--socket', daemon.path, '-o', where / 'a.npy', '1', '2')
        done = t.run(*embed, code=1)
        t.check('truncate' in done.stderr or 'sealed' in done.stderr, done.stderr)
        t.check(not (where / 'a.npy').exists(), 'no output')
        t.run(*embed[:3], '--allow-unsealed', *embed[3:])
        t.run(t.program('GPT2_EMBED'), '--file', pack, '-o', where / 'b.npy', '1', '2')
        t.check_equal((where / 'a.npy').read_bytes(), (where / 'b.npy').read_bytes())
        t.check_equal(daemon.model('m')['share'], 'file')
        t.check('--share file' in daemon.log(), 'a warning in the log')


if __name__ == '__main__':
    t.main()
