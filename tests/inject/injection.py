# SPDX-License-Identifier: MIT
"""Running a program whose N-th call fails (inject.h), and the sweep over all N."""
import concurrent.futures
import errno
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'integration'))
import gpt2w_test as t  # noqa: E402

# Every call with every error, instead of a few.
LONG = bool(os.environ.get('GPT2W_LONG'))
SHORT, END = -1, -2
# Calls that are tried at once beyond those of a run without failures.
BEYOND = 16
# A sanitizer's own exit codes are none of the programs'.
SANITIZERS = {'ASAN_OPTIONS': 'detect_leaks=1:halt_on_error=1:exitcode=99',
              'LSAN_OPTIONS': 'exitcode=99',
              'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1:exitcode=99'}


class Injection:
    """What is to fail, and, after the run, what did. report: a file for that."""

    def __init__(self, report, mode='count', call=0, variant=0):
        self.report, self.mode, self.call, self.variant = Path(report), mode, call, variant
        self.text = ''

    def env(self):
        return {**self.env_without(),
                'GPT2W_INJECT': f'{self.mode}:{self.call}:{self.variant}',
                'GPT2W_INJECT_REPORT': str(self.report)}

    @staticmethod
    def env_without():
        """Of a program that is run beside, and does not fail."""
        return {**os.environ, **SANITIZERS, 'LC_ALL': 'C'}

    def peek(self):
        """Looks at the report while the program may be running."""
        self.text = self.report.read_text() if self.report.exists() else ''

    def finish(self):
        """After the run: takes the report away."""
        self.peek()
        self.report.unlink(missing_ok=True)

    def lines(self, word):
        return [line.split() for line in self.text.splitlines()
                if line.startswith(word + ' ')]

    def calls(self):
        return int(self.lines('calls')[0][1])

    def failed(self):
        """(name of the call, its error) or None: there was no such call."""
        lines = self.lines('failed')
        return (' '.join(lines[0][2:-3]), int(lines[0][-3])) if lines else None

    def n_variants(self):
        return int(self.lines('failed')[0][-2])

    def error(self):
        failed = self.failed()
        return failed[1] if failed else 0

    def __str__(self):
        lines = self.lines('failed')
        if not lines:
            return f'{self.mode} {self.call}'
        code = int(lines[0][-3])
        name = {SHORT: 'short', END: 'end'}.get(code) or errno.errorcode[code]
        return (f'{self.mode} {self.call}, variant {self.variant}: {" ".join(lines[0][2:-3])} fails '
                f'with {name}, called at {lines[0][-1]}')


def sweep(what, count, run_one, samples):
    """run_one(mode, N, variant) for every N up to count and beyond until nothing fails any more (a program
    that waits has now more and now fewer calls), in both modes, with every error; by default for about
    samples N alone, with one error each. run_one returns its Injection and raises what is wrong. Two at a
    time."""
    stride = 1 if LONG else max(1, count // samples)
    runs, injected, wrong = 0, 0, []

    def all_of(mode, call):
        """(runs, of which something failed)"""
        done, failed, variant = 0, 0, 0 if LONG else call // stride
        while True:
            injection = run_one(mode, call, variant)
            done += 1
            failed += injection.failed() is not None
            variant += 1
            if not LONG or not injection.failed() or variant >= injection.n_variants():
                return done, failed

    def all_in(pool, calls):
        """Whether something failed."""
        nonlocal runs, injected
        jobs = {pool.submit(all_of, mode, call): (mode, call)
                for call in calls for mode in ('once', 'from')}
        before = injected + len(wrong)
        for job in concurrent.futures.as_completed(jobs):
            try:
                done, failed = job.result()
                runs += done
                injected += failed
            except Exception as error:
                wrong.append(f'{what}: {jobs[job]}: {error}')
                t.say(f'  {wrong[-1]}')
        return injected + len(wrong) > before

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        all_in(pool, range(1, count + 1, stride))
        while LONG and all_in(pool, range(count + 1, count + 1 + BEYOND)):
            count += BEYOND
    t.say(f'  {what}: {count} calls, {runs} runs with {injected} failures, {len(wrong)} wrong')
    t.check(injected, 'nothing was made to fail')
    t.check(not wrong, f'{len(wrong)} of {runs} runs of {what} went wrong; the first: {wrong[:1]}')
