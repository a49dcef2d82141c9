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
STEER, STEERED, GENERATION, GENERATION_REPLY, CLIENT, CLIENT_REPLY = range(10, 16)


def message(kind, request, body, magic=b'GW2d', version=1):
    return magic + struct.pack('<HHII', version, kind, 16 + len(body), request) + body


def listed(index, n_models, name=b'gpt2', state=2, generation=5, file=b'/srv/gpt2.gpt2w', text=b'',
           n_positions=1024, attached=3, busy=0):
    """WIRE.md, LISTED, from offset 16 on."""
    served = generation != 0
    return struct.pack('<IIIIQQQQQQQQQ', index, n_models, state, 1 if served else 0, generation,
                       157544448 if served else 0, 50257, n_positions, 768, 2, 157286400, attached,
                       17) + bytes(range(16)) + struct.pack(
                           '<IIQ256s1024s256s', 1, 1 if n_positions else 0, 250000, name, file, text) + struct.pack('<IIQQ', busy, 0, 1, 4096)


def nothing_listed(index, n_models):
    return struct.pack('<II', index, n_models) + bytes(1696 - 24)


def status(note=b''):
    return struct.pack('<QQIIQQQQQQQQ32s256s8Q', 4242, 90061000, 2, 1, 3, 9, 17, 1, 0, 157544448, 4096,
                       1024, b'0.1.0', note, 2, 8192, 2**40, 2**39, 21, 22, 4, 512)


def generation(index, n=2, name=b'g"2'):
    """One that is current, and one of --share file that is retired."""
    if index >= n:
        return struct.pack('<II', index, n) + bytes(352 - 24)
    return struct.pack('<4I6Q', index, n, 1 + index, 1 + index, 7 - index, 157544448,
                       2**64 - 1 if index else 4096, 2097152, 5, 1500) + bytes(range(16)) + \
        struct.pack('<256s', name)


