"A grid of 24 cells over Deep Covid's fields on phantoms: one worker is killed half-way, two go on. Is every cell trained exactly once?"
import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna


def worker(out, log):
    exe = Path(sys.executable).with_name('covid_xray_search')
    env = dict(os.environ, COVID_XRAY_RUNS=str(out/'runs'), OMP_NUM_THREADS='1')
    return subprocess.Popen([exe, '--data', 'phantom', '--profile', 'quick', '--out', out/'search'], env=env, stdout=open(log, 'w'), stderr=subprocess.STDOUT, start_new_session=True)


def finished(out): return {p: p.stat().st_mtime_ns for p in (out/'search'/'trials').glob('*/report.json')}


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--out', type=Path, required=True, help='an empty folder for the search and its logs')
    out = ap.parse_args().out.absolute()
    out.mkdir(parents=True)
    t0, first = time.time(), worker(out, out/'first.log')
    while len(finished(out))<12:
        if first.poll() is not None: sys.exit((out/'first.log').read_text()[-3000:])
        time.sleep(.5)
    time.sleep(2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    early = finished(out)
    print(f'killed after {time.time()-t0:.0f} s with {len(early)} cells done')
    both = [worker(out, out/f'worker{i}.log') for i in range(2)]
    codes = [w.wait() for w in both]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name='grid', storage=f'sqlite:///{(out/"search"/"study.db").as_posix()}')
    trials = study.get_trials(deepcopy=False)
    per_cell = Counter(t.user_attrs['cell'] for t in trials if t.state.name=='COMPLETE')
    again = [p for p, t in early.items() if finished(out)[p]!=t]
    print(f'exit statuses {codes}; {time.time()-t0:.0f} s in all; trials by state: {dict(Counter(t.state.name for t in trials))}')
    print(f'cells done: {len(per_cell)} of 24, each once: {set(per_cell.values())=={1}}; finished cells trained again: {len(again)}')
    best = study.best_trial
    print(f'best: {best.params}, validation F1 {best.value:.3f} ({best.user_attrs["low"]:.3f} to {best.user_attrs["high"]:.3f})')
    sys.exit(not (codes==[0, 0] and len(per_cell)==24 and set(per_cell.values())=={1} and not again))


if __name__=='__main__': main()
