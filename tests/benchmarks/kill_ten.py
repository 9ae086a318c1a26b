"""SIGKILL at random moments of `covid_xray_train`: are the weights of the run that was killed and called again those of a run that never was?

One run (with --jobs 2: two at a time) is left alone and timed. Each of the others is killed, with all its processes, after a time drawn
uniformly from that duration (start-up included), then called again with the same words. The SHA-256 of every stage's weights and of the
predictions must be the reference's. Exit status 1 if one differs. POSIX only.
"""
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from covid_xray.core import file_sha256, get_settings, read_json
from fastcore.script import call_parse

STAGES = 'stage1_128', 'stage2_224', 'stage3_229'


def start(o, out):
    "The command as a user gives it, in a process group of its own; all runs share one folder of phantoms and resized images"
    env = os.environ | dict(COVID_XRAY_RUNS=str(Path(o.work)/'runs'), OMP_NUM_THREADS=str(o.threads), MKL_NUM_THREADS=str(o.threads))
    cmd = [str(Path(sys.executable).with_name('covid_xray_train')), '--data', o.data, '--profile', o.profile, '--device', o.device, '--out', str(out)]
    with open(f'{out}.log', 'ab') as log: return subprocess.Popen(cmd, env=env, stdout=log, stderr=log, start_new_session=True)


def finish(o, out, seconds=None):
    "Call it and wait, if `seconds` are given no longer than that; False if it had to be killed"
    p = start(o, out)
    try: p.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        return False
    if p.returncode: raise SystemExit(f'{out.name} ended with status {p.returncode}:\n{Path(f"{out}.log").read_text(errors="replace")[-2000:]}')
    return True


def halves(out): # files that a killed process was writing
    return len([f for f in out.rglob('.*.tmp*') if f.is_file()])


def on_disk(out):
    "What a run's folder holds: the stage, its phase, the epochs that are done"
    from covid_xray.stages import load_checkpoint
    if not out.is_dir(): return 'nothing'
    said = 'no stage yet'
    for stage in STAGES:
        for d in out.glob(f'{stage}-*'):
            ck = None if (d/'stage.json').is_file() else load_checkpoint(d/'checkpoint.pt')
            done = ', '.join(f'{n} of {phase}' for phase, n in (ck['done'] if ck else {}).items() if n)
            said = f'{stage}: ' + ('finished' if (d/'stage.json').is_file() else f'epochs {done}' if done else 'begun, no epoch')
    return said + (', report' if (out/'report.json').is_file() else '')


def results(out):
    "File to SHA-256: the weights of each stage in `stages.json`, and the predictions"
    files = [*(f'{s}/weights.safetensors' for s in read_json(out/'stages.json')), 'predictions.csv']
    return {f: file_sha256(out/f) for f in files}


def killed_run(o, i, duration, reference):
    "One row of the table; a run that was faster than its moment is begun again with another moment"
    rng, tries = random.Random(f'{o.seed} {i}'), 0
    while True:
        out, moment = Path(o.work)/f'killed{i}-{tries}', rng.uniform(0, duration)
        if not finish(o, out, moment): break
        tries += 1
        if tries>9: raise SystemExit(f'run {i} finished before its moment ten times: the reference run was slow, begin again')
    row = {'killed after (s)': round(moment, 1), 'of the duration': f'{moment/duration:.0%}', 'on disk when killed': on_disk(out),
           'half-written': halves(out)}
    finish(o, out)
    mine = results(out)
    row |= {'still there': halves(out), 'resumed identical': 'yes' if mine==reference else 'no'}
    print(f'run {i}:', *(f'{k} {v},' for k, v in row.items()), flush=True)
    for f in sorted({*mine, *reference}): # says which file
        if mine.get(f)!=reference.get(f): print(f'   differs: {f}', flush=True)
    return row


def make_cache(o):
    "Phantoms and resized images, once for all runs"
    from covid_xray.covid_resnet import course_data, profile_stages
    from covid_xray.loaders import cache_images
    settings = get_settings(runs=Path(o.work)/'runs')
    cache_images(course_data(o.data, settings=settings), [s.size for s in profile_stages(o.profile)[1]], settings)


def left_alone(o, i):
    "Seconds and results of a run that nobody disturbs"
    t, out = time.perf_counter(), Path(o.work)/f'reference{i}'
    finish(o, out)
    return time.perf_counter()-t, results(out)


@call_parse
def main(
    n:int=10,              # How many runs are killed
    data:str='phantom',    # As in covid_xray_train
    profile:str='quick',   # As in covid_xray_train
    device:str='cpu',      # On a GPU equal bits are not promised
    jobs:int=1,            # Runs at a time
    threads:int=1,         # Of each process; sums in another order would be other bits
    seed:int=0,            # Of the moments
    work:str=None,         # Folder to keep everything in, not there yet; default: a temporary one
):
    "Kill, call again, compare"
    with tempfile.TemporaryDirectory() as tmp:
        if work: Path(work).mkdir(parents=True)
        o = SimpleNamespace(**locals() | dict(work=str(Path(work or tmp).absolute())))
        make_cache(o)
        with ThreadPoolExecutor(jobs) as ex:
            alone = list(ex.map(lambda i: left_alone(o, i), range(jobs))) # as many at a time as later, for the duration
            duration, reference = alone[0]
            print(f'left alone: {duration:.0f} s, {len(reference)-1} stages', flush=True)
            if any(r!=reference for _, r in alone): raise SystemExit('two runs that were left alone differ: there is nothing to compare with')
            rows = list(ex.map(lambda i: killed_run(o, i, duration, reference), range(n)))
    table = pd.DataFrame(rows).sort_values('killed after (s)')
    print(table.to_string(index=False))
    bad = (table['resumed identical']=='no').sum()
    print(f'{n-bad} of {n} runs that were killed ended with the same bits as the run that was not')
    if bad: sys.exit(1)
