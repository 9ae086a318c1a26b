"The counts and members that the papers and the collections promise, on the real files where COVID_XRAY_DATA points at them"
import pandas as pd
import pytest
from covid_xray.cache import read_files
from covid_xray.core import CourseError, Settings
from covid_xray.curation import load_data
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


def test_covidx_by_rule_is_the_published_lists_but_for_one_known_image(real_data):
    from covid_xray.covidx import KNOWN, compare_covidx
    from covid_xray.curation import listed_files
    from covid_xray.splits import crossing
    c = compare_covidx(real_data)
    assert len(c)==5941 and c[c.cause!=''].filename.tolist()==list(KNOWN)
    w = listed_files(real_data)
    assert len(crossing(w, 'patient'))==264 and not len(crossing(w, 'patient_id'))


def test_kermany_holds_30_groups_of_identical_files_and_none_cross(real_data, tmp_path):
    m = load_data('kermany', Settings(real_data, tmp_path)).manifest
    same = m[m.sha256.duplicated(keep=False)].groupby('sha256')
    assert (len(same), int((same.size()-1).sum()))==(30, 32)
    assert (same.split.nunique()==1).all() and (same.label.nunique()==1).all()


def test_wrong_labels_of_figure1_are_found(real_data, tmp_path):
    from covid_xray.audit import check_duplicates, find_duplicates
    if not (real_data/'Figure1-COVID-chestxray-dataset').is_dir(): pytest.skip('the Figure 1 collection is not there')
    settings = Settings(real_data, tmp_path)
    mix = load_data('kermany+covid-chestxray-dataset+Figure1-COVID-chestxray-dataset', settings)
    d = find_duplicates(mix, settings)
    with pytest.raises(CourseError, match='stand in more than one split'): check_duplicates(mix, settings) # Cohen's patients 97 and 178 are one
    twins = {i.split('/')[-1].split('.')[0]: set(d[d.group==g].image_id)-{i} for i, g in zip(d.image_id, d.group) if i.startswith('Figure1')}
    assert any('person1004_virus_1686' in t for t in twins['COVID-00020']), twins
    assert set(d[d.image_id.str.contains('COVID-00020|person1004_virus_1686')].label)=={'covid', 'viral'}, 'the copies disagree about the disease'


def test_datasheet_names_the_confound(covidx, tmp_path):
    import mlcroissant as mlc
    from covid_xray.datasheet import known_confounds, write_datasheet
    assert any(s.startswith('covid comes from covid-chestxray-dataset') for s in known_confounds(covidx))
    _, js, _ = write_datasheet(covidx, tmp_path/'covidx_v1.csv')
    described = mlc.Dataset(jsonld=js)
    assert not described.metadata.ctx.issues.errors and not described.metadata.ctx.issues.warnings
    assert sum(1 for _ in described.records('images'))==5941
