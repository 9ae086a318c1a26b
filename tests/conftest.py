"Shared fixtures: a folder for runs, the executed course, and the real radiographs where COVID_XRAY_DATA points at them"
import os
import subprocess
import sys
from pathlib import Path

import pytest

if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1') # two workers side by side: a thread each

ROOT = Path(__file__).resolve().parent.parent
NBS = sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))


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
    "Run one of our commands (or `python`) as a user would; returns the finished process"
    def run(*args, runs=None, data=None, timeout=900, **kw):
        env = dict(os.environ, COVID_XRAY_RUNS=str(runs or tmp_path/'runs'))
        if data: env['COVID_XRAY_DATA'] = str(data)
        exe = [sys.executable] if args[0]=='python' else [str(Path(sys.executable).with_name(args[0]))]
        return subprocess.run([*exe, *map(str, args[1:])], capture_output=True, text=True, env=env, timeout=timeout, cwd=ROOT, **kw)
    return run


def one_line_error(p):
    "A user's mistake ends with status 1, one line that says `error:`, and no traceback"
    assert p.returncode==1, (p.returncode, p.stdout[-500:], p.stderr[-2000:])
    assert 'Traceback' not in p.stderr, p.stderr[-3000:]
    lines = [ln for ln in p.stderr.splitlines() if ln.startswith('error:')]
    assert len(lines)==1, p.stderr[-2000:]
    return lines[0]
