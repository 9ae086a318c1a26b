"A notebook opened first in a fresh clone, and every notebook by itself with nbdev_test"
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture(scope='module')
def stage2_first(tmp_path_factory):
    "Chapter 11 opened first, in an empty runs folder, as in a fresh clone: (folder, its row of the table)"
    from covid_xray.course import run_notebook
    out = tmp_path_factory.mktemp('alone')
    return out, run_notebook(ROOT/'nbs'/'11_stage2_224.ipynb', out)


def test_stage2_opened_first_makes_what_it_needs(stage2_first):
    out, row = stage2_first
    assert row['status']=='ok'
    assert len(list(out.glob('covid_resnet-*/stage*/stage.json')))==2


def test_every_notebook_by_itself_in_parallel(stage2_first):
    "nbdev_test, as CI runs it: any order, two at a time, one thread each so that they do not fight for the cores"
    env = dict(os.environ, COVID_XRAY_RUNS=str(stage2_first[0]), OMP_NUM_THREADS='1')
    p = subprocess.run([str(Path(sys.executable).with_name('nbdev_test')), '--n_workers', '2'], cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800)
    assert p.returncode==0, p.stdout[-3000:]+p.stderr[-3000:]
