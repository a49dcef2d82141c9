#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gpt2ctl's command line, against daemons that this program plays, honest and hostile.

usage: test_ctl_cli.py GPT2CTL
"""
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

CTL = os.path.abspath(sys.argv[1])
REFUSED, LIST, LISTED, STATUS, STATUS_REPLY = 4, 6, 7, 8, 9


def message(kind, request, body, magic=b'GW2d', version=1):
    return magic + struct.pack('<HHII', version, kind, 16 + len(body), request) + body


def listed(index, n_models, name=b'gpt2', state=2, generation=5, file=b'/srv/gpt2.gpt2w', text=b'',
           n_positions=1024, attached=3):
    """WIRE.md, LISTED, from offset 16 on."""
    served = generation != 0
    return struct.pack('<IIIIQQQQQQQQQ', index, n_models, state, 1 if served else 0, generation,
                       157544448 if served else 0, 50257, n_positions, 768, 2, 157286400, attached,
                       17) + bytes(range(16)) + struct.pack(
                           '<IIQ256s1024s256s', 1, 1 if n_positions else 0, 250000, name, file, text)


def nothing_listed(index, n_models):
    return struct.pack('<II', index, n_models) + bytes(1672 - 24)


def status(note=b''):
    return struct.pack('<QQIIQQQQQQQQ32s256s', 4242, 90061000, 2, 1, 3, 9, 17, 1, 0, 157544448, 4096,
                       1024, b'0.1.0', note)


class Daemon:
    """Answers each request with answer(kind, request, index); None: closes, '': says nothing."""

    def __init__(self, answer):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, 's')
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen()
        self.answer = answer
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self):
        peer, _ = self.listener.accept()
        with peer:
            while data := peer.recv(4096):
                kind, _, request = struct.unpack_from('<HII', data, 6)
                index = struct.unpack_from('<I', data, 16)[0] if kind == LIST else 0
                reply = self.answer(kind, request, index)
                if reply is None:
                    return
                if reply:
                    peer.send(reply)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.folder.cleanup()


class CtlTest(unittest.TestCase):
    def ask(self, answer, *args):
        with Daemon(answer) as daemon:
            return subprocess.run([CTL, '--socket', daemon.path, *args], capture_output=True,
                                  timeout=60)

    def done(self, answer, *args):
        result = self.ask(answer, *args)
        self.assertEqual((result.returncode, result.stderr), (0, b''))
        return result.stdout.decode()

    def fails(self, says, answer, *args, code=1):
        result = self.ask(answer, *args)
        self.assertEqual((result.returncode, result.stdout), (code, b''), result.stderr)
        self.assertTrue(result.stderr.startswith(b'gpt2ctl: '), result.stderr)
        self.assertIn(says, result.stderr.decode())

    @staticmethod
    def models(*models):
        def answer(_, request, index):
            if index < len(models):
                return message(LISTED, request, listed(index, len(models), **models[index]))
            return message(LISTED, request, nothing_listed(index, len(models)))
        return answer

    def test_list(self):
        text = self.done(self.models({}, {'name': b'xl', 'state': 3, 'generation': 0,
                                          'text': b'no such file'}), 'list')
        lines = text.splitlines()
        self.assertEqual(lines[0].split(), ['MODEL', 'STATE', 'GENERATION', 'SHARE', 'SIZE', 'HUGE',
                                            'PAGES', 'TABLES', 'TYPE', 'ATTACHED'])
        self.assertEqual(lines[1].split(), ['gpt2', 'serving', '5', 'sealed', '157.5', 'MB', '157.3',
                                            'MB', '50257+1024', 'x', '768', 'f32', '3'])
        self.assertIn('/srv/gpt2.gpt2w', lines[2])
        self.assertIn('000102030405060708090a0b0c0d0e0f', lines[3])
        self.assertEqual(lines[4].split()[:2], ['xl', 'failed'])
        self.assertIn('no such file', text)

    def test_list_empty(self):
        self.assertEqual(self.done(self.models(), 'list'), 'the daemon serves no model\n')
        self.assertEqual(json.loads(self.done(self.models(), 'list', '--json')), {'models': []})

    def test_list_json(self):
        got = json.loads(self.done(self.models({'n_positions': 0}), '--json', 'list'))
        self.assertEqual(got, {'models': [{
            'name': 'gpt2', 'state': 'serving', 'generation': 5, 'share': 'sealed',
            'image_bytes': 157544448, 'huge_bytes': 157286400, 'n_vocab': 50257, 'n_positions': 0,
            'n_embd': 768, 'n_tensors': 2, 'wte_dtype': 'f32', 'wpe_dtype': None,
            'content_id': '000102030405060708090a0b0c0d0e0f', 'attached': 3, 'attached_total': 17,
            'load_us': 250000, 'file': '/srv/gpt2.gpt2w', 'message': None}]})

    def test_list_json_loading(self):
        got = json.loads(self.done(self.models({'state': 1, 'generation': 0}), '--json', 'list'))
        model = got['models'][0]
        self.assertEqual((model['state'], model['generation']), ('loading', 0))
        self.assertEqual((model['share'], model['content_id'], model['wte_dtype']), (None,) * 3)

    def test_status(self):
        text = self.done(lambda _, request, __: message(STATUS_REPLY, request, status(b'no io_uring')),
                         'status')
        self.assertIn('pid          4242\n', text)
        self.assertIn('uptime       1 d 1 h 1 min 1 s\n', text)
        self.assertIn('event loop   epoll\n', text)
        self.assertIn('no io_uring', text)

    def test_status_json(self):
        got = json.loads(self.done(lambda _, request, __: message(STATUS_REPLY, request, status()),
                                   'status', '--json'))
        self.assertEqual(got, {
            'release': '0.1.0', 'pid': 4242, 'uptime_ms': 90061000, 'backend': 'epoll', 'note': None,
            'n_models': 1, 'image_bytes': 157544448, 'connections': 3, 'connections_total': 9,
            'max_connections': 4096, 'max_connections_per_user': 1024, 'attached_total': 17,
            'refused_total': 1, 'foreign_fds': 0})

    def test_hostile_text(self):
        """Escapes and broken UTF-8 either are refused or come out quoted."""
        for hostile in (b'\x1b[2Jx', b'\xff\xfe', b'a\nb'):
            for args in (('list',), ('list', '--json')):
                result = self.ask(self.models({'file': hostile}), *args)
                self.assertIn(result.returncode, (0, 1))
                self.assertNotIn(b'\x1b', result.stdout + result.stderr)
                (result.stdout + result.stderr).decode()
                if result.returncode == 0 and '--json' in args:
                    json.loads(result.stdout)

    def test_large_numbers(self):
        got = json.loads(self.done(self.models({'attached': 2**64 - 1}), 'list', '--json'))
        self.assertEqual(got['models'][0]['attached'], 2**63 - 1)

    def test_hostile_answers(self):
        body = listed(0, 1)
        self.fails('', lambda *_: None, 'list')
        self.fails('', lambda _, request, __: message(LISTED, request, body)[:-1], 'list')
        self.fails('', lambda _, request, __: message(LISTED, request, body, magic=b'HTTP'), 'list')
        self.fails('', lambda _, request, __: message(LISTED, request, body, version=2), 'list')
        self.fails('request', lambda _, request, __: message(LISTED, request + 1, body), 'list')
        self.fails('request', lambda _, request, __: message(STATUS_REPLY, request, status()), 'list')
        self.fails('instead of 0', lambda _, request, __: message(LISTED, request, listed(1, 2)),
                   'list')
        self.fails('', lambda *_: b'\0' * 2048, 'status')

    def test_refused(self):
        def answer(_, request, __):
            return message(REFUSED, request, struct.pack('<II256s', 6, 0, b'too many of you'))
        self.fails('too many of you', answer, 'list')
        self.fails('too many of you', answer, 'status')

    def test_silence(self):
        self.fails('', lambda *_: b'', 'status')

    def test_no_daemon(self):
        result = subprocess.run([CTL, '--socket', '/nonexistent/s', 'list'], capture_output=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b'/nonexistent/s', result.stderr)
        self.assertIn(b'--socket', result.stderr)
        result = subprocess.run([CTL, 'list'], capture_output=True,
                                env=dict(os.environ, GPT2D_SOCKET='/nonexistent/s'))
        self.assertEqual(result.returncode, 1)

    def test_usage(self):
        for args, says in (([], 'list or status'), (['list', 'status'], 'one command'),
                           (['lisp'], 'no command "lisp"'), (['--x'], 'unrecognized'),
                           (['reload'], 'SIGHUP'), (['metrics'], 'no metrics'),
                           (['--socket', 'x' * 200, 'list'], '')):
            result = subprocess.run([CTL, *args], capture_output=True)
            self.assertEqual(result.returncode, 2, args)
            self.assertIn(says, result.stderr.decode())

    def test_full_output(self):
        with Daemon(self.models({})) as daemon, open('/dev/full', 'w') as full:
            result = subprocess.run([CTL, '--socket', daemon.path, 'list'], stdout=full,
                                    stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 4)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
