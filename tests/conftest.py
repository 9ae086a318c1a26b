"Shared fixtures: a folder for runs, the executed course, and the real radiographs where COVID_XRAY_DATA points at them"
import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest

if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1') # two workers side by side: a thread each

ROOT = Path(__file__).resolve().parent.parent
NBS = sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))
SOLUTIONS = sorted((ROOT/'nbs'/'_solutions').glob('*.ipynb'))


def pytest_collection_modifyitems(items):
    "The longest files first, so that both workers end at about the same time (each takes its first two files at once)"
    first = ['test_notebooks.py', 'test_notebooks_alone.py', 'test_quarantine.py', 'test_commands.py']
    items.sort(key=lambda i: first.index(i.path.name) if i.path.name in first else len(first))


@pytest.fixture(scope='session')
def root(): return ROOT


@pytest.fixture(scope='session')
def real_data():
    "The data root with the real collections; tests that ask for it are skipped elsewhere"
    path = os.environ.get('COVID_XRAY_DATA')
    if not path or not (Path(path)/'kermany').is_dir(): pytest.skip('COVID_XRAY_DATA does not point at the real collections')
    return Path(path).absolute()


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    "A folder for runs in which the course's phantoms are drawn already, once for both workers"
    from covid_xray.core import get_settings
    from covid_xray.curation import load_data
    base = tmp_path_factory.getbasetemp()
    runs = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base)/'drawn'
    load_data('phantom', get_settings(runs=runs))
    return runs


@pytest.fixture(scope='session')
def phantoms(tmp_path_factory):
    "A small phantom data set"
    from covid_xray.core import get_settings
    from covid_xray.curation import load_data
    return load_data('phantom', get_settings(runs=tmp_path_factory.mktemp('phantoms')), per_class=6)


@pytest.fixture(scope='session')
def own_folder(tmp_path_factory, phantoms):
    "A folder of one's own, in the layout train/<class>, test/<class>"
    import shutil
    folder = tmp_path_factory.mktemp('own')
    for _, r in phantoms.manifest.iterrows():
        to = folder/r.split/r.label/Path(r.path).name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(phantoms.root/r.path, to)
    return folder


@pytest.fixture
def command(tmp_path):
    "Run one of our commands (or `python` with a script) as a user would; returns the finished process. It is forked where that can be done, unless `script`: then the installed script runs, and loads all by itself"
    def run(name, *args, runs=None, data=None, timeout=900, script=False):
        from covid_xray.course import can_fork
        env = dict(os.environ, COVID_XRAY_RUNS=str(runs or tmp_path/'runs'))
        if data: env['COVID_XRAY_DATA'] = str(data)
        argv = [*([] if name=='python' else [str(Path(sys.executable).with_name(name))]), *map(str, args)]
        if can_fork() and not script: return forked.run(argv, env, ROOT, timeout)
        return subprocess.run([sys.executable, *argv] if name=='python' else argv, capture_output=True, text=True, env=env, timeout=timeout, cwd=ROOT)
    return run


def one_line_error(p):
    "A user's mistake ends with status 1, one line that says `error:`, and no traceback"
    assert p.returncode==1, (p.returncode, p.stdout[-500:], p.stderr[-2000:])
    assert 'Traceback' not in p.stderr, p.stderr[-3000:]
    lines = [ln for ln in p.stderr.splitlines() if ln.startswith('error:')]
    assert len(lines)==1, p.stderr[-2000:]
    return lines[0]
