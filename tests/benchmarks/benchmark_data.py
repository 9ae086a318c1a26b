"""How fast the data come, as ratios within one run. Real files where COVID_XRAY_DATA has them, phantoms otherwise.

(a) making a manifest, over merely reading, hashing and decoding the same bytes on all cores
(b) the training loader at 224 px with the paper's augmentation, over fastai's plain `ImageDataLoaders.from_df` on original files
(c) the training loader, over a bare loop that gathers the cached bytes and stacks them; and the time to build the cache
"""
import hashlib
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from covid_xray.cache import build_caches, cached_images
from covid_xray.core import get_settings
from covid_xray.curation import load_data
from covid_xray.manifest import DataSet, tidy
from covid_xray.loaders import batch_tfms, make_loaders
from covid_xray.sources import add_facts
from PIL import Image

SIZE, BATCH = 224, 32


def seconds(f):
    t = time.perf_counter()
    f()
    return time.perf_counter()-t


def read_hash_decode(path):
    raw = path.read_bytes()
    hashlib.sha256(raw).hexdigest()
    with Image.open(path) as im:
        im.convert('L')


def manifest_over_bare(name, settings):
    paths = [data.root/p for data in [load_data(name, settings)] for p in data.manifest.path]

    def bare():
        with ThreadPoolExecutor(os.cpu_count()) as ex:
            list(ex.map(read_hash_decode, paths))
    for _ in range(3):
        a, b = seconds(lambda: load_data(name, settings)), seconds(bare)
        print(f'(a) {name}, {len(paths)} files: manifest {a:.1f} s, bare {b:.1f} s, ratio {a/b:.2f}', flush=True)


def as_originals(data, folder, n=400):
    "Training images at the size of Kermany's originals, 1300 x 900, as JPEG files"
    rows = data.manifest.groupby('label').head(n//len(data.vocab)).copy()
    for i,p in zip(rows.index, rows.path):
        Image.open(data.root/p).convert('L').resize((1300, 900)).save(folder/f'{i}.jpeg', quality=90)
    rows['path'] = [f'{i}.jpeg' for i in rows.index]
    return DataSet('originals', tidy(add_facts(rows.assign(split='train'), folder, False)), folder, data.vocab)


def one_pass(dl): return sum(len(xb) for xb,_ in dl)


def loader_over_fastai(data, settings):
    from fastai.vision.all import ImageDataLoaders, Resize, ResizeMethod
    df = data.manifest.assign(file=[str(data.root/p) for p in data.manifest.path])
    ours = make_loaders(data, SIZE, BATCH, 'paper', settings=settings)
    plain = ImageDataLoaders.from_df(df, path='/', fn_col='file', label_col='label', valid_pct=.01, bs=BATCH, seed=0, device='cpu',
                                     item_tfms=Resize(SIZE, method=ResizeMethod.Squish), batch_tfms=batch_tfms('paper')[1:-2])
    for _ in range(3):
        a, b = (one_pass(d.train)/seconds(lambda d=d: one_pass(d.train)) for d in (ours, plain))
        print(f'(b) {data.name}: {a:.0f} images/s, fastai {b:.0f} images/s, ratio {a/b:.1f}', flush=True)


def loader_over_bare(data, settings, folder):
    print(f'(c) cache of {len(data.manifest)} images at {SIZE} px: '
          f'{seconds(lambda: build_caches(data.manifest, data.root, [SIZE], folder, progress=False)):.1f} s', flush=True)
    images = cached_images(data.manifest, data.root, SIZE, folder, progress=False)
    rows = np.flatnonzero(data.manifest.split=='train')
    rows = rows[:len(rows)//BATCH*BATCH]

    def bare():
        for i in np.random.default_rng(0).permutation(rows).reshape(-1, BATCH):
            torch.from_numpy(np.stack([images[j] for j in i]))
    for augment in ('none', 'paper'):
        dls = make_loaders(data, SIZE, BATCH, augment, settings=settings)
        a, b = seconds(lambda: one_pass(dls.train)), seconds(bare)
        print(f'(c) augmentation {augment}: loader {len(rows)/a:.0f} images/s, bare loop {len(rows)/b:.0f} images/s, ratio {a/b:.1f}', flush=True)
    del images


if __name__=='__main__':
    name = sys.argv[1] if len(sys.argv)>1 else 'phantom'
    with tempfile.TemporaryDirectory() as d, tempfile.TemporaryDirectory() as folder:
        settings = get_settings(runs=d)
        manifest_over_bare(name, settings)
        loader_over_fastai(as_originals(load_data('phantom', settings), Path(folder)), settings)
        if name!='phantom': loader_over_fastai(load_data(name, settings), settings)
        loader_over_bare(load_data(name, settings), settings, Path(folder)/'cache')
