"Every notebook, executed in order by papermill as the course command does it"
import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import NBS, ROOT

ORDER = [p.stem for p in NBS if not p.name.startswith('90')]


def finished_course():
    "What README's first command made (in COVID_XRAY_COURSE or runs/course), if it is the whole course on phantoms and nothing changed since; else None"
    from covid_xray.course import finished
    out = Path(os.environ.get('COVID_XRAY_COURSE', ROOT/'runs'/'course'))
    made = [p.stat().st_mtime for p in (*out.glob('notebooks/*.ipynb'), *out.glob('*/stage*/stage.json'))]
    newest = max(p.stat().st_mtime for p in (*NBS, *(ROOT/'covid_xray').glob('*.py')))
    if made and min(made)>newest and finished(out, data='phantom', profile='quick', seed=0): return out, pd.read_json(out/'course.json').set_index('notebook')


@pytest.fixture(scope='session')
def course(tmp_path_factory):
    "The whole course on phantoms: (folder, table). Made once, by README's first command or here"
    from covid_xray.course import run_course
    if (made := finished_course()): return made
    out = tmp_path_factory.mktemp('course')
    return out, run_course(out, data='phantom', profile='quick', seed=0).set_index('notebook')


@pytest.mark.parametrize('name', ORDER)
def test_notebook_runs(course, name):
    out, table = course
    assert table.status[name]=='ok'
    nb = nbformat.read(out/'notebooks'/f'{name}.ipynb', 4)
    assert not [o for c in nb.cells if c.cell_type=='code' for o in c.outputs if o.output_type=='error']
    shown = [o for c in nb.cells if c.cell_type=='code' for o in c.outputs]
    assert shown, 'a chapter that shows nothing'


@pytest.mark.parametrize('name', ORDER)
def test_unsolved_exercises_fail(course, name):
    nb = nbformat.read(course[0]/'notebooks'/f'{name}.ipynb', 4)
    said = [''.join(o.get('text', '') for o in c.outputs) for c in nb.cells if 'check' in c.metadata.get('tags', [])]
    assert len(said)>=2
    for s in said: assert re.search(r'^Exercise \S+: not yet', s, re.M) and not re.search(r'^Exercise \S+: right', s, re.M)


def test_a_course_older_than_its_sources_is_not_taken(course, tmp_path, monkeypatch):
    shutil.copytree(course[0]/'notebooks', tmp_path/'notebooks') # copies keep their times
    shutil.copy(course[0]/'course.json', tmp_path)
    monkeypatch.setenv('COVID_XRAY_COURSE', str(tmp_path))
    assert finished_course()
    os.utime(tmp_path/'notebooks'/'00_core.ipynb', (0, 0))
    assert finished_course() is None
    monkeypatch.setenv('COVID_XRAY_COURSE', str(tmp_path/'nowhere'))
    assert finished_course() is None


def test_course_writes_its_table(course):
    rows = json.loads((course[0]/'course.json').read_text(encoding='utf-8'))
    assert [r['notebook'] for r in rows]==ORDER and all(r['seconds']>0 for r in rows)


def stage_folders(out, k): return sorted(out.glob(f'covid_resnet-phantom-quick-efficientnet_lite0-seed0/stage{k}_*'))


@pytest.mark.parametrize('k', [1, 2, 3])
def test_stage_left_its_artefacts(course, k):
    from covid_xray.covid_resnet import PROFILES
    stage = PROFILES['quick']['stages'][k-1]
    folder, = stage_folders(course[0], k)
    rec, hist = json.loads((folder/'stage.json').read_text(encoding='utf-8')), pd.read_csv(folder/'history.csv')
    assert (folder/'weights.safetensors').stat().st_size>1e6
    assert not (folder/'checkpoint.pt').exists() and not list(folder.glob('.*.tmp*'))
    assert rec['config']['stage']['size']==stage.size
    assert list(zip(hist.phase, hist.epoch))==[('head', i) for i in range(stage.head_epochs)] + [('body', i) for i in range(stage.body_epochs)]
    assert {'torch', 'fastai'} <= set(rec['versions']) and rec['seconds']>0


def test_stages_are_chained_and_grow(course):
    recs = [json.loads((stage_folders(course[0], k)[0]/'stage.json').read_text(encoding='utf-8')) for k in (1, 2, 3)]
    assert [r['config']['init'] for r in recs]==['imagenet', recs[0]['key'], recs[1]['key']]
    sizes = [r['config']['stage']['size'] for r in recs]
    assert sizes==sorted(set(sizes))


def test_the_quick_profile_learns(course):
    run = course[0]/'covid_resnet-phantom-quick-efficientnet_lite0-seed0'
    report = json.loads((run/'report.json').read_text(encoding='utf-8'))
    assert report['accuracy']['value']>=.85
    preds = pd.read_csv(run/'predictions.csv')
    assert len(preds)==report['n'] and (preds.columns[2:]==report['confusion']['labels']).all()
    assert json.loads((run/'looks.json').read_text(encoding='utf-8')), 'a look at the test set must be recorded'


def test_figures_are_there(course):
    for name in ('03_curation', '10_stage1_128', '12_stage3_229', '12b_rates', '13b_figures'):
        nb = nbformat.read(course[0]/'notebooks'/f'{name}.ipynb', 4)
        assert sum('image/png' in o.get('data', {}) for c in nb.cells if c.cell_type=='code' for o in c.outputs)>=2, name


def test_a_papermill_parameter_takes_effect(tmp_path):
    from covid_xray.course import run_notebook
    for seed in (0, 7):
        row = run_notebook(ROOT/'nbs'/'13d_threshold.ipynb', tmp_path/str(seed), seed=seed)
        assert row['status']=='ok'
    texts = []
    for seed in (0, 7):
        nb = nbformat.read(tmp_path/str(seed)/'notebooks'/'13d_threshold.ipynb', 4)
        injected = [c for c in nb.cells if 'injected-parameters' in c.metadata.get('tags', [])]
        assert f'seed = {seed}' in injected[0].source
        texts.append(json.dumps([o.get('data', {}).get('text/plain') or o.get('text') for c in nb.cells if c.cell_type=='code' for o in c.outputs]))
    assert texts[0]!=texts[1], 'another seed must draw other patients'
