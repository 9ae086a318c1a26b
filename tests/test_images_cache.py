"The cache of resized images: never stale, never half, whatever kills or races it; and a switch to do without"
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT
from covid_xray.cache import build_caches, cached_images, read_squares
from covid_xray.core import get_settings
from covid_xray.curation import load_data
from covid_xray.images import ImageError
from PIL import Image

BUILD = """
import sys, time
from pathlib import Path
import pandas as pd, numpy as np
import covid_xray.cache as im
root, folder, slow = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
df, read = pd.read_csv(root/'m.csv'), im.read_squares
def slowly(*args):
    time.sleep(slow)
    with open(root/'decoded.txt', 'a') as f: f.write('x')
    return read(*args)
im.read_squares = slowly
a = im.cached_images(df, root, 96, folder, progress=False)
print(a.shape[0], int(np.asarray(a, dtype=np.int64).sum()))
"""


@pytest.fixture
def images(phantoms, tmp_path):
    "Forty phantoms in a folder of their own, and their rows"
    df = phantoms.manifest.head(40).copy()
    (tmp_path/'images').mkdir()
    for p in df.path: shutil.copy(phantoms.root/p, tmp_path/p)
    df[['image_id', 'path', 'sha256']].to_csv(tmp_path/'m.csv', index=False)
    return df


def build(tmp_path, slow=0, wait=True):
    p = subprocess.Popen([sys.executable, '-c', BUILD, str(tmp_path), str(tmp_path/'cache'), str(slow)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not wait: return p
    out, err = p.communicate(timeout=120)
    assert p.returncode==0, err
    return out


def decoded(tmp_path): return len((tmp_path/'decoded.txt').read_text()) if (tmp_path/'decoded.txt').exists() else 0


@pytest.mark.skipif(sys.platform=='win32', reason='SIGKILL')
def test_a_killed_builder_leaves_nothing_that_is_read(images, tmp_path):
    p, t0 = build(tmp_path, .2, wait=False), time.time()
    while decoded(tmp_path)<8:
        assert p.poll() is None and time.time()-t0<60
        time.sleep(.02)
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert not [f for f in (tmp_path/'cache').rglob('[!.]*.npy')], 'a half-built cache has the name of a whole one'
    before = decoded(tmp_path)
    n, total = map(int, build(tmp_path).split())
    assert n==40 and decoded(tmp_path)-before>=40
    assert total==sum(int(read_squares(tmp_path/p, (96,))[0].sum()) for p in images.path)
    assert not [f for f in (tmp_path/'cache').rglob('*.tmp*')], 'what the killed one left is not cleared away'


def test_two_builders_decode_once_and_agree(images, tmp_path):
    ps = [build(tmp_path, .03, wait=False) for _ in range(2)]
    outs = [p.communicate(timeout=120) for p in ps]
    assert [p.returncode for p in ps]==[0, 0] and outs[0][0]==outs[1][0], outs
    assert decoded(tmp_path)==40


def test_a_changed_file_is_a_new_cache(own_folder, tmp_path):
    shutil.copytree(own_folder, tmp_path/'own')
    load = lambda: load_data(str(tmp_path/'own'), get_settings(runs=tmp_path))
    d = load()
    old = cached_images(d.manifest, d.root, 32, tmp_path/'cache', progress=False)
    f, before = d.root/d.manifest.path[3], np.array(old)
    Image.fromarray(255-np.asarray(Image.open(f))).save(f)
    new = load()
    now = cached_images(new.manifest, new.root, 32, tmp_path/'cache', progress=False)
    assert [i for i in range(len(before)) if not np.array_equal(before[i], now[i])]==[3]
    with pytest.raises(ImageError, match='curate the data set again'): build_caches(d.manifest, d.root, [48], tmp_path/'cache', progress=False)


def test_the_cache_can_be_switched_off(phantoms, tmp_path, monkeypatch):
    from covid_xray.loaders import make_loaders
    settings = get_settings(runs=tmp_path)
    with_cache = make_loaders(phantoms, 32, 8, 'none', ('train',), settings, 'cpu').valid.one_batch()[0]
    shutil.rmtree(settings.cache/'images')
    monkeypatch.setenv('COVID_XRAY_CACHE', 'off')
    assert (make_loaders(phantoms, 32, 8, 'none', ('train',), settings, 'cpu').valid.one_batch()[0]==with_cache).all()
    assert not (settings.cache/'images').exists()
    assert build_caches(phantoms.manifest, phantoms.root, [32], None)=={}
