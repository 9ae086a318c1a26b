"The second paper as a user meets it: a run with a threshold, a search shared by workers of which one dies, a training in two processes"
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, one_line_error


def start(code, *args, runs, **kw):
    "A Python process of its own that runs `code`"
    env = dict(os.environ, COVID_XRAY_RUNS=str(runs), OMP_NUM_THREADS='1')
    return subprocess.Popen([sys.executable, '-c', code, *map(str, args)], env=env, cwd=ROOT, stderr=subprocess.STDOUT, text=True, **{'stdout': subprocess.PIPE, **kw})


@pytest.fixture(scope='module')
def run(tmp_path_factory, own_folder):
    "A run of Deep Covid's recipe on a folder of four classes, which are folded: its folder"
    tmp = tmp_path_factory.mktemp('deep')
    exe = Path(sys.executable).with_name('covid_xray_train')
    p = subprocess.run([exe, '--data', own_folder, '--recipe', 'deep_covid', '--out', tmp/'run'], capture_output=True, text=True, cwd=ROOT,
                       env=dict(os.environ, COVID_XRAY_RUNS=str(tmp/'runs')))
    assert p.returncode==0, p.stderr[-3000:]
    assert 'threshold' in p.stdout
    return tmp/'run'


def read(path): return json.loads(Path(path).read_text(encoding='utf-8'))


def test_report_is_at_the_threshold_of_the_validation_patients(run):
    r, t = read(run/'report.json'), read(run/'threshold.json')
    assert r['confusion']['labels']==['normal', 'pneumonia'] and r['recipe']=='deep_covid'
    assert r['threshold']==t['threshold']==r['threshold_from']['threshold'] and r['at_half']['threshold']==.5
    preds = pd.read_csv(run/'predictions.csv')
    called = (preds.pneumonia>=t['threshold']).map({True: 'pneumonia', False: 'normal'})
    assert (called==preds.label).mean()==pytest.approx(r['accuracy']['value'])
    valid = pd.read_csv(run/'manifest.csv').query("split=='valid'")
    assert t['n']==len(valid) and t['n_patients']==valid.patient_id.nunique()


def test_stage_kept_its_best_epoch(run):
    rec, = [read(p) for p in run.glob('*/stage.json')]
    hist = pd.read_csv(next(run.glob('*/history.csv')))
    assert rec['kept']['f1']==pytest.approx(hist.f1.max()) and rec['kept']['epoch']==hist.f1.idxmax()


def test_evaluate_again_and_on_validation(run, command):
    p = command('covid_xray_evaluate', run, '--split', 'valid')
    assert p.returncode==0 and 'validation images' in p.stdout
    before = read(run/'report.json')
    assert command('covid_xray_evaluate', run).returncode==0
    after = read(run/'report.json')
    assert after['accuracy']==before['accuracy'] and after['looks_at_test']==before['looks_at_test']+1


def test_predict_calls_at_the_threshold(run, command, own_folder):
    files = sorted(own_folder.glob('test/*/*.png'))[:3]
    p = command('covid_xray_predict', run, *files, '--csv', run/'answers.csv')
    assert p.returncode==0 and 'validation patients chose' in p.stdout, p.stderr
    said, t = pd.read_csv(run/'answers.csv'), read(run/'threshold.json')['threshold']
    assert said.called.tolist()==['pneumonia' if v>=t else 'normal' for v in said.pneumonia]
    (run/'answers.csv').unlink()


def test_without_validation_patients_nothing_is_trained(command, own_folder, tmp_path):
    p = command('covid_xray_train', '--data', own_folder, '--recipe', 'deep_covid', '--frac', '0', '--out', tmp_path/'run')
    assert 'leave out --frac 0' in one_line_error(p) and not (tmp_path/'run').exists()


def test_a_set_without_normals_is_refused(command, own_folder, tmp_path):
    import shutil
    shutil.copytree(own_folder, tmp_path/'ill', ignore=shutil.ignore_patterns('normal'))
    assert 'must be called normal' in one_line_error(command('covid_xray_train', '--data', tmp_path/'ill', '--recipe', 'deep_covid', '--out', tmp_path/'run'))


