"How the course shares its notebooks between workers (chapter 90), with chapters that only take notes, and its forked kernels"
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from covid_xray import course
from covid_xray.core import CourseError

CHAIN, FREE = [Path(f'{n}.ipynb') for n in ('10', '11', '12', '17')], [Path(f'{n}.ipynb') for n in ('00', '01', '02', '13c', '18')]


@pytest.fixture
def started(monkeypatch):
    "Which notebook began, and which were running then"
    log, now, lock = [], set(), threading.Lock()

    def run(path, out, threads=None, forked=False, **params):
        with lock:
            now.add(path)
            log.append((path, frozenset(now), threads))
        time.sleep(.02)
        with lock: now.discard(path)
        return dict(notebook=path.stem, seconds=0., status='ok')
    monkeypatch.setattr(course, 'run_notebook', run)
    monkeypatch.setattr(course, 'notebook_parameters', lambda path, **wanted: dict(profile='quick') if path in CHAIN else {})
    return log


@pytest.mark.parametrize('profile', ['quick', 'cpu'])
@pytest.mark.parametrize('workers', [1, 2, 3])
def test_every_notebook_once_and_those_that_train_in_order(started, tmp_path, profile, workers):
    rows = list(course.run_notebooks(sorted(CHAIN+FREE), tmp_path, workers, profile=profile))
    assert sorted(r['notebook'] for r in rows)==sorted(p.stem for p in CHAIN+FREE)
    assert [p for p,_,_ in started if p in CHAIN]==CHAIN
    assert max(len(beside) for _,beside,_ in started)<=workers
    assert all(len(beside & set(CHAIN))<=1 for _,beside,_ in started)


def test_in_quick_nobody_waits(started, tmp_path, monkeypatch):
    "Each notebook waits for a second one beside it: alone it would wait for ever"
    together = threading.Barrier(2, timeout=10)
    monkeypatch.setattr(course, 'run_notebook', lambda path, *args, **kw: dict(notebook=path.stem, turn=together.wait()))
    assert len(list(course.run_notebooks(sorted(CHAIN+FREE+[Path('07.ipynb')]), tmp_path, 2)))==10


def test_long_trainings_come_last_and_have_all_cores(started, tmp_path):
    list(course.run_notebooks(sorted(CHAIN+FREE), tmp_path, 2, profile='cpu'))
    assert [p in CHAIN for p,_,_ in started]==[False]*len(FREE)+[True]*len(CHAIN)
    assert all(beside=={p} and threads is None for p,beside,threads in started if p in CHAIN)


def test_a_chapter_with_data_waits_until_the_phantoms_are_drawn(started, tmp_path, monkeypatch):
    "The others need not wait; if the drawing fails, so does the course"
    order = []
    def draw(out):
        time.sleep(.3)
        order.append('drawn')
    monkeypatch.setattr(course, 'can_fork', lambda: True)
    monkeypatch.setattr(course, 'draw_ahead', draw)
    monkeypatch.setattr(course, 'notebook_parameters', lambda path, **wanted: dict(profile='quick') if path in CHAIN else dict(data='phantom') if path==FREE[-1] else {})
    run = course.run_notebook
    monkeypatch.setattr(course, 'run_notebook', lambda path, *args, **kw: order.append(path) or run(path, *args, **kw))
    rows = list(course.run_notebooks(sorted(CHAIN+FREE), tmp_path, 2, data='phantom'))
    assert sorted(r['notebook'] for r in rows)==sorted(p.stem for p in CHAIN+FREE)
    before = order[:order.index('drawn')]
    assert before and not {*CHAIN, FREE[-1]} & set(before)
    def fail(out): raise CourseError('no room')
    monkeypatch.setattr(course, 'draw_ahead', fail)
    with pytest.raises(CourseError, match='no room'): list(course.run_notebooks(sorted(CHAIN+FREE), tmp_path, 2, data='phantom'))


def test_two_at_once_each_in_its_own_folder_and_we_in_ours(tmp_path):
    folders = [tmp_path/'a', tmp_path/'b']
    for d in folders:
        d.mkdir()
        cell = nbformat.v4.new_code_cell('import os, time; time.sleep(.3); print(os.getcwd())')
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=dict(kernelspec=dict(name='python3', display_name='python3', language='python'))), d/f'{d.name}.ipynb')
    here = Path.cwd()
    rows = list(course.run_notebooks([d/f'{d.name}.ipynb' for d in folders], tmp_path/'out'))
    assert [r['status'] for r in rows]==['ok']*2
    assert Path.cwd()==here
    for d in folders:
        said = nbformat.read(tmp_path/'out'/'notebooks'/f'{d.name}.ipynb', 4).cells[-1].outputs[0].text
        assert Path(said.strip()).resolve()==d.resolve()


