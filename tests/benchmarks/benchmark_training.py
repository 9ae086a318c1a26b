"""What a training costs beside its arithmetic, as ratios within one run, the two ways in turn. `--data covidx_v1` where COVID_XRAY_DATA has it.

(a) an epoch with the real loader, over as many optimizer steps on one batch that is already in memory; the aim is at most 1.05;
    and, less disturbed by a noisy machine, the seconds of the loader by itself over those of the steps
(b) one stage as we train it, cache and checkpoints included, over the same stage in the plainest fastai, both from files of original size,
    with random weights (which take the same time as pretrained ones and need no download); the aim is at most 0.6
(c) chapter 13c's base recipe, of six and of three epochs, over the paper's, all at `--size` pixels: seconds of training, if the recipe
    ends with at least the accuracy of the paper's; the aim is at most 0.35. An hour on real radiographs at 64 px: not in `all`
(d) the peak memory of both sides of (b), a process each

Beside each ratio stands that of processor time (all threads and processes), which other programs on the machine disturb less.
"""
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from benchmark_data import as_originals
from covid_xray.core import get_settings
from fastcore.script import Param, call_parse

DEFAULT_SPIN = '300000' # libgomp's own, for the side that does not know our setting (see threads.py)


def clock(device):
    "Now: (seconds, seconds of all processors that this process and its ended children have had)"
    import torch
    if device.type=='cuda': torch.cuda.synchronize(device)
    return np.array([time.perf_counter(), sum(os.times()[:4])])


def median(pairs, i): return statistics.median(a[i]/b[i] for a, b in pairs)


def in_turn(one, other, n):
    "n pairs of results; each pair begins with the other side, so that a drift of the machine cancels"
    pairs = []
    for i in range(n):
        if i%2: b, a = other(), one()
        else: a, b = one(), other()
        pairs.append((a, b))
    return pairs


