"The counts and members that the papers and the collections promise, on the real files where COVID_XRAY_DATA points at them"
import pandas as pd
import pytest
from covid_xray.core import Settings
from covid_xray.curation import load_data
from covid_xray.images import read_files
from covid_xray.splits import check_splits, cut_valid


@pytest.fixture(scope='module')
def covidx(real_data, tmp_path_factory): return load_data('covidx_v1', Settings(real_data, tmp_path_factory.mktemp('runs')))


def counts(data, split): return [int((data.split(split).label==c).sum()) for c in data.vocab]


def test_covidx_counts(covidx):
    assert counts(covidx, 'train')==[1349, 2540, 1355, 60] and counts(covidx, 'test')==[234, 246, 149, 8]


def test_covidx_members_are_exactly_those_of_the_lists(covidx, real_data):
    lists = []
    for split in ('train', 'test'):
        for line in (real_data/'covid-net-lists'/f'{split}_split.txt').read_text(encoding='utf-8').splitlines():
            _, name, label = line.split()
            lists.append((name, {'bacteria': 'bacterial', 'COVID-19': 'covid'}.get(label, label), split))
    m = covidx.manifest
    assert sorted(zip(m.path.str.split('/').str[-1], m.label, m.split))==sorted(lists)


def test_covidx_patients_do_not_cross_and_covid_has_four_test_patients(covidx):
    check_splits(covidx)
    assert covidx.split('test').query('label=="covid"').patient_id.nunique()==4


def test_kermany_counts(real_data, tmp_path):
    data = load_data('kermany', Settings(real_data, tmp_path))
    assert [len(data.split(s)) for s in ('train', 'valid', 'test')]==[5216, 16, 624]
    assert counts(data, 'test')==[234, 390]


@pytest.mark.parametrize('seed', [0, 1])
def test_validation_patients_are_cut_from_training_only(covidx, seed):
    cut = cut_valid(covidx, .1, seed)
    check_splits(cut)
    assert set(cut.split('test').image_id)==set(covidx.split('test').image_id)
    assert (cut.split('valid').groupby('label').size().reindex(covidx.vocab)>0).all()
    share = len(cut.split('valid'))/len(covidx.split('train'))
    assert .08<share<.12


def test_every_covid_image_and_a_sample_of_the_others_can_be_read(covidx):
    rows = pd.concat([covidx.manifest.query('label=="covid"'), covidx.manifest.sample(100, random_state=0)])
    images, ok, errors = read_files([covidx.root/p for p in rows.path], 64)
    assert not errors and images.shape==(len(rows), 64, 64) and images.reshape(len(rows), -1).std(axis=1).min()>5