def test_a_course_started_from_a_notebook_is_not_watched(tmp_path, monkeypatch):
    monkeypatch.setenv('JPY_SESSION_NAME', 'mine.ipynb')
    path = book(tmp_path, 'a.ipynb', 'from covid_xray.notebook import is_live\nprint(is_live())')
    assert course.run_notebook(path, tmp_path, threads=1)['status']=='ok'
    assert nbformat.read(tmp_path/'notebooks'/'a.ipynb', 4).cells[-1].outputs[0].text.strip()=='False'


def book(folder, name, *sources):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    nb.metadata.kernelspec = dict(name='python3', display_name='python3', language='python')
    nbformat.write(nb, folder/name)
    return folder/name


def test_kernels_are_forked_only_for_many_short_chapters(tmp_path, monkeypatch):
    "Loading everything costs as much as four chapters; long trainings want all cores"
    seen, few, many = [], FREE[:2], sorted(CHAIN+FREE)
    monkeypatch.setattr(course, 'run_notebook', lambda path, out, threads=None, forked=False, **kw: seen.append(forked) or dict(notebook=path.stem))
    monkeypatch.setattr(course, 'notebook_parameters', lambda path, **wanted: {})
    for able, paths, profile, want in [(True, many, 'quick', {True}), (True, few, 'quick', {False}), (True, many, 'cpu', {False}), (False, many, 'quick', {False})]:
        monkeypatch.setattr(course, 'can_fork', lambda: able)
        list(course.run_notebooks(paths, tmp_path, 2, profile=profile))
        assert set(seen)==want
        seen.clear()


@pytest.mark.skipif(not course.can_fork(), reason='forks only on Linux without a GPU')
def test_a_forked_kernel_is_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setenv('A_LUNG', 'left')
    path = book(tmp_path, 'a.ipynb', 'import os, tempfile, atexit; t = tempfile.TemporaryDirectory(); print(os.environ["A_LUNG"], t.name)',
                'import matplotlib.pyplot as plt; plt.plot([1, 2]);',
                'import torch; from torch.utils.data import DataLoader; print(sum(len(b) for b in DataLoader(list(range(6)), 2, num_workers=2)))',
                '%%bash\necho "$A_LUNG"', '1/0')
    row = course.run_notebook(path, tmp_path, threads=1, forked=True)
    assert row['status']=='ZeroDivisionError: division by zero'
    env, plot, loaded, shell, _ = [c.outputs for c in nbformat.read(tmp_path/'notebooks'/'a.ipynb', 4).cells if c.cell_type=='code']
    word, folder = env[0].text.split()
    assert word=='left' and not Path(folder).exists(), 'temporary folders go with the kernel'
    assert 'image/png' in plot[-1].data
    assert loaded[-1].text.strip()=='6' and shell[-1].text.strip()=='left'


@pytest.mark.parametrize('forked', [False, pytest.param(True, marks=pytest.mark.skipif(not course.can_fork(), reason='forks only on Linux without a GPU'))])
@pytest.mark.skipif(sys.platform=='win32', reason='there a kernel needs ports')
def test_a_port_that_somebody_else_took_stops_no_kernel(tmp_path, monkeypatch, forked):
    "jupyter looks for free ports, and the kernel binds them later: who comes in between must not end it"
    from jupyter_client.connect import LocalPortCache
    path = book(tmp_path, 'a.ipynb', 'import json\nfrom ipykernel import get_connection_info\nprint(json.loads(get_connection_info())["ip"])')
    with socket.create_server(('127.0.0.1', 0)) as other:
        monkeypatch.setattr(LocalPortCache, 'find_available_port', lambda self, ip: other.getsockname()[1])
        assert course.run_notebook(path, tmp_path, threads=1, forked=forked)['status']=='ok'
    place = Path(nbformat.read(tmp_path/'notebooks'/'a.ipynb', 4).cells[-1].outputs[0].text.strip())
    assert place.is_absolute() and not place.parent.exists(), 'its folder goes with it'


@pytest.mark.skipif(sys.platform=='win32', reason='there a kernel needs ports')
def test_where_the_folder_for_temporary_files_lies_too_deep_there_are_ports(tmp_path, monkeypatch):
    deep = tmp_path/('d'*100)
    deep.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(deep))
    assert course.run_notebook(book(tmp_path, 'a.ipynb', '1+1'), tmp_path)['status']=='ok'


@pytest.mark.skipif(not course.can_fork(), reason='forks only on Linux without a GPU')
def test_a_script_without_a_guard_is_not_run_again_by_its_kernels(tmp_path):
    path, script = book(tmp_path, 'a.ipynb', 'import sys; print(sys.argv[0], sys.argv[-1])'), tmp_path/'mine.py'
    script.write_text(f'print("begun")\nfrom covid_xray.course import run_notebook\nprint(run_notebook({str(path)!r}, {str(tmp_path)!r}, forked=True))\n')
    for how in ([script], ['-']):
        ran = subprocess.run([sys.executable, *how], input=script.read_text(), capture_output=True, text=True, timeout=120)
        assert ran.stdout.count('begun')==1 and "'status': 'ok'" in ran.stdout, ran.stdout+ran.stderr
    argv = nbformat.read(tmp_path/'notebooks'/'a.ipynb', 4).cells[-1].outputs[0].text
    assert 'ipykernel_launcher.py' in argv and 'parent_handle' not in argv


