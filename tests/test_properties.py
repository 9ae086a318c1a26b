"Properties that must hold for any input, not only for the notebooks' examples"
import numpy as np
import pandas as pd
import pytest
from covid_xray.cache import METHODS, square
from covid_xray.core import CourseError, choose, config_hash, read_json, write_json
from covid_xray.evaluation import evaluate, report_table
from covid_xray.rates import auroc, average_precision, interval
from covid_xray.images import read_image
from covid_xray.cohort import draw_phantom
from covid_xray.manifest import MANIFEST_COLUMNS, DataSet
from covid_xray.splits import check_splits, cut_valid
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

few = settings(max_examples=40, deadline=None)
json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                           lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(), c, max_size=4), max_leaves=12)


@few
@given(json_values)
def test_a_record_comes_back_as_it_went(tmp_path_factory, value):
    f = tmp_path_factory.mktemp('json')/'r.json'
    assert read_json(write_json(value, f))==value


@few
@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1, max_size=5))
def test_the_order_of_keys_does_not_change_a_fingerprint(d):
    assert config_hash(d)==config_hash(dict(reversed(list(d.items()))))


@few
@given(st.text())
def test_an_unknown_name_is_always_one_clear_error(name):
    if name in ('a', 'b'): assert choose(name, ['a', 'b'], 'thing')==name
    else:
        with pytest.raises(CourseError, match='choose one of a, b'): choose(name, ['a', 'b'], 'thing')


