"The eight commands, as a user types them: what they promise, and what they say when the user is wrong"
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, one_line_error

COMMANDS = ['covid_xray_audit', 'covid_xray_course', 'covid_xray_curate', 'covid_xray_download', 'covid_xray_train', 'covid_xray_evaluate', 'covid_xray_predict', 'covid_xray_search']


@pytest.mark.parametrize('name', COMMANDS)
def test_help(command, name):
    p = command(name, '--help', script=True)
    assert p.returncode==0 and 'usage' in p.stdout


@pytest.fixture(scope='module')
def trained(tmp_path_factory, own_folder):
    "A run trained by the command on a small folder of one's own: (folder of the run, the finished process)"
    tmp = tmp_path_factory.mktemp('trained')
    env = dict(os.environ, COVID_XRAY_RUNS=str(tmp/'runs'))
    exe = str(Path(sys.executable).with_name('covid_xray_train'))
    p = subprocess.run([exe, '--data', str(own_folder), '--profile', 'quick', '--out', str(tmp/'run')], capture_output=True, text=True, env=env, cwd=ROOT)
    assert p.returncode==0, p.stderr[-3000:]
    return tmp/'run', p


def test_train_writes_the_report(trained):
    run, p = trained
    r = json.loads((run/'report.json').read_text(encoding='utf-8'))
    assert {'accuracy', 'per_class', 'confusion', 'n', 'data', 'arch', 'profile', 'seed', 'manifest_sha256', 'versions', 'commit', 'seconds'} <= set(r)
    for c in r['confusion']['labels']:
        for m in ('sensitivity', 'ppv', 'f1', 'auroc'):
            e = r['per_class'][c][m]
            assert {'value', 'low', 'high'} <= set(e)
            if e['value'] is not None: assert e['low']<=e['value']<=e['high'], (c, m, e)
    assert sum(map(sum, r['confusion']['matrix']))==r['n']
    assert 'accuracy' in p.stdout and 'Not a medical device' in p.stdout


def test_predictions_agree_with_the_report(trained):
    run, _ = trained
    r, preds = json.loads((run/'report.json').read_text(encoding='utf-8')), pd.read_csv(run/'predictions.csv')
    labels = r['confusion']['labels']
    assert list(preds.columns)==['image_id', 'label', *labels]
    assert np.allclose(preds[labels].sum(axis=1), 1, atol=1e-4)
    assert (preds[labels].idxmax(axis=1)==preds.label).mean()==pytest.approx(r['accuracy']['value'])


def test_train_again_trains_nothing(trained, own_folder, command):
    run, _ = trained
    before = {p: p.stat().st_mtime_ns for p in run.glob('stage*/*.safetensors')}
    p = command('covid_xray_train', '--data', own_folder, '--profile', 'quick', '--out', run)
    assert p.returncode==0, p.stderr[-2000:]
    assert {p: p.stat().st_mtime_ns for p in run.glob('stage*/*.safetensors')}==before


def test_train_with_other_settings_is_refused(trained, own_folder, command):
    assert 'choose another --out' in one_line_error(command('covid_xray_train', '--data', own_folder, '--seed', 3, '--out', trained[0]))


def test_evaluate_again_gives_the_same(trained, command):
    run, _ = trained
    before = json.loads((run/'report.json').read_text(encoding='utf-8'))
    p = command('covid_xray_evaluate', run, script=True)
    assert p.returncode==0, p.stderr[-2000:]
    after = json.loads((run/'report.json').read_text(encoding='utf-8'))
    assert after['confusion']==before['confusion'] and after['accuracy']==before['accuracy']
    assert len(json.loads((run/'looks.json').read_text(encoding='utf-8')))>=2


def test_validate_spends_no_look(trained, command, tmp_path):
    import shutil
    run = Path(shutil.copytree(trained[0], tmp_path/'run'))
    looks = (run/'looks.json').read_bytes()
    p = command('covid_xray_evaluate', run, '--split', 'valid')
    assert p.returncode==0, p.stderr[-2000:]
    assert 'validation images' in p.stdout and (run/'looks.json').read_bytes()==looks
    r = json.loads(next(run.glob('stage3*/report.json')).read_text(encoding='utf-8'))
    assert r['split']=='valid' and r['n']>0
    assert '--split valid' in one_line_error(command('covid_xray_evaluate', run, '--split', 'valid', '--data', 'phantom'))


def test_evaluate_on_another_data_set(trained, command, drawn):
    run, _ = trained
    p = command('covid_xray_evaluate', run, '--data', 'phantom', runs=drawn)
    assert p.returncode==0, p.stderr[-2000:]
    r = json.loads((run/'evaluations'/'phantom'/'report.json').read_text(encoding='utf-8'))
    assert r['data']=='phantom' and r['n']>0