@pytest.mark.skipif(not course.can_fork(), reason='forks only on Linux without a GPU')
def test_forked_kernels_draw_chance_of_their_own(tmp_path):
    drawn = set()
    for name in 'abc':
        path = book(tmp_path, f'{name}.ipynb', 'import random, numpy as np, torch; print(random.random(), np.random.rand(), torch.rand(1).item())')
        assert course.run_notebook(path, tmp_path, threads=1, forked=True)['status']=='ok'
        drawn |= set(nbformat.read(tmp_path/'notebooks'/path.name, 4).cells[-1].outputs[0].text.split())
    assert len(drawn)==9


@pytest.mark.skipif(not course.can_fork(), reason='forks only on Linux without a GPU')
def test_a_forked_kernel_computes_with_as_many_threads_as_it_is_told(tmp_path):
    "Whatever the process it is forked from read in its environment; asked for by a process of its own, for that one lives as long as we do"
    path = book(tmp_path, 'a.ipynb', 'import torch, sklearn, threadpoolctl; print({torch.get_num_threads(), *(d["num_threads"] for d in threadpoolctl.threadpool_info())})')
    code = (f'from covid_xray.course import forked_kernels, run_notebook; from multiprocessing import forkserver; forked_kernels(); forkserver.ensure_running(); '
            f'print(run_notebook({str(path)!r}, {str(tmp_path)!r}, threads=1, forked=True))')
    env = dict(os.environ, OMP_NUM_THREADS='3', PYTHONPATH=str(ROOT))
    ran = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120, env=env)
    assert "'status': 'ok'" in ran.stdout, ran.stdout+ran.stderr
    assert nbformat.read(tmp_path/'notebooks'/'a.ipynb', 4).cells[-1].outputs[0].text.strip()=='{1}'


def test_the_process_to_fork_from_is_started_with_the_share_of_a_worker(tmp_path, monkeypatch):
    "The libraries that it loads, the threads that they start included, see how many cores there are for each"
    seen = []
    monkeypatch.setattr(course, 'can_fork', lambda: True)
    monkeypatch.setattr(course, 'draw_ahead', lambda out: seen.append(os.environ['OMP_NUM_THREADS']))
    monkeypatch.setattr(course, 'notebook_parameters', lambda path, **wanted: {})
    monkeypatch.setattr(course, 'run_notebook', lambda path, *args, **kw: dict(notebook=path.stem))
    list(course.run_notebooks(sorted(CHAIN+FREE), tmp_path, os.cpu_count() or 1, data='phantom'))
    assert seen==['1']


@pytest.mark.skipif(not course.can_fork(), reason='forks only on Linux without a GPU')
def test_a_forked_kernel_ends_with_whoever_asked_for_it(tmp_path):
    "Killed, not asked to stop: then nobody is left to tell the kernel"
    path = book(tmp_path, 'a.ipynb', f'import os, time; open({str(tmp_path/"pid")!r}, "w").write(str(os.getpid()))', 'time.sleep(300)')
    code = f'from covid_xray.course import run_notebook; run_notebook({str(path)!r}, {str(tmp_path)!r}, forked=True)'
    parent = subprocess.Popen([sys.executable, '-c', code])
    try:
        for _ in range(600):
            if (tmp_path/'pid').is_file() and (tmp_path/'pid').read_text(): break
            time.sleep(.1)
        kernel = int((tmp_path/'pid').read_text())
    finally:
        parent.kill()
        parent.wait()
    for _ in range(100):
        if not Path(f'/proc/{kernel}').exists(): return
        time.sleep(.1)
    pytest.fail(f'kernel {kernel} still runs')


def test_a_dead_kernel_is_a_row_and_its_old_copy_is_gone(tmp_path):
    cell = nbformat.v4.new_code_cell('import os; os._exit(3)')
    kernel = dict(name='python3', display_name='python3', language='python')
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=dict(kernelspec=kernel)), tmp_path/'01_dies.ipynb')
    copy = tmp_path/'out'/'notebooks'/'01_dies.ipynb'
    copy.parent.mkdir(parents=True)
    copy.write_text('of yesterday, and whole')
    assert 'Kernel died' in course.run_notebook(tmp_path/'01_dies.ipynb', tmp_path/'out')['status']
    assert not copy.exists()


@pytest.mark.parametrize('what', [b'{"cells": [', b'[1, 2]', b'\xff\xfe', b''])
def test_what_is_no_notebook_is_named(tmp_path, what):
    (tmp_path/'01_bad.ipynb').write_bytes(what)
    with pytest.raises(CourseError, match='01_bad.ipynb is not a notebook .*: restore it'): course.notebook_parameters(tmp_path/'01_bad.ipynb', seed=1)
