# SPDX-License-Identifier: MIT
"""The service of example_service.py as gunicorn runs it, or another server of WSGI applications:

    GPT2D_SOCKET=PATH gunicorn --workers 8 [--preload] [--threads N] --chdir client/python example_gunicorn:app
    curl --data '[[15496, 11, 995]]' -o vectors.f32 localhost:8000

Without --preload each worker attaches for itself. With it the master attaches and the workers go on with
that; it keeps that generation until it ends, also when they have followed to a later one.
"""
import json
import os
import sys

import gpt2client

MAX_BODY_BYTES = 1 << 20

store = gpt2client.open(os.environ.get('GPT2_MODEL'))
store.embed([0])  # imports NumPy now, in place of during the first request


def follow():
    """Goes on with the current generation."""
    try:
        if store.state is gpt2client.State.SUPERSEDED:
            store.refresh()
    except gpt2client.Error as error:
        print(f'worker {os.getpid()} stays with generation {store.info.generation}: {error}',
              file=sys.stderr)


def read_ids(environ):
    length = int(environ.get('CONTENT_LENGTH') or 0)
    if not 0 < length <= MAX_BODY_BYTES:
        raise ValueError(f'a body of 1 to {MAX_BODY_BYTES} bytes is needed')
    return json.loads(environ['wsgi.input'].read(length))


def app(environ, start_response):
    """ids [batch, seq] in JSON to float32 [batch, seq, n_embd]"""
    follow()
    try:
        vectors = store.embed(read_ids(environ))
    except (gpt2client.Error, ValueError, RecursionError) as error:
        start_response('400 Bad Request', [('Content-Type', 'text/plain; charset=utf-8')])
        return [f'{error}\n'.encode()]
    body = bytes(vectors)
    start_response('200 OK', [('Content-Type', 'application/octet-stream'),
                              ('Content-Length', str(len(body))),
                              ('X-Shape', 'x'.join(map(str, vectors.shape))),
                              ('X-Worker', str(os.getpid()))])
    return [body]
