"What users give that nobody planned for: names that look like gaps, NumPy's numbers, hidden folders, `~`, empty answers"
import numpy as np
import pandas as pd
import pytest
from covid_xray.audit import audit, check_classes, drop_duplicates, plot_duplicates
from covid_xray.cache import FileImages, build_caches
from covid_xray.core import CourseError, check_seed, config_hash, get_settings, set_seed, write_json
from covid_xray.curation import cut_test, load_data
from covid_xray.datasheet import licences
from covid_xray.loaders import make_loaders
from covid_xray.manifest import manifest_vocab, read_manifest, write_manifest
from covid_xray.models import make_model
from covid_xray.rates import patient_codes
from covid_xray.sources import image_files
from covid_xray.splits import cut_valid
from PIL import Image


@pytest.fixture
def ds(phantoms): return phantoms


@pytest.fixture
def settings(tmp_path): return get_settings(runs=tmp_path/'runs')


def mine(folder, patients, metadata=True, split=''):
    "Two classes, an image a patient; who is whom stands in metadata.csv"
    rows = []
    for c in ('normal', 'ill'):
        for i,p in enumerate(patients):
            path = f'{split}{c}/{i}.png'
            (folder/path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(len(rows)).integers(0, 255, (16, 16)).astype(np.uint8)).save(folder/path)
            rows.append((path, f'{c}-{p}' if p!='NA' else p, 'CC BY 4.0', 'NA'))
    if metadata: pd.DataFrame(rows, columns=['path', 'patient_id', 'license', 'age']).to_csv(folder/'metadata.csv', index=False)
    return folder


def test_a_patient_may_be_called_na_and_the_owner_s_licence_counts(tmp_path):
    d = load_data(mine(tmp_path/'mine', ['NA']*3+[1, 2, 3, 4, 5]))
    assert (d.manifest.patient_id=='mine-NA').sum()==6, 'pandas takes NA for a gap, and each image would be a patient of its own'
    assert d.manifest.age.isna().all() and licences(d)=={'mine': 'CC BY 4.0'}


def test_split_folders_in_capitals_and_hidden_folders(tmp_path):
    for s in ('Train/', 'Test/'): mine(tmp_path/'mine', range(3), metadata=False, split=s)
    (tmp_path/'mine'/'.thumbnails').mkdir(); (tmp_path/'mine'/'Test'/'x.png').mkdir()
    Image.new('L', (9, 9)).save(tmp_path/'mine'/'.thumbnails'/'a.png')
    d = load_data(tmp_path/'mine')
    assert sorted(d.vocab)==['ill', 'normal'] and d.manifest.split.value_counts().to_dict()==dict(train=6, test=6)
    assert len(image_files(tmp_path/'mine'))==12


def test_rows_with_equal_numbers_do_not_cut_a_patient_in_two(ds):
    twice = ds.manifest.assign(patient_id=ds.manifest.patient_id.astype(object))
    twice.index = np.arange(len(twice))//2 # as `pd.concat` leaves them
    m = cut_valid(type(ds)(ds.name, twice, ds.root, ds.vocab), .3).manifest
    assert not set(m.patient_id[m.split=='valid'])&set(m.patient_id[m.split=='train'])


def test_shares_of_nothing_and_of_nearly_all():
    people = pd.DataFrame(dict(patient_id=list('abcd'), label=['x', 'x', 'y', 'y']))
    assert (cut_test(people, 0)=='train').all()
    assert (pd.Series(cut_test(people, .9)).groupby(people.label).nunique()==2).all()


def test_numpy_s_numbers_are_numbers(ds, settings):
    for s in (np.int64(3), np.uint8(3)): set_seed(check_seed(s))
    built = build_caches(ds.manifest, ds.root, [np.int64(20)], settings.cache/'images')
    again = build_caches(ds.manifest, ds.root, [20], settings.cache/'images')
    assert built==again and np.load(built[20], mmap_mode='r').shape==(len(ds.manifest), 20, 20)
    assert make_loaders(cut_valid(ds, .3), 20, batch_size=np.int64(4), seed=np.int64(1), settings=settings).train.bs==4


def test_equal_sets_have_equal_hashes():
    assert config_hash({'b', 'a', 'c'})==config_hash(['a', 'b', 'c'])


def test_a_selection_without_a_row_is_an_empty_array(ds):
    files = FileImages(ds.manifest, ds.root, 24)
    assert files[[]].shape==files[0:0].shape==(0, 24, 24)


