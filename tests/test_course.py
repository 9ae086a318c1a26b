"How the course shares its notebooks between workers (chapter 90), with chapters that only take notes"
import threading
import time
from pathlib import Path

import nbformat
import pytest
from covid_xray import course

CHAIN, FREE = [Path(f'{n}.ipynb') for n in ('10', '11', '12', '17')], [Path(f'{n}.ipynb') for n in ('00', '01', '02', '13c', '18')]


@pytest.fixture
def started(monkeypatch):
    "Which notebook began, and which were running then"
    log, now, lock = [], set(), threading.Lock()

    def run(path, out, threads=None, **params):
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