def train_images(o):
    "The training rows of a data set, the classes in turn, so that the first n hold them all"
    from covid_xray.curation import load_data
    from covid_xray.manifest import tidy
    n = max(o.images*(o.part!='a'), o.steps*o.batch*(o.part in ('a', 'all')))
    data = load_data(o.data, get_settings(runs=o.folder), per_class=n//5+1) # patients with two phantoms on average, four fifths of them for training
    m = data.split('train')
    order = m.groupby('label').cumcount().sort_values(kind='stable').index
    return replace(data, manifest=tidy(m.loc[order].reset_index(drop=True)))


def first(data, n): return replace(data, manifest=data.manifest.head(n))


class OneBatch:
    "A loader that yields the same batch n times"
    def __init__(self, batch, n): self.batch, self.n = batch, n
    def __len__(self): return self.n
    def __iter__(self): return iter([self.batch]*self.n)


def loader_over_one_batch(o, data, augment):
    "(a): one `Learner`, all layers trained, whose training loader is exchanged from epoch to epoch"
    from covid_xray.loaders import make_loaders
    from covid_xray.models import make_model
    from covid_xray.lr_finder import make_learner, pick_device
    device = pick_device(o.device)
    data = first(data, o.steps*o.batch)
    dls = make_loaders(data, o.size, o.batch, augment, valid=(), settings=get_settings(runs=o.folder), device=device)
    learn = make_learner(dls, make_model(o.arch, len(data.vocab), pretrained=False))
    real, same = dls.train, OneBatch(dls.train.one_batch(), len(dls.train))

    def epoch(loader):
        learn.dls.loaders[0] = loader
        t = clock(device)
        learn.fit(1, 1e-4)
        return clock(device)-t
    with learn.no_bar(), learn.no_logging():
        for loader in (real, same): epoch(loader) # warm up
        pairs = in_turn(lambda: epoch(real), lambda: epoch(same), o.repeats)

    def read():
        t = clock(device)
        for _ in real: pass
        return clock(device)-t
    alone = [read()[0] for _ in range(o.repeats)]
    for a, b in pairs: print(f'(a) {augment}: {len(same)} steps with the loader {a[0]:.2f} s, on one batch {b[0]:.2f} s, ratio {a[0]/b[0]:.3f}')
    print(f'(a) {augment}, {o.arch}, {o.size} px, batch {o.batch}, {device}: '
          f'median ratio {median(pairs, 0):.3f} (of processor time {median(pairs, 1):.3f}); '
          f'the loader by itself takes {statistics.median(alone)/statistics.median(b[0] for _, b in pairs):.3f} of the time of the steps', flush=True)


def originals(o, data):
    "Files of original size, with validation patients; smaller files (phantoms, published thumbnails) are enlarged"
    from covid_xray.splits import cut_valid
    small = data.manifest.width.median()<1000
    data = cut_valid(as_originals(data, Path(o.folder), o.images) if small else first(data, o.images))
    n = data.manifest.split.value_counts()
    print(f'(b) {o.data}: {n["train"]} training and {n["valid"]} validation images, '
          f'{"enlarged to 1300 x 900" if small else "as they are"}', flush=True)
    return data


def stage_of(o):
    from covid_xray.stages import Stage
    return Stage('bench', o.size, head_epochs=o.head, head_lr=2e-3, body_epochs=o.body, body_lrs=(2e-4, 2e-3), batch_size=o.batch,
                 augment='recommended', train_bn=False)


def our_side(o, device):
    "The first stage of a run: decode and resize every file into the cache, then `fit_stage`"
    import fastai.vision.learner  # noqa: F401 (imported by both sides before the clock starts)
    from covid_xray import training
    from covid_xray.loaders import cache_images
    from covid_xray.manifest import DataSet, read_manifest
    from covid_xray.models import make_model
    training.make_model = lambda arch, n, pretrained, settings: make_model(arch, n, pretrained=False)
    data, settings = DataSet('originals', read_manifest(o.manifest), Path(o.root), tuple(o.vocab)), get_settings(runs=o.folder)
    t = clock(device)
    cache_images(data, [o.size], settings)
    cache = (clock(device)-t)[0]
    training.fit_stage(Path(o.folder)/'run', data, stage_of(o), o.arch, settings=settings, device=o.device)
    return dict(seconds=list(clock(device)-t), cache=cache)


def fastai_side(o, device):
    "The same images, network, augmentation, batches and epochs in fastai's own words, everything else by default"
    import pandas as pd
    from covid_xray.backbones import ARCHS
    from fastai.vision.all import (ImageDataLoaders, Normalize, Resize, ResizeMethod, accuracy, aug_transforms, imagenet_stats, models,
                                   vision_learner)
    df, arch = pd.read_csv(o.manifest), ARCHS[o.arch]
    df['is_valid'] = df.split=='valid'
    t = clock(device)
    dls = ImageDataLoaders.from_df(df, o.root, fn_col='path', label_col='label', valid_col='is_valid', bs=o.batch, device=device,
                                   item_tfms=Resize(o.size, method=ResizeMethod.Squish),
                                   batch_tfms=[*aug_transforms(max_rotate=15, max_zoom=1., max_warp=0.), Normalize.from_stats(*imagenet_stats)])
    learn = vision_learner(dls, arch.model if arch.lib=='timm' else getattr(models, arch.model), metrics=accuracy, pretrained=False)
    if device.type=='cuda': learn.to_fp16()
    learn.fine_tune(o.body, 2e-3, freeze_epochs=o.head)
    return dict(seconds=list(clock(device)-t), workers=dls.train.fake_l.num_workers)


def peak_memory(who=resource.RUSAGE_SELF):
    "MB; `ru_maxrss` begins with the memory of the process that started this one, so on Linux the kernel's own high-water mark is read"
    status = Path('/proc/self/status')
    if who==resource.RUSAGE_SELF and status.is_file() and (m := re.search(r'VmHWM:\s+(\d+) kB', status.read_text())): return int(m[1])/1024
    return resource.getrusage(who).ru_maxrss/(2**20 if sys.platform=='darwin' else 1024)


def child(side, **o):
    "One side of (b) in this process; the last line it prints is the result"
    import torch
    from covid_xray.lr_finder import pick_device
    o = SimpleNamespace(**o)
    device = pick_device(o.device)
    torch.zeros(1, device=device) # a GPU is woken before the clock starts
    out = (our_side if side=='ours' else fastai_side)(o, device)
    out['memory'] = peak_memory()
    if out.get('workers'): out['worker_memory'] = peak_memory(resource.RUSAGE_CHILDREN)
    if device.type=='cuda': out['gpu_memory'] = torch.cuda.max_memory_allocated(device)/2**20
    print('\n'+json.dumps(out))


def run_side(side, o):
    "The result of one side in a process and an empty folder of its own"
    env = dict(os.environ) if side=='ours' or o.busy else os.environ | dict(GOMP_SPINCOUNT=DEFAULT_SPIN)
    with tempfile.TemporaryDirectory(dir=o.folder) as folder:
        args = vars(o) | dict(side=side, folder=folder)
        p = subprocess.run([sys.executable, __file__, '--child', json.dumps(args)], env=env, capture_output=True, text=True)
    if p.returncode: raise SystemExit(f'{side}: {p.stderr}')
    return json.loads(p.stdout.splitlines()[-1])


def stage_pairs(o, data):
    "(b) and (d): both sides in turn, measured in processes of their own"
    from covid_xray.manifest import write_manifest
    data = originals(o, data)
    manifest = write_manifest(data, Path(o.folder)/'manifest.csv')
    o = SimpleNamespace(**vars(o) | dict(manifest=str(manifest), root=str(data.root), vocab=data.vocab))
    return in_turn(lambda: run_side('ours', o), lambda: run_side('fastai', o), o.repeats)


def print_seconds(o, pairs):
    times = [(a['seconds'], b['seconds']) for a, b in pairs]
    for (a, b), (ours, _) in zip(times, pairs):
        print(f'(b) ours {a[0]:.1f} s ({ours["cache"]:.1f} s of it the cache), fastai {b[0]:.1f} s, ratio {a[0]/b[0]:.2f}')
    print(f'(b) {o.arch}, {o.size} px, batch {o.batch}, {o.head}+{o.body} epochs: '
          f'median ratio {median(times, 0):.2f} (of processor time {median(times, 1):.2f})', flush=True)


def print_memory(pairs):
    "Medians; fastai's worker processes are named but not counted"
    for key, what in (('memory', 'peak memory'), ('gpu_memory', 'peak GPU memory')):
        if key not in pairs[0][0]: continue
        a, b = (statistics.median(p[i][key] for p in pairs) for i in (0, 1))
        print(f'(d) {what}: ours {a:.0f} MB, fastai {b:.0f} MB, ratio {a/b:.2f}', flush=True)
    if n := pairs[0][1]['workers']:
        most = max(b['worker_memory'] for _, b in pairs)
        print(f"(d) not counted: the {n} processes of fastai's loader, up to {most:.0f} MB each, partly shared with it")


def recipe_times(o):
    "(c): the paper's 41 epochs, and the base's six and three, on the same images, trained one after the other in this process"
    from covid_xray.ablation import compare, recipes
    from covid_xray.covid_resnet import course_data
    todo = {k: recipes(o.size)[k] for k in ('base', 'two epochs', 'paper')}
    rows = compare(Path(o.folder)/'compare', course_data(o.data), todo, o.arch, device=o.device)['rows']
    for k, r in rows.items(): print(f'(c) {k}: accuracy {r["accuracy"]["value"]:.3f} on validation patients, {r["seconds"]:.0f} s of training')
    paper = rows.pop('paper')
    for k, r in rows.items():
        if r['accuracy']['value']<paper['accuracy']['value']: print(f"(c) {k} does not reach the paper recipe's accuracy")
        else: print(f"(c) {o.arch}, {o.size} px: {k}, as accurate as the paper's recipe in {r['seconds']/paper['seconds']:.2f} of its time", flush=True)


if __name__=='__main__' and sys.argv[1:2]==['--child']:
    child(**json.loads(sys.argv[2]))
    sys.exit()


@call_parse
def main(
    data:str='phantom',            # phantom, or covidx_v1 or kermany where COVID_XRAY_DATA has them
    part:Param('Which part', str, choices=['a', 'b', 'c', 'd', 'all'])='all',
    arch:str='efficientnet_lite0', # A key of `covid_xray.models.ARCHS`
    size:int=128,                  # Side of the images, pixels (of the largest in (c))
    batch:int=32,                  # Images a step
    steps:int=20,                  # (a) steps an epoch
    images:int=640,                # (b) images, a tenth of them for validation
    head:int=1,                    # (b) epochs of the head alone
    body:int=4,                    # (b) epochs of all layers
    repeats:int=3,                 # Pairs of measurements
    device:str=None,               # cpu or cuda; default: a GPU if there is one
    busy:bool=False,               # (b) other programs run beside: fastai's side gets our thread setting too
):
    "Ratios of training times and of memory"
    with tempfile.TemporaryDirectory() as folder:
        o = SimpleNamespace(**locals())
        if part=='c': return recipe_times(o)
        data = train_images(o)
        if part in ('a', 'all'):
            for augment in ('paper', 'robust'): loader_over_one_batch(o, data, augment)
        if part in ('b', 'd', 'all'):
            pairs = stage_pairs(o, data)
            if part!='d': print_seconds(o, pairs)
            if part!='b': print_memory(pairs)