def test_a_vocabulary_with_a_class_without_images_comes_back(ds, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path)); monkeypatch.setenv('USERPROFILE', str(tmp_path))
    well = type(ds)('well', ds.manifest[ds.manifest.label=='normal'], ds.root, ('normal', 'pneumonia'))
    assert write_manifest(well, '~/well.csv')==tmp_path/'well.csv'
    write_json({}, '~/new/a.json'); assert (tmp_path/'new'/'a.json').is_file()
    assert manifest_vocab(read_manifest(tmp_path/'well.csv'))==('normal', 'pneumonia')


def test_blank_patients_are_gaps(ds, tmp_path):
    f = write_manifest(ds, tmp_path/'m.csv')
    df = pd.read_csv(f, dtype=str, keep_default_na=False); df.loc[0, 'patient_id'] = ' '; df.to_csv(f, index=False)
    with pytest.raises(CourseError, match='no patient_id in 1 rows'): read_manifest(f)


def test_patients_by_name_or_by_place():
    df = pd.DataFrame(dict(image_id=[2, 0, 1]))
    assert patient_codes(df, pd.Series(['a', 'a', 'b'])).tolist()==[0, 0, 1], 'the same rows: by place'
    assert patient_codes(df, pd.Series(['x', 'y', 'x'], index=[0, 1, 2][::-1])).tolist()==[0, 0, 1], 'other rows: by name'
    assert patient_codes(df, {0: 'a', 2: 'a'}).tolist()==[0, 0, 1]
    assert patient_codes(df, pd.Series(['y', 'z', 'y', 'q'], index=list('0127'))).tolist()==[0, 0, 1], 'numbers, and names that are texts'


def test_the_test_set_keeps_its_copies():
    m = pd.DataFrame(dict(image_id=list('abcde'), label='x', split=['train', 'test', 'test', 'train', 'train'], group=[0, 0, 0, 1, 1]))
    class Data: manifest = m.assign(**dict.fromkeys(('path', 'source', 'patient_id', 'view', 'age', 'sex', 'license', 'width', 'height', 'sha256')))
    import covid_xray.audit as a
    kept = []
    old, a.replace = a.replace, lambda data, manifest: kept.append(manifest.image_id.tolist())
    try: drop_duplicates(Data, m)
    finally: a.replace = old
    assert kept==[['b', 'c', 'd']]
    with pytest.raises(CourseError, match='no duplicates to draw'): plot_duplicates(m.iloc[:0], Data)


def test_an_audit_of_too_few_is_one_line(ds, settings):
    with pytest.raises(CourseError, match='an audit needs two classes'): audit(type(ds)('one', ds.manifest[ds.manifest.label=='normal'], ds.root, ('normal',)))
    check_classes(load_data('phantom', settings, per_class=3))


def test_weights_of_another_number_of_classes(tmp_path, settings):
    import torch
    from covid_xray.backbones import build_backbone
    net = build_backbone('resnet18'); net.fc = torch.nn.Linear(512, 14)
    torch.save(net.state_dict(), tmp_path/'chexnet.pth')
    model = make_model('resnet18', 3, weights=tmp_path/'chexnet.pth')
    assert torch.equal(model[0][0].weight, net.conv1.weight)


def test_a_run_is_judged_on_its_own_test_images_only(tmp_path, settings, ds):
    from covid_xray import runs
    run = tmp_path/'run'; run.mkdir()
    write_manifest(ds, run/'manifest.csv')
    fewer = type(ds)(ds.name, ds.manifest.drop(ds.manifest.index[ds.manifest.split=='test'][:1]), ds.root, ds.vocab)
    write_json(dict(data='here', vocab=list(ds.vocab), seed=0, arch='resnet18', profile='quick', manifest_sha256=ds.sha256), run/'run.json')
    with pytest.MonkeyPatch.context() as m:
        m.setattr(runs, 'last_stage', lambda d: (runs.read_run(d), None)); m.setattr(runs, 'data_for', lambda *a: fewer)
        with pytest.raises(CourseError, match='are not those of this run'): runs.evaluate_run(run, settings=settings)
    assert not (run/'looks.json').exists() and not (run/'report.json').exists()


def test_a_probe_of_a_few_says_that_it_knows_nothing(tmp_path, settings):
    from covid_xray.audit import blind_probes
    assert blind_probes(load_data(mine(tmp_path/'mine', range(8))), settings).isna().all(axis=None)


def test_a_column_of_another_name_is_left_alone_and_seeds_are_whole(tmp_path, ds):
    folder = mine(tmp_path/'mine', range(5))
    md = pd.read_csv(folder/'metadata.csv'); md.assign(image='x', stage=1).to_csv(folder/'metadata.csv', index=False)
    assert len(load_data(folder).manifest)==10
    for seed in (-1, 1.5, 'a', None, True):
        with pytest.raises(CourseError, match='give a whole number'): cut_valid(ds, .3, seed)
