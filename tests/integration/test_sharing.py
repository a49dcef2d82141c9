#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""32 processes that read all of a model of GPT-2's size cost the memory of one image."""
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpt2w_test as t  # noqa: E402

CLIENTS = 32


def pss_bytes(pid):
    """The proportional set size: each page's size divided by how many processes map it."""
    for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
        if line.startswith('Pss:'):
            return int(line.split()[1]) * 1024
    raise t.Skip('this kernel tells no Pss')


def measure(daemon, model):
    """(image bytes, sum of the clients' and the daemon's Pss) while all clients have touched it all."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(t.Helper(t.program('TOUCH_ROWS'), daemon.path, model))
                   for _ in range(CLIENTS)]
        lines = {client.line() for client in clients}
        t.check_equal(len(lines), 1, 'all read the same')
        t.check_equal(daemon.model(model)['attached'], CLIENTS)
        total = sum(pss_bytes(client.process.pid) for client in clients) + pss_bytes(daemon.pid)
    return int(lines.pop().split()[0]), total


def test_sum_of_pss():
    with t.folder() as where:
        t.make_pack(where / 'gpt2.gpt2w', vocab=50257, positions=1024, embd=768)
        t.make_pack(where / 'tiny.gpt2w', vocab=1, positions=1, embd=1)
        # without 2 MiB pages, which Pss does not count where they are hugetlb's
        with t.start_daemon(where, '--store', where, '--pages', 'small') as daemon:
            tiny_bytes, floor = measure(daemon, 'tiny')
            image_bytes, total = measure(daemon, 'gpt2')
            daemon.stop()
    expected = floor - tiny_bytes + image_bytes
    t.say(f'  image {image_bytes / 1e6:.1f} MB; {CLIENTS} processes and the daemon: '
          f'{total / 1e6:.1f} MB, of which {floor / 1e6:.1f} MB are their floor; '
          f'{100 * (total - expected) / image_bytes:+.2f}% of an image too much')
    t.check(image_bytes > 157e6, 'the size of GPT-2')
    t.check(abs(total - expected) <= 0.05 * image_bytes, 'more than 5% off')


if __name__ == '__main__':
    t.main()