def about(body=None):
    """Answers STATUS, LIST and GENERATION."""
    def answer(kind, request, index):
        if kind == STATUS:
            return message(STATUS_REPLY, request, body or status())
        if kind == GENERATION:
            return message(GENERATION_REPLY, request, generation(index))
        return message(LISTED, request, listed(0, 1, name=b'g"2') if index < 1
                       else nothing_listed(index, 1))
    return answer


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
        while True:  # until the listener is closed
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.serve_one(peer)

    def serve_one(self, peer):
        with peer:
            while data := peer.recv(4096):
                kind, _, request = struct.unpack_from('<HII', data, 6)
                index = struct.unpack_from('<I', data, 16)[0] if len(data) > 16 else 0
                reply = self.answer(kind, request, index)
                if reply is None:
                    return
                if reply:
                    peer.send(reply)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
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
            'load_us': 250000, 'file': '/srv/gpt2.gpt2w', 'message': None, 'busy': False,
            'taken_back': False,
            'retired': 1, 'retired_bytes': 4096}]})

    def test_list_json_loading(self):
        got = json.loads(self.done(self.models({'state': 1, 'generation': 0}), '--json', 'list'))
        model = got['models'][0]
        self.assertEqual((model['state'], model['generation']), ('loading', 0))
        self.assertEqual((model['share'], model['content_id'], model['wte_dtype']), (None,) * 3)

    def test_status(self):
        text = self.done(about(status(b'no io_uring')), 'status')
        self.assertIn('pid          4242\n', text)
        self.assertIn('uptime       1 d 1 h 1 min 1 s\n', text)
        self.assertIn('event loop   epoll\n', text)
        self.assertIn('no io_uring', text)

    def test_status_json(self):
        got = json.loads(self.done(about(), 'status', '--json'))
        generations = got.pop('generations')
        self.assertEqual(generations[0], {
            'model': 'g"2', 'generation': 7, 'life': 'current', 'share': 'sealed',
            'image_bytes': 157544448, 'resident_bytes': 4096, 'huge_bytes': 2097152, 'attached': 5,
            'age_ms': 1500, 'content_id': '000102030405060708090a0b0c0d0e0f'})
        self.assertEqual((generations[1]['life'], generations[1]['share'],
                          generations[1]['resident_bytes']), ('retired', 'file', None))
        self.assertEqual(got, {
            'release': '0.1.0', 'pid': 4242, 'uptime_ms': 90061000, 'backend': 'epoll', 'note': None,
            'n_models': 1, 'image_bytes': 157544448, 'connections': 3, 'connections_total': 9,
            'max_connections': 4096, 'max_connections_per_user': 1024, 'attached_total': 17,
            'refused_total': 1, 'foreign_fds': 0, 'retired': 2, 'retired_bytes': 8192,
            'memory_max': 2**40, 'max_retired_bytes': 2**39, 'published_total': 21,
            'failed_total': 22, 'unread_fds': 4, 'max_unread_fds_per_user': 512})

    def test_metrics(self):
        """OpenMetrics: every family has its type before its samples, labels are escaped, EOF ends it."""
        lines = self.done(about(), 'metrics').splitlines()
        self.assertEqual(lines[-1], '# EOF')
        families, samples = {}, []
        for line in lines[:-1]:
            if line.startswith('# TYPE '):
                name, kind = line.split()[2:]
                self.assertNotIn(name, families)
                families[name] = kind
            elif not line.startswith('# HELP '):
                name = line.split('{')[0].split(' ')[0]
                family = name[:-6] if name.endswith('_total') else name
                self.assertEqual(list(families)[-1], family, line)
                self.assertEqual(families[family], 'counter' if name != family else 'gauge', line)
                int(line.rsplit(' ', 1)[1])
                samples.append(line)
        self.assertEqual(len(samples), len(set(samples)))
        self.assertIn('gpt2d_generations_total 21', samples)
        self.assertIn('gpt2d_model_up{model="g\\"2"} 1', samples)
        self.assertIn('gpt2d_generation_resident_bytes{model="g\\"2",generation="7",'
                      'life="current",share="sealed"} 4096', samples)
        self.assertFalse([s for s in samples if 'resident' in s and 'file' in s])  # not known
        got = json.loads(self.done(about(), 'metrics', '--json'))
        self.assertEqual((len(got['models']), len(got['generations']), got['pid']), (1, 2, 4242))

    def test_clients(self):
        def answer(_, request, index):
            body = struct.pack('<4I3Q256s', index, 1, 1000, 77, 5, 2, 3000, b'gpt2') if index == 0 \
                else struct.pack('<II', index, 1) + bytes(312 - 24)
            return message(CLIENT_REPLY, request, body)
        got = json.loads(self.done(answer, 'clients', '--json'))
        self.assertEqual(got, {'clients': [{'uid': 1000, 'pid': 77, 'model': 'gpt2',
                                            'generation': 5, 'unread_fds': 2, 'age_ms': 3000}]})
        self.assertRegex(self.done(answer, 'clients'), r'1000 +77 +3 +5  gpt2')

    def steered(self, wanted, *models, busy=1):
        """Answers STEER if it is the wanted one, then that its models are busy for a while."""
        left = [busy]

        def answer(kind, request, index):
            if kind == STEER:
                self.assertEqual(index, wanted)
                return message(STEERED, request, struct.pack('<II', len(models), 0))
            if index < len(models):
                left[0] -= 1
                return message(LISTED, request, listed(index, len(models), busy=int(left[0] >= 0),
                                                       **models[index]))
            return message(LISTED, request, nothing_listed(index, len(models)))
        return answer

    def test_reload(self):
        self.assertEqual(self.done(self.steered(1, {}, busy=3), 'reload'), '')
        self.done(self.steered(1, {}), 'reload', 'gpt2')
        self.done(self.steered(2, {}), 'load', 'gpt2')
        self.done(self.steered(3, {'state': 4, 'generation': 0, 'text': b'by uid 0'}), 'unload', 'gpt2')
        got = json.loads(self.done(self.steered(1, {}), 'reload', '--json'))
        self.assertEqual(got['models'][0]['busy'], False)
        bad = {'text': b'wte.weight rows 0 to 9 do not verify'}
        self.fails('do not verify; the generation before', self.steered(1, {}, bad), 'reload')
        self.fails('no model', self.steered(1, bad), 'reload', 'other')
        self.fails('still loading', self.steered(1, {}, busy=10**6), 'reload', '--timeout', '0')

    def test_wait(self):
        self.done(about(), 'wait', 'g"2')
        self.done(about(), 'wait', 'g"2', '--generation', '7')
        self.done(about(), 'wait', 'g"2', '--generation', '7', '--drained', '5')
        for args in (('--generation', '8'), ('--drained', '7'), ('--drained', '6')):
            self.fails('when the time was up', about(), 'wait', 'g"2', '--timeout', '0', *args)
        self.fails('when the time was up', about(), 'wait', 'other', '--timeout', '0')

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
        for args, says in (([], 'no command'), (['reload', 'a', 'b'], 'one command'),
                           (['lisp'], 'no command "lisp"'), (['--x'], 'unrecognized'),
                           (['load'], 'name of a model'), (['list', 'x'], 'no model'),
                           (['wait'], 'name of a model'), (['wait', 'x' * 256], '255 bytes'),
                           (['reload', '--drained', '1'], 'belong to wait'),
                           (['wait', 'm', '--timeout', '-1'], 'timeout'),
                           (['list', '--timeout', '1'], 'waits for nothing'),
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
