#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gpt2d's configuration file: what comes before what, --check-config, what is refused."""
import os
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpt2w_test as t  # noqa: E402


def check_config(*arguments, code=0):
    done = t.run(t.program('GPT2D'), '--check-config', *arguments, code=code)
    return done.stderr if code else done.stdout


def settings(*arguments):
    """{key: (value, where it is from)}; models in a list."""
    found = {'model': []}
    for line in check_config(*arguments).splitlines():
        if line.startswith(('# ', '[')):
            continue
        setting, origin = line.rsplit(' ; ', 1)
        key, value = setting.split(' =', 1)
        if key == 'model':
            found['model'].append((value.strip(), origin))
        else:
            t.check(key.lstrip('#') not in found, key, 'is printed twice')
            found[key.lstrip('#')] = (None if key[0] == '#' else value.strip(), origin)
    return found


def write(path, *lines):
    path.write_text('[gpt2d]\n' + ''.join(f'{line}\n' for line in lines))
    return path


def test_command_line_over_file_over_default():
    with t.folder() as where:
        config = write(where / 'c', 'socket-mode = 0600', 'store = /a', 'model = m=/m', 'share = file',
                       'memory-max = 1G')
        got = settings('--config', config, '--share=sealed', '--retired-max=5K')
        t.check_equal(got['socket-mode'], ('0600', f'{config}:2'))
        t.check_equal(got['store'], ('/a', f'{config}:3'))
        t.check_equal(got['model'], [('m=/m', str(config))])
        t.check_equal(got['share'], ('sealed', 'command line'))
        t.check_equal(got['memory-max'], (str(1 << 30), f'{config}:6'))
        t.check_equal(got['retired-max'], ('5120', 'command line'))
        t.check_equal(got['pages'], ('auto', 'default'))
        t.check_equal(got['socket-group'], (None, 'default'))
        t.check_equal(settings('--config', config)['retired-max'], (str(1 << 29), 'default'))
        # what is served is said by one of both
        got = settings('--config', config, '--model=x=/x', '--model=y=/y')
        t.check_equal((got['store'], got['model']),
                      ((None, 'default'), [('x=/x', 'command line'), ('y=/y', 'command line')]))
        got = settings('--config', config, '--store=/b')
        t.check_equal((got['store'], got['model']), (('/b', 'command line'), []))
        # what is printed is a file that says the same
        printed = where / 'printed'
        printed.write_text(check_config('--config', config))
        t.check_equal({key: value[0] for key, value in settings('--config', printed).items()
                       if key != 'model'},
                      {key: value[0] for key, value in settings('--config', config).items()
                       if key != 'model'})


def test_refusals_name_file_line_and_key():
    with t.folder() as where:
        config = where / 'c'
        for lines, expected in ((['memory = 1'], '2: there is no key memory; see gpt2d.conf(5)'),
                                (['#', 'pages = x'], '3: pages is "x", not auto|small'),
                                (['store = /a'] * 2, '3: store is given twice, first in line 2')):
            write(config, *lines)
            for options in (['--check-config'], ['--socket', where / 's', '--store', where]):
                done = t.run(t.program('GPT2D'), '--config', config, *options, code=2)
                t.check_equal(done.stderr.splitlines()[0].split(': ', 1)[1], f'{config}:{expected}')
                t.check_equal(done.stdout, '', 'standard output')
        said = check_config('--config', where / 'none', code=2)
        t.check(f'cannot open {where}/none: No such file or directory' in said, said)
        write(config, 'store = /a')
        said = check_config('--config', config, '--pages=x', code=2)
        t.check('--pages is "x", not auto|small' in said, said)
        said = check_config('--config', config, '--model=a=/x', '--model=a=/x', code=2)
        t.check('--model "a" is given twice' in said, said)


def test_served_as_the_file_says():
    """The admin group comes from who may write to the directory."""
    with t.folder() as where:
        store = where / 'store'
        store.mkdir()
        store.chmod(0o755)
        t.make_pack(store / 'm.gpt2w')
        config = write(where / 'c', f'store = {store}', 'socket-mode = 0606', 'pages = small',
                       'max-connections-per-user = 3')
        t.check_equal(settings('--config', config)['admin-group'], (None, 'default'))
        store.chmod(0o775)
        t.check(settings('--config', config)['admin-group'][0] is not None, 'the admin group')
        with t.start_daemon(where, '--config', config) as daemon:
            t.check_equal(os.stat(daemon.path).st_mode & 0o777, 0o606)
            t.check_equal(daemon.status()['max_connections_per_user'], 3)
            t.check(daemon.model('m')['generation'] > 0, daemon.log())
            t.check(f'configured by {config}' in daemon.log(), daemon.log())
            daemon.stop()


def test_passed_socket_keeps_its_mode():
    with t.folder() as where:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.bind(str(where / 's'))
        os.chmod(where / 's', 0o620)
        made.listen()
        script = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&9'
        for lines, said in ((['socket-mode = 0600'], 'socket-mode is 0600, but'),
                            (['socket-group = 4242'], 'socket-group is 4242, but')):
            config = write(where / 'c', f'store = {where}', *lines)
            os.dup2(made.fileno(), 9, inheritable=True)
            done = subprocess.run(['/bin/sh', '-c', script, t.program('GPT2D'), '--config', config],
                                  capture_output=True, text=True, close_fds=False, check=False,
                                  timeout=t.PATIENCE_S)
            os.close(9)
            t.check_equal(done.returncode, 2, done.stderr)
            t.check(said in done.stderr, done.stderr)
            t.check((where / 's').exists(), 'the socket')
        made.close()


def test_installed_example():
    """It is all comments, its keys are those there are, and an administrator's file survives."""
    source = Path(t.program('GPT2W_SOURCE'))
    example = source / 'daemon' / 'gpt2d.conf'
    got = settings('--config', example, '--model=m=/m')
    t.check(all(origin == 'default' for key, (_, origin) in
                ((key, value) for key, value in got.items() if key != 'model')), got)
    keys = {line[1:].split(' =')[0] for line in example.read_text().splitlines()
            if line.startswith('#') and line[1:2].isalpha() and ' =' in line}
    t.check_equal(keys, set(got), 'the keys of the example')
    page = (source / 'daemon' / 'gpt2d.conf.5').read_text()
    t.check_equal({line.split()[2] for line in page.splitlines() if line.startswith('.It Ic ')},
                  set(got), 'the keys of the manual')
    with t.folder() as where:
        install = [source / 'daemon' / 'install-conf', example, '/etc/gpt2d']
        env = {**os.environ, 'DESTDIR': str(where)}
        t.run(*install, env={**env, 'MESON_INSTALL_DRY_RUN': '1'})
        t.check(not (where / 'etc').exists(), 'a dry run')
        t.run(*install, env=env)
        installed = where / 'etc' / 'gpt2d' / 'gpt2d.conf'
        t.check_equal(installed.read_bytes(), example.read_bytes())
        t.check_equal(installed.stat().st_mode & 0o777, 0o644)
        installed.write_text('mine')
        t.check('stays' in t.run(*install, env=env).stdout, 'says so')
        t.check_equal(installed.read_text(), 'mine')


if __name__ == '__main__':
    t.main()
