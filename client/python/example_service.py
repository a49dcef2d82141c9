#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A preforking HTTP service, as gunicorn runs them: 8 workers and one copy of GPT-2's tables.

    example_service.py [--socket PATH] [--model NAME] [--port N] [--workers N]
    curl --data '[[15496, 11, 995]]' -o vectors.f32 localhost:8000

ids [batch, seq] in JSON go in, float32 [batch, seq, n_embd] comes out. A worker that dies is replaced; a
model that is replaced is followed.
"""
import argparse
import json
import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import gpt2client
import numpy  # noqa: F401  once, before the fork, in place of in every worker's first embed()

MAX_BODY_BYTES = 1 << 20


def say(text):
    print(text, file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    store = None  # the worker's

    def do_POST(self):
        try:
            if self.store.state is gpt2client.State.SUPERSEDED:
                self.store.refresh()
        except gpt2client.Error as error:
            say(f'worker {os.getpid()} stays with generation {self.store.info.generation}: {error}')
        try:
            # [batch, seq, n_embd]
            vectors = self.store.embed(self.read_ids())
        except gpt2client.Error as error:
            self.answer(400, 'application/json', json.dumps(
                {'error': str(error), 'code': error.code, 'index': error.index}).encode())
        except (ValueError, RecursionError) as error:
            self.answer(400, 'application/json', json.dumps({'error': f'no ids: {error}'}).encode())
        else:
            self.answer(200, 'application/octet-stream', bytes(vectors), vectors.shape)

    def read_ids(self):
        length = int(self.headers.get('Content-Length', 0))
        if not 0 < length <= MAX_BODY_BYTES:
            raise ValueError(f'a body of 1 to {MAX_BODY_BYTES} bytes is needed')
        return json.loads(self.rfile.read(length))

    def answer(self, status, kind, body, shape=()):
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Shape', 'x'.join(map(str, shape)))
        self.send_header('X-Worker', str(os.getpid()))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def private_kib():
    with open('/proc/self/smaps_rollup', encoding='ascii') as file:
        return sum(int(line.split()[1]) for line in file if line.startswith('Private_'))


def work(listener, arguments):
    """What a worker does for all of its life."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's ^C is the master's
    before, start = private_kib(), time.perf_counter()
    with gpt2client.open(arguments.model, socket=arguments.socket) as store:
        first = store.embed([0])
        took = time.perf_counter() - start
        say(f'worker {os.getpid()}: first embedding, {first.shape[-1]} wide, {1e6 * took:.0f} us after '
            f'its start; {private_kib() - before} KiB more memory to itself')
        Handler.store = store
        server = HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        server.serve_forever()


def start_worker(listener, arguments):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(listener, arguments)
        status = 0
    except gpt2client.Error as error:
        say(f'worker {os.getpid()}: {error}')
    finally:
        os._exit(status)


def supervise(listener, arguments):
    """Keeps so many workers until it is told to end."""
    def end(*_):
        raise SystemExit(0)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    workers = set()
    try:
        while True:
            while len(workers) < arguments.workers:
                workers.add(start_worker(listener, arguments))
            pid, status = os.wait()
            workers.discard(pid)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                raise SystemExit(f'worker {pid} could not work')
            say(f'worker {pid} has ended, another one is started')
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        for pid in workers:
            os.waitpid(pid, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--socket', help="the daemon's")
    parser.add_argument('--model', help='its name; not needed where only one is served')
    parser.add_argument('--port', type=int, default=8000, help='0: any; it is printed')
    parser.add_argument('--workers', type=int, default=8)
    arguments = parser.parse_args()
    # non-blocking: of the workers that a connection wakes, one gets it
    with socket.create_server(('127.0.0.1', arguments.port), backlog=128) as listener:
        listener.setblocking(False)
        print(f'http://127.0.0.1:{listener.getsockname()[1]}', flush=True)
        supervise(listener, arguments)


if __name__ == '__main__':
    main()
