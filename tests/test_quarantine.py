"Curation lists what cannot be read; training stops at it; a list that must be complete stays complete"
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import one_line_error
from covid_xray.core import CourseError, get_settings
from covid_xray.curation import load_data
from covid_xray.images import ImageError, read_image, write_dicom
from covid_xray.manifest import read_manifest, try_file
from covid_xray.sources import toy_collections
from PIL import Image


@pytest.fixture
def torn(own_folder, tmp_path):
    "A folder of one's own with a torn JPEG, an empty file, a text, and one whole TIFF and DICOM"
    to = tmp_path/'own'
    shutil.copytree(own_folder, to)
    covid = to/'train'/'covid'
    img = np.asarray(Image.open(sorted(covid.iterdir())[0]))
    Image.fromarray(img).save(covid/'torn.jpg')
    (covid/'torn.jpg').write_bytes((covid/'torn.jpg').read_bytes()[:-2000])
    (covid/'empty.png').write_bytes(b'')
    (covid/'text.dcm').write_text('no picture')
    Image.fromarray(img).save(covid/'whole.tif')
    write_dicom(img, covid/'whole.dcm', 8)
    return to


BAD = [f'train/covid/{n}' for n in ('empty.png', 'text.dcm', 'torn.jpg')]


def test_the_command_lists_them_and_the_manifest_has_the_others(command, torn, tmp_path):
    p = command('covid_xray_curate', '--data', torn, '--out', torn/'m.csv')
    assert p.returncode==0 and 'unreadable: 3 files' in p.stdout, p.stderr
    q = pd.read_csv(torn/'quarantine.csv')
    assert sorted(q.path)==BAD and q.reason.str.len().gt(5).all() and not q.reason.str.contains(str(torn), regex=False).any()
    m = read_manifest(torn/'m.csv')
    assert not set(m.path) & set(BAD) and {'train/covid/whole.tif', 'train/covid/whole.dcm'}<=set(m.path)
    assert m.set_index('path').loc['train/covid/whole.dcm', 'width']==224
    for p in m.path: read_image(torn/p)
    assert load_data(str(torn/'m.csv'), get_settings(runs=tmp_path)).manifest.sha256.tolist()==m.sha256.tolist()


def test_without_out_they_are_counted(command, torn):
    p = command('covid_xray_curate', '--data', torn)
    assert p.returncode==0 and 'left out, because unreadable: 3 files, first train/covid/' in p.stdout and not (torn/'quarantine.csv').exists()


def test_training_does_not_leave_out_in_silence(command, torn, tmp_path):
    assert 'cannot be read' in one_line_error(command('covid_xray_train', '--data', torn, '--out', tmp_path/'run'))


def test_nothing_readable_is_an_error(command, tmp_path):
    (tmp_path/'own'/'a').mkdir(parents=True)
    (tmp_path/'own'/'a'/'x.png').write_text('no')
    assert 'x.png cannot be read' in one_line_error(command('covid_xray_curate', '--data', tmp_path/'own', '--out', tmp_path/'m.csv'))
    assert not (tmp_path/'m.csv').exists()


def test_covidx_v1_insists_and_kermany_lists(tmp_path):
    toy = toy_collections(tmp_path/'toy')
    f = toy/'kermany/chest_xray/train/NORMAL/IM-0115-0001.jpeg'
    f.write_bytes(b'gone')
    bad, settings = [], get_settings(data=toy, runs=tmp_path)
    with pytest.raises(CourseError, match='IM-0115-0001.jpeg cannot be read'): load_data('covidx_v1', settings, bad)
    assert bad==[]
    assert len(load_data('kermany', settings, bad).manifest)==14 and [b['path'] for b in bad]==[f.relative_to(toy).as_posix()]


def test_curation_and_reader_agree(tmp_path):
    "What curation takes as readable can be read, and the reverse, on 400 damaged JPEG and PNG files"
    from test_images_fuzz import damaged, seeds
    (tmp_path/'whole').mkdir()
    whole, rng, differ = seeds(tmp_path/'whole'), np.random.default_rng(1), []
    whole = [b for b in whole if b[128:132]!=b'DICM' and b[:2]!=b'II']
    for i in range(400):
        f = tmp_path/'x.png'
        f.write_bytes(damaged(whole, rng))
        try: ok = read_image(f).size>0
        except ImageError: ok = False
        if ok!=('sha256' in try_file(f)): differ.append(i)
    assert not differ