def test_predict(trained, command, own_folder, tmp_path):
    run, _ = trained
    files = sorted((own_folder/'test').glob('*/*.png'))[:3]
    bad = tmp_path/'torn.jpg'
    bad.write_bytes(b'\xff\xd8\xff\xe0 torn')
    p = command('covid_xray_predict', run, files[0], bad, *files[1:], '--csv', tmp_path/'out.csv')
    assert p.returncode==1 and 'Traceback' not in p.stderr
    df = pd.read_csv(tmp_path/'out.csv')
    assert df.file.tolist()==[str(f) for f in (files[0], bad, *files[1:])], 'one row a file, in the order given'
    assert df.error.notna().tolist()==[False, True, False, False]
    labels = [c for c in df.columns if c not in ('file', 'error')]
    assert np.allclose(df[labels].sum(axis=1)[[0, 2, 3]], 1, atol=1e-4) and df.loc[1, labels].isna().all()
    assert command('covid_xray_predict', run, *files, script=True).returncode==0


def test_curate(command, own_folder, tmp_path):
    p = command('covid_xray_curate', '--data', own_folder, '--out', tmp_path/'m.csv')
    assert p.returncode==0, p.stderr[-2000:]
    df = pd.read_csv(tmp_path/'m.csv')
    assert df.image_id.is_unique and {'train', 'test'}==set(df.split)
    for label in ('normal', 'bacterial', 'viral', 'covid'): assert label in p.stdout


# --- what the user got wrong ---

def nowhere(tmp_path): return tmp_path/'file.txt'/'below'


def test_an_empty_data_root(command, tmp_path):
    (tmp_path/'empty').mkdir()
    for name in ('covidx_v1', 'kermany'):
        assert 'COVID_XRAY_DATA' in one_line_error(command('covid_xray_curate', '--data', name, data=tmp_path/'empty'))


@pytest.mark.parametrize('args, remedy', [
    (['covid_xray_curate', '--data', 'covidx_v9'], 'covidx_v1'),
    (['covid_xray_train', '--data', 'covidx_v9', '--out', 'OUT'], 'covidx_v1'),
    (['covid_xray_train', '--profile', 'fast', '--out', 'OUT'], 'quick, cpu, paper'),
    (['covid_xray_train', '--arch', 'resnet51', '--out', 'OUT'], 'resnet50'),
    (['covid_xray_train', '--recipe', 'covid_net', '--out', 'OUT'], 'covid_resnet'),
    (['covid_xray_train'], '--out'),
    (['covid_xray_train', '--device', 'tpu', '--out', 'OUT'], 'cpu'),
    (['covid_xray_train', '--device', 'mps', '--out', 'OUT'], 'cpu'),
    (['covid_xray_train', '--seed', '-1', '--out', 'OUT'], 'from 0 to'),
    (['covid_xray_train', '--seed', str(2**32), '--out', 'OUT'], 'from 0 to'),
    (['covid_xray_course', '--seed', '-1'], 'from 0 to'),
    (['covid_xray_course', '--profile', 'fast'], 'quick, cpu, paper'),
    (['covid_xray_course', '--data', 'covidx_v9'], 'covidx_v1'),
    (['covid_xray_course', '--student', '--site'], 'without --site'),
    (['covid_xray_evaluate', 'no_such_run'], 'covid_xray_train'),
    (['covid_xray_evaluate', 'no_such_run', '--split', 'valid'], 'covid_xray_train'),
    (['covid_xray_evaluate', 'no_such_run', '--split', 'train'], 'test, valid'),
    (['covid_xray_predict', 'no_such_run', 'a.png'], 'covid_xray_train'),
], ids=lambda a: ' '.join(a) if isinstance(a, list) else '')
def test_unknown_names(command, tmp_path, args, remedy):
    line = one_line_error(command(*[str(tmp_path/'out') if a=='OUT' else a for a in args]))
    assert remedy in line, line
    assert not (tmp_path/'out').exists(), 'nothing half-written'


def test_a_folder_without_test_images_is_refused_before_training(command, own_folder, tmp_path):
    import shutil
    shutil.copytree(own_folder/'train', tmp_path/'own'/'train')
    assert 'no test images' in one_line_error(command('covid_xray_train', '--data', tmp_path/'own', '--out', tmp_path/'run'))
    assert not (tmp_path/'run').exists()


@pytest.mark.parametrize('name, text', [('stages.json', '[]'), ('run.json', '{}'), ('run.json', '[]'), ('stages.json', '{"half')])
def test_a_damaged_record(trained, command, tmp_path, name, text):
    import shutil
    shutil.copytree(trained[0], tmp_path/'run')
    (tmp_path/'run'/name).write_text(text)
    assert 'damaged' in one_line_error(command('covid_xray_evaluate', tmp_path/'run'))