@few
@given(st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate(kn):
    k, n = kn
    low, high = interval(k, n)
    if n==0: assert np.isnan(low) and np.isnan(high)
    else: assert 0<=low<=k/n<=high<=1 and low<high


def predictions(seed, n, classes='abc'):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(len(classes)), n)
    df = pd.DataFrame(p, columns=list(classes))
    return df.assign(image_id=[f'i{i}' for i in range(n)], label=rng.choice(list(classes), n), patient=rng.integers(0, max(1, n//2), n))


@few
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_a_report_is_consistent(seed, n):
    df = predictions(seed, n)
    r = evaluate(df, 'abc', df.patient, n_boot=50)
    cm = np.array(r['confusion']['matrix'])
    assert cm.sum()==n and r['accuracy']['value']==pytest.approx(np.trace(cm)/n)
    for i, c in enumerate('abc'):
        sens = r['per_class'][c]['sensitivity']
        if cm[i].sum(): assert sens['value']==pytest.approx(cm[i, i]/cm[i].sum()) and 0<=sens['low']<=sens['high']<=1
        else: assert np.isnan(sens['value'])


@few
@given(st.integers(0, 10_000), st.integers(2, 50))
def test_the_order_of_rows_does_not_change_a_report(seed, n):
    df = predictions(seed, n)
    a, b = (evaluate(d, 'abc', n_boot=2) for d in (df, df.sample(frac=1, random_state=1)))
    assert a['confusion']==b['confusion']


@few
@given(st.integers(0, 10_000), st.integers(2, 80))
def test_auroc_is_that_of_scikit_learn_and_turns_with_the_score(seed, n):
    from sklearn.metrics import roc_auc_score
    rng = np.random.default_rng(seed)
    y, s = rng.random(n)<.5, rng.integers(0, 6, n)/5
    if y.all() or not y.any(): assert np.isnan(auroc(y, s)[0])
    else:
        assert auroc(y, s)[0]==pytest.approx(roc_auc_score(y, s))
        assert auroc(y, -s)[0]==pytest.approx(1-auroc(y, s)[0])


@few
@given(st.integers(0, 10_000), st.integers(2, 80))
def test_average_precision_is_that_of_scikit_learn_for_any_weights(seed, n):
    from sklearn.metrics import average_precision_score
    rng = np.random.default_rng(seed)
    y, s, w = rng.random(n)<.3, rng.integers(0, 6, n)/5, rng.integers(0, 3, (3, n))
    for ap, k in zip(average_precision(y, s, w), w):
        if (k*y).sum()==0: assert np.isnan(ap)
        else: assert ap==pytest.approx(average_precision_score(y, s, sample_weight=k))


@few
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_every_interval_of_a_report_holds_its_figure_or_both_are_unknown(seed, n):
    df = predictions(seed, n)
    r = evaluate(df, 'abc', df.patient, n_boot=50)
    for c in 'abc':
        for m in ('sensitivity', 'specificity', 'ppv', 'average_precision'):
            e = r['per_class'][c][m]
            if np.isnan(e['value']): assert np.isnan(e['low']) and np.isnan(e['high'])
            elif 'Clopper-Pearson' in e['method']: assert 0<=e['low']<=e['value']<=e['high']<=1


def test_committed_reports_without_average_precision_stay_readable():
    from conftest import ROOT
    records = sorted((ROOT/'results').glob('*-seed*.json'))
    assert records
    for f in records:
        r = read_json(f)
        table = report_table(r)
        assert list(table.index)==[*r['per_class'], 'all']
        assert ('AP' in table)==('average_precision' in r['per_class']['normal'])


def manifest(seed, n_patients):
    rng = np.random.default_rng(seed)
    rows = []
    for p in range(n_patients):
        label = rng.choice(['normal', 'pneumonia'], p=[.3, .7])
        for k in range(rng.integers(1, 5)):
            rows.append(dict(image_id=f'x/{p}_{k}.png', path=f'{p}_{k}.png', source='x', label=label, patient_id=f'x-{p}',
                             split='test' if p%5==0 else 'train', sha256=f'{p:032d}{k:032d}'))
    return DataSet('x', pd.DataFrame(rows).reindex(columns=MANIFEST_COLUMNS), '.', ('normal', 'pneumonia'))


@few
@given(st.integers(0, 1000), st.integers(30, 120), st.integers(0, 5))
def test_cutting_validation_never_splits_a_patient_nor_touches_the_test(seed, n, cut_seed):
    data = manifest(seed, n)
    cut = cut_valid(data, .2, cut_seed)
    check_splits(cut)
    assert (cut.manifest.groupby('patient_id').split.nunique()==1).all()
    assert set(cut.split('test').image_id)==set(data.split('test').image_id)
    assert len(cut.manifest)==len(data.manifest) and len(cut.split('valid'))
    pd.testing.assert_frame_equal(cut.manifest, cut_valid(data, .2, cut_seed).manifest)


@few
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64), st.sampled_from(METHODS))
def test_a_square_is_square(h, w, size, method):
    img = np.full((h, w), 77, np.uint8)
    out = square(img, size, method)
    assert out.shape==(size, size) and out.dtype==np.uint8
    if method!='pad': assert (out==77).all()


@few
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(['L', 'RGB', '1', 'P', 'RGBA', 'LA', 'I;16', 'CMYK']), st.integers(0, 999))
def test_any_mode_is_read_as_one_grey_array(tmp_path_factory, h, w, mode, seed):
    a = np.random.default_rng(seed).integers(0, 256, (h, w), dtype=np.uint8)
    im = Image.fromarray(a.astype(np.uint16)*257) if mode=='I;16' else Image.fromarray(a).convert('RGBA' if mode=='LA' else mode)
    if mode=='LA': im = im.convert('LA')
    f = tmp_path_factory.mktemp('img')/('x.jpg' if mode=='CMYK' else 'x.png')
    im.save(f)
    out = read_image(f)
    assert out.shape==(h, w) and out.dtype==np.uint8
    if mode in ('L', 'RGB', 'RGBA', 'LA', 'I;16'): assert np.abs(out.astype(int)-a).max()<=(1 if mode!='I;16' else 130)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(['normal', 'bacterial', 'viral', 'covid']), st.integers(0, 500), st.integers(0, 2), st.floats(0.5, 90))
def test_a_phantom_is_deterministic_and_its_lesion_is_where_it_should_be(label, patient, image, age):
    img, mask = draw_phantom(label, patient, image, patient%5, age, size=96)
    again, _ = draw_phantom(label, patient, image, patient%5, age, size=96)
    assert np.array_equal(img, again) and img.dtype==np.uint8 and mask.dtype==bool and img.shape==mask.shape==(96, 96)
    assert mask.any()==(label!='normal') and mask.mean()<.5
    if label=='covid': assert np.nonzero(mask)[0].mean()>96*.4, 'ground glass lies low'