def test_too_small_a_picture_is_refused_at_once(command, tmp_path):
    p = command('covid_xray_train', '--recipe', 'deep_covid', '--arch', 'inception_v3', '--out', tmp_path/'run')
    assert 'at least 75 pixels' in one_line_error(p)


SEARCH = '''
import sys
from covid_xray.core import get_settings
from covid_xray.curation import load_data
from covid_xray.deep_covid import two_classes
from covid_xray.search import grid_search
from covid_xray.splits import cut_valid
from covid_xray.stages import Stage
data = cut_valid(two_classes(load_data('phantom', get_settings(), per_class=8)), .25)
stage = Stage('cell_32', 32, body_epochs=2, body_lrs=(1e-3, 1e-3), batch_size=8, augment='none', hidden=8, train_bn=False, keep='best')
grid_search(data, [stage], dict(lr=(1e-3, 1e-4, 1e-5), opt=('adam', 'sgd')), sys.argv[1], grace=6)
print('done')
'''


def trials(out):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name='grid', storage=f'sqlite:///{(out/"study.db").as_posix()}')
    return study.get_trials(deepcopy=False)


def test_a_killed_search_goes_on_with_two_workers_and_does_no_cell_twice(tmp_path):
    from optuna.trial import TrialState
    out = tmp_path/'search'
    logs = [open(tmp_path/f'{k}.log', 'w+') for k in range(3)] # a pipe that nobody reads fills up with bars on a slow machine, and stops its writer
    first = start(SEARCH, out, runs=tmp_path/'runs', start_new_session=True, stdout=logs[2])
    for _ in range(600):
        time.sleep(.2)
        if len(list(out.glob('trials/*/report.json')))>=2: break
        assert first.poll() is None, (tmp_path/'2.log').read_text()[-3000:]
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    stages = [p.parent for p in out.glob('trials/*/*/stage.json')]
    early = {s/'weights.safetensors': (s/'weights.safetensors').stat().st_mtime_ns for s in stages} # killed before it told the study, a cell is judged again, not trained
    assert 2<=len(early)<6
    workers = [start(SEARCH, out, runs=tmp_path/'runs', stdout=log) for log in logs[:2]]
    for k, w in enumerate(workers): assert w.wait(timeout=400)==0, (tmp_path/f'{k}.log').read_text()[-3000:]
    for log in logs: log.close()
    done = [t.user_attrs['cell'] for t in trials(out) if t.state==TrialState.COMPLETE]
    assert sorted(done)==list(range(6))
    assert not [t for t in trials(out) if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    assert len(list(out.glob('trials/*/report.json')))==len(list(out.glob('trials/*/*/stage.json')))==6
    for p, t in early.items(): assert p.stat().st_mtime_ns==t, 'a finished cell was trained again'


TWO = '''
import json, sys, torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import SGD
from covid_xray.deep_covid import course_data
from covid_xray.processes import batch_share, together, unwrap, world
from covid_xray.stages import Stage
from covid_xray.training import fit_stage
class Count(Callback):
    n = 0
    def after_step(self): Count.n += 1
data = course_data('phantom', frac=.2)
stage = Stage('two_48', 48, body_epochs=5, body_lrs=(3e-3, 3e-3), batch_size=32, augment='none', keep='best')
run = fit_stage(sys.argv[1], data, stage, cbs=[Count()])

x, y = torch.arange(96.).reshape(24, 4).sin(), torch.arange(24.).cos()[:, None] # no dropout, no batch-norm, all images in one batch: gradients must agree to the last digits
dls = DataLoaders(*(DataLoader(list(zip(x, y)), bs=b, shuffle=b<24, device='cpu') for b in (batch_share(24), 24)))
torch.manual_seed(0)
learn = Learner(dls, torch.nn.Linear(4, 1), torch.nn.functional.mse_loss, opt_func=SGD, lr=.1)
with together(learn), learn.no_bar(), learn.no_logging(): learn.fit(5)
weights = unwrap(learn.model).weight.detach().numpy().ravel().tolist()
sys.stdout.write(f'weights {json.dumps(weights)}\\n')
sys.stdout.write(f'rank {world()[0]} steps {Count.n} train {len(data.split("train"))} valid {len(data.split("valid"))}\\n')
'''


def in_two(*args, env):
    "A Python script and its arguments under `accelerate launch`, in two processes of this computer"
    return subprocess.run([sys.executable, '-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes', '2', '--num_machines', '1', '--mixed_precision', 'no', '--dynamo_backend', 'no',
                           '--main_process_port', '0', *args], env=dict(env, ACCELERATE_USE_CPU='true'), cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_the_command_in_two_processes_leaves_one_run(run, own_folder, tmp_path):
    env = dict(os.environ, COVID_XRAY_RUNS=str(tmp_path/'runs'), OMP_NUM_THREADS='1')
    p = in_two(Path(sys.executable).with_name('covid_xray_train'), '--data', own_folder, '--recipe', 'deep_covid', '--out', tmp_path/'run', env=env)
    assert p.returncode==0, p.stderr[-3000:]
    assert p.stdout.count('written to')==1, 'one of them speaks'
    one, two = (pd.read_csv(f/'predictions.csv') for f in (run, tmp_path/'run'))
    assert two.image_id.is_unique and two.image_id.tolist()==one.image_id.tolist() and two.label.tolist()==one.label.tolist()
    assert [f.name for f in (tmp_path/'run').glob('*/stage.json')]==['stage.json']
    assert {f.name for f in (tmp_path/'run').iterdir() if f.is_file()}=={f.name for f in run.iterdir() if f.is_file()}
    hist = [pd.read_csv(next(f.glob('*/history.csv'))) for f in (run, tmp_path/'run')]
    assert [o.epoch.tolist()==list(range(len(o))) for o in hist]==[True, True]


def test_two_processes_take_the_steps_of_one_and_leave_one_record(tmp_path, drawn):
    from covid_xray.core import get_settings
    from covid_xray.deep_covid import course_data
    from covid_xray.processes import steps_an_epoch
    from covid_xray.training import StageRun, predict_split
    (tmp_path/'two.py').write_text(TWO)
    env = dict(os.environ, COVID_XRAY_RUNS=str(drawn), OMP_NUM_THREADS='1')
    alone = subprocess.run([sys.executable, tmp_path/'two.py', tmp_path/'one'], env=env, cwd=ROOT, capture_output=True, text=True)
    assert alone.returncode==0, alone.stderr[-3000:]
    both = in_two(tmp_path/'two.py', tmp_path/'two', env=env)
    assert both.returncode==0, both.stderr[-3000:]
    said = [ln.split() for ln in (alone.stdout+both.stdout).splitlines() if ln.startswith('rank')]
    assert sorted(s[1] for s in said)==['0', '0', '1']
    n = int(said[0][5])
    for s in said: assert int(s[3])==5*steps_an_epoch(n, 32, 1)==5*steps_an_epoch(n, 32, 2)
    weights = [json.loads(ln.removeprefix('weights ')) for ln in (alone.stdout+both.stdout).splitlines() if ln.startswith('weights')]
    assert len(weights)==3
    for w in weights[1:]: assert w==pytest.approx(weights[0], abs=1e-6), 'two halves of a batch give the gradient of the whole'
    (one,), (two,) = (list((tmp_path/k).glob('two_48-*/stage.json')) for k in ('one', 'two'))
    assert one.parent.name==two.parent.name, 'the same stage, however many processes train it'
    settings = get_settings(runs=drawn)
    data = course_data('phantom', frac=.2, settings=settings)
    a, b = (predict_split(StageRun(p.parent), data, settings=settings) for p in (one, two))
    assert b.image_id.is_unique and b.image_id.tolist()==a.image_id.tolist()==data.split('valid').image_id.tolist()
    vocab = list(data.vocab)
    right = lambda p: (p[vocab].idxmax(axis=1)==p.label).mean()
    assert right(b)==pytest.approx(read(two)['kept']['accuracy'], abs=1/len(b)), 'gathered from both processes'
    assert min(right(a), right(b))>.7 and right(b)==pytest.approx(right(a), abs=.15), (right(a), right(b)) # batch-norm sees half batches: near, not equal