def test_an_unwritable_out(command, own_folder, tmp_path):
    (tmp_path/'file.txt').write_text('in the way')
    for args in (['covid_xray_curate', '--data', own_folder, '--out', nowhere(tmp_path)/'m.csv'],
                 ['covid_xray_train', '--data', own_folder, '--out', nowhere(tmp_path)],
                 ['covid_xray_course', '--out', nowhere(tmp_path)]):
        assert '--out' in one_line_error(command(*args))


def test_a_course_on_one_class_ends_before_it_begins(command, tmp_path, own_folder):
    shutil.copytree(own_folder/'train'/'normal', tmp_path/'one'/'train'/'normal')
    assert 'has a single class' in one_line_error(command('covid_xray_course', '--data', tmp_path/'one', '--out', tmp_path/'out'))
    assert not (tmp_path/'out').exists()



def test_a_truncated_jpeg_stops_training_and_leaves_nothing(command, own_folder, tmp_path):
    import shutil
    from PIL import Image
    shutil.copytree(own_folder, tmp_path/'own')
    f = sorted((tmp_path/'own'/'train'/'covid').iterdir())[0]
    Image.open(f).save(tmp_path/'own'/'train'/'covid'/'torn.jpg', quality=90)
    torn = tmp_path/'own'/'train'/'covid'/'torn.jpg'
    torn.write_bytes(torn.read_bytes()[:-2000])
    line = one_line_error(command('covid_xray_train', '--data', tmp_path/'own', '--out', tmp_path/'run'))
    assert 'torn.jpg' in line
    assert not list((tmp_path/'runs').rglob('*.npy')) and not (tmp_path/'run'/'report.json').exists()


def test_a_damaged_run(trained, command, tmp_path):
    import shutil
    shutil.copytree(trained[0], tmp_path/'run')
    w = sorted((tmp_path/'run').glob('stage3*/weights.safetensors'))[0]
    w.write_bytes(w.read_bytes()[:5000])
    assert 'weights' in one_line_error(command('covid_xray_evaluate', tmp_path/'run'))


# --- killed and called again ---

@pytest.mark.skipif(sys.platform=='win32', reason='SIGINT')
def test_ctrl_c_ends_the_course_with_one_line(tmp_path):
    exe, nbs = str(Path(sys.executable).with_name('covid_xray_course')), tmp_path/'nbs'
    nbs.mkdir()
    for name in ('02_sources', '16_papers', '16b_claims'): shutil.copy(ROOT/'nbs'/f'{name}.ipynb', nbs) # quick ones: the chapter that runs is waited for
    p = subprocess.Popen([exe, '--nbs', str(nbs), '--out', str(tmp_path/'out')], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    t0 = time.time()
    while not list((tmp_path/'out'/'notebooks').glob('*.ipynb')):
        assert p.poll() is None and time.time()-t0<120
        time.sleep(.1)
    p.send_signal(signal.SIGINT)
    err = p.communicate(timeout=300)[1]
    assert p.returncode==130 and 'Traceback' not in err and 'the same command goes on' in err, err[-2000:]


@pytest.mark.skipif(sys.platform=='win32', reason='SIGKILL')
def test_sigkill_in_stage_2_and_again(trained, own_folder, tmp_path):
    "The same folders as an uninterrupted run, at most one epoch lost, every epoch once, and on the CPU the same predictions"
    env = dict(os.environ, COVID_XRAY_RUNS=str(tmp_path/'runs'))
    args = [str(Path(sys.executable).with_name('covid_xray_train')), '--data', str(own_folder), '--profile', 'quick', '--device', 'cpu', '--out', str(tmp_path/'run')]
    p, t0 = subprocess.Popen(args, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), time.time()
    while not list((tmp_path/'run').glob('stage2_*/checkpoint.pt')):
        assert p.poll() is None and time.time()-t0<600
        time.sleep(.02)
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert not (tmp_path/'run'/'report.json').exists()
    assert not list((tmp_path/'run').glob('stage2_*/stage.json')), 'it was killed in the middle of stage 2'
    again = subprocess.run(args, env=env, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode==0, again.stderr[-3000:]
    names = lambda run: sorted(str(q.relative_to(run)) for q in run.rglob('*') if q.is_file() and q.name!='looks.json' and 'evaluations' not in q.parts)
    assert names(tmp_path/'run')==names(trained[0])
    for mine, theirs in zip(sorted((tmp_path/'run').glob('stage*/history.csv')), sorted(trained[0].glob('stage*/history.csv'))):
        a, b = (pd.read_csv(f).drop(columns='seconds') for f in (mine, theirs))
        assert not a.duplicated(['phase', 'epoch']).any()
        pd.testing.assert_frame_equal(a, b)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path/'run'/'predictions.csv'), pd.read_csv(trained[0]/'predictions.csv'))
