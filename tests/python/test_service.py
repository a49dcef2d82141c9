#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The example services, with their 8 workers."""
import importlib.util
import json
import os
import signal
import subprocess
import sys
import unittest
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import support  # noqa: E402
from support import EMBD, POSITIONS, VOCAB, gpt2client, t  # noqa: E402

FOLDER = support.SOURCE / 'client' / 'python'


def ask(url, body):
    """(status, headers, body)"""
    try:
        with urllib.request.urlopen(url, body.encode(), timeout=t.PATIENCE_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@unittest.skipUnless(importlib.util.find_spec('numpy'), 'NumPy is not installed')
class Service(support.Case):
    WORKERS = 8

    def setUp(self):
        t.make_pack(self.where / 'a.gpt2w', VOCAB, POSITIONS, EMBD)
        self.daemon = self.enterContext(t.start_daemon(self.where, '--store', self.where))
        self.process = subprocess.Popen(
            [sys.executable, FOLDER / 'example_service.py', '--socket', self.daemon.path, '--port',
             '0', '--workers', str(self.WORKERS)],
            text=True, stdout=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(FOLDER)})
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.stop)
        self.url = self.process.stdout.readline().strip()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.assertEqual(self.process.wait(t.PATIENCE_S), 0)

    def ask(self, body):
        return ask(self.url, body)

    def attached(self):
        return self.daemon.model('a')['attached']

    def test_all_of_it(self):
        t.wait_until(lambda: self.attached() == self.WORKERS, 'all workers')
        with gpt2client.open(socket=self.daemon.path) as store:
            expected = bytes(store.embed([[1, 2, 3], [4, 5, 6]]))
        workers = set()
        for _ in range(20):
            status, headers, body = self.ask('[[1, 2, 3], [4, 5, 6]]')
            self.assertEqual((status, headers['X-Shape'], body), (200, f'2x3x{EMBD}', expected))
            workers.add(int(headers['X-Worker']))
        status, _, body = self.ask(f'[[1, {VOCAB}]]')
        self.assertEqual((status, json.loads(body)['code'], json.loads(body)['index']),
                         (400, gpt2client.E_ID, 1))
        for wrong in ('', '{', '"x"', '[1.5]', '[' * 100000, '{"ids": []}'):
            self.assertEqual(self.ask(wrong)[0], 400, wrong[:9])
        victim = workers.pop()
        os.kill(victim, signal.SIGKILL)
        t.wait_until(lambda: not Path(f'/proc/{victim}').exists(), 'the end of a worker')
        t.wait_until(lambda: self.attached() == self.WORKERS, 'another worker')
        self.assertEqual(self.ask('[1]')[0], 200)
        self.daemon.kill()
        self.assertEqual(self.ask('[[1, 2, 3], [4, 5, 6]]')[2], expected)
        self.stop()


@unittest.skipUnless(importlib.util.find_spec('numpy') and importlib.util.find_spec('gunicorn'),
                     'NumPy or gunicorn is not installed')
class Gunicorn(support.Case):
    IDS = '[[1, 2, 3], [4, 5, 6]]'

    def start(self, daemon, *options):
        """(its process, its address)"""
        process = subprocess.Popen(
            [sys.executable, '-m', 'gunicorn', '--workers', '8', '--bind', '127.0.0.1:0', '--chdir', FOLDER,
             *options, 'example_gunicorn:app'],
            text=True, stderr=subprocess.PIPE, env={**os.environ, 'GPT2D_SOCKET': daemon.path})
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait, t.PATIENCE_S)
        self.addCleanup(process.terminate)
        for line in process.stderr:
            if 'Listening at' in line:
                return process, line.split('Listening at: ')[1].split()[0]
        raise AssertionError('gunicorn has ended')

    def expected(self, daemon):
        with gpt2client.open(socket=daemon.path) as store:
            return bytes(store.embed(json.loads(self.IDS)))

    def check(self, attached, *options):
        """attached: how many connections the daemon has once all workers are there"""
        where = Path(self.enterContext(t.folder()))
        t.make_pack(where / 'a.gpt2w', VOCAB, POSITIONS, EMBD)
        daemon = self.enterContext(t.start_daemon(where, '--store', where))
        _, url = self.start(daemon, *options)
        t.wait_until(lambda: daemon.model('a')['attached'] == attached, 'all workers')
        expected = self.expected(daemon)
        for _ in range(10):
            status, headers, body = ask(url, self.IDS)
            self.assertEqual((status, headers['X-Shape'], body), (200, f'2x3x{EMBD}', expected))
        for wrong in ('', '{', '[1.5]', '[' * 100000, f'[[{VOCAB}]]'):
            self.assertEqual(ask(url, wrong)[0], 400, wrong[:9])
        # a new generation is followed
        old = daemon.model('a')['generation']
        t.make_pack(where / 'a.gpt2w', VOCAB, POSITIONS, EMBD, seed=2)
        daemon.hup()
        t.wait_until(lambda: daemon.model('a')['generation'] != old, 'a new generation')
        later = self.expected(daemon)
        self.assertNotEqual(later, expected)
        for _ in range(10):
            self.assertEqual(ask(url, self.IDS)[2], later)

    def test_each_attaches(self):
        self.check(8)

    def test_preload(self):
        self.check(1, '--preload', '--threads', '2')


@unittest.skipUnless(importlib.util.find_spec('numpy'), 'NumPy is not installed')
class NoService(support.Case):
    def test_no_daemon(self):
        ended = subprocess.run(
            [sys.executable, FOLDER / 'example_service.py', '--socket', '/nonexistent/s', '--port', '0'],
            text=True, capture_output=True, timeout=t.PATIENCE_S, check=False,
            env={**os.environ, 'PYTHONPATH': str(FOLDER)})
        self.assertEqual(ended.returncode, 1)
        self.assertIn('/nonexistent/s', ended.stderr)


if __name__ == '__main__':
    support.main()
