#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The first process of the machine that run-machine boots: runs /tests.json, reports on the second
serial port, and ends the machine: a line "ok", "FAILED" or "SKIPPED" for each, with what it said
below, and one for each part of a test that was skipped. The last line is "N passed, N failed, N
skipped".
"""
import ctypes
import json
import os
import queue
import re
import resource
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

AT_ONCE = 2
# of one test
PATIENCE_S = 240
MOUNTS = [('proc', '/proc'), ('sysfs', '/sys'), ('devtmpfs', '/dev'), ('tmpfs', '/tmp'),
          ('tmpfs', '/run'), ('tmpfs', '/dev/shm'), ('cgroup2', '/sys/fs/cgroup')]


def prepare():
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, where in MOUNTS:
        os.makedirs(where, exist_ok=True)
        if libc.mount(b'none', where.encode(), kind.encode(), 0, None) < 0:
            raise OSError(ctypes.get_errno(), where)
    for where in ('/tmp', '/dev/shm'):
        os.chmod(where, 0o1777)
    os.environ['PATH'] = '/usr/sbin:/usr/bin:/sbin:/bin'
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 524288))  # as systemd does


def setting(text):
    """What a file of /proc or /sys says is set: all of it, or the [marked] one of its words."""
    marked = re.search(r'\[(\S+)\]', text)
    return marked.group(1) if marked else text.strip()


class Runner:
    def __init__(self, out):
        self.out, self.lock = out, threading.Lock()
        self.tests = queue.SimpleQueue()
        self.count = {'ok': 0, 'FAILED': 0, 'SKIPPED': 0}
        self.failures = []

    def run(self, test):
        start = time.monotonic()
        with open(f'/tmp/log-{threading.get_ident()}', 'w+b') as log:
            process = subprocess.Popen(test['command'], env={**os.environ, **test['env']},
                                       stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, cwd='/tmp')
            try:
                code = process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = 'time is up'
            log.seek(0)
            text = log.read().decode(errors='replace').rstrip()
        self.tell(f'{test["name"]} ({time.monotonic() - start:.1f} s)', code, text)

    def tell(self, what, code, text):
        """Its result and what it said; if it failed, that comes last, where it is seen."""
        word = {0: 'ok', 77: 'SKIPPED'}.get(code, 'FAILED')
        said = ''.join(f'    {line}\n' for line in text.split('\n'))
        parts = re.findall('^(?:SKIPPED|skipped:) *(.*)', text, re.MULTILINE)
        with self.lock:
            self.count[word] += 1
            if word == 'FAILED':
                self.out.write(f'FAILED  {what}: {code}\n')
                self.failures.append(f'--- {what}\n{said}')
            else:
                self.out.write(f'{word:7} {what}\n{said}')
            for part in parts if word == 'ok' else []:
                self.count['SKIPPED'] += 1
                self.out.write(f'SKIPPED in {what}: {part}\n')

    def alone(self, test):
        """With a setting of the machine changed."""
        path, value = test['setting']
        before = setting(Path(path).read_text())
        Path(path).write_text(value)
        is_set = setting(Path(path).read_text())
        if is_set == value:
            self.run(test)
        else:
            self.tell(test['name'], 'not run', f'{path} stays {is_set}')
        Path(path).write_text(before)

    def work(self):
        while True:
            try:
                test = self.tests.get_nowait()
            except queue.Empty:
                return
            try:
                self.run(test)
            except Exception as error:
                self.tell(test['name'], 'not run', repr(error))

    def all(self, tests):
        for test in tests:
            if test['setting']:
                self.alone(test)
            else:
                self.tests.put(test)
        threads = [threading.Thread(target=self.work) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.out.write(''.join(self.failures) + f'{self.count["ok"]} passed, '
                       f'{self.count["FAILED"]} failed, {self.count["SKIPPED"]} skipped\n')


def work():
    prepare()
    with open('/dev/ttyS1', 'w', encoding='utf-8', errors='replace', buffering=1) as out:
        tty.setraw(out)  # a line ends as it does in a file
        try:
            with open('/proc/uptime', encoding='ascii') as uptime:
                out.write(f'Linux {os.uname().release}, up after {uptime.read().split()[0]} s\n')
            with open('/tests.json', encoding='utf-8') as tests:
                Runner(out).all(json.load(tests))
        except BaseException as error:
            out.write(f'{error!r}\n')
            raise


def main():
    worker = os.fork()
    if worker == 0:
        try:
            work()
        finally:
            sys.stdout.flush()
            os._exit(0)
    # the first process inherits what others leave behind
    while os.wait()[0] != worker:
        pass
    os.sync()
    with open('/proc/sysrq-trigger', 'w', encoding='ascii') as trigger:
        trigger.write('b')  # with -no-reboot that is the end
    time.sleep(60)


if __name__ == '__main__':
    main()
