"The student edition: in step with the chapters, without scaffold, and it runs"
import ast
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import NBS, ROOT

CHAPTERS = [p for p in NBS if p.name<'80']
EDITION = sorted((ROOT/'nbs'/'_student').glob('*.ipynb'))


def test_it_is_in_step_with_the_chapters(tmp_path):
    from covid_xray.student import student_edition
    made = {p.name: p.read_text(encoding='utf-8') for p in student_edition(tmp_path/'_student')}
    assert made=={p.name: p.read_text(encoding='utf-8') for p in EDITION}, 'run covid_xray_course --student'
    assert len(made)==len(CHAPTERS)


@pytest.mark.parametrize('path', EDITION, ids=lambda p: p.stem)
def test_nothing_of_the_scaffold_is_left(path):
    from covid_xray.student import tests_in
    nb = nbformat.read(path, 4)
    nbformat.validate(nb)
    code = [c for c in nb.cells if c.cell_type=='code']
    assert '%pip install' in code[0].source and nb.cells[0].source.startswith('# ')
    assert not [c for c in code if c.outputs or c.execution_count]
    for c in code[1:]:
        assert not re.search(r'^\s*#\|', c.source, re.M), c.source
        tags = c.metadata.get('tags', [])
        if 'check' not in tags: assert not tests_in(ast.parse(c.source).body), c.source
    ill = [c.source[-80:] for c,d in zip(nb.cells, [*nb.cells[1:], None]) if c.cell_type=='markdown' and c.source.rstrip().endswith(':') and (d is None or d.cell_type!='code')]
    assert not ill, f'announces a cell that is not there: {ill}'


def test_the_exercises_are_all_there():
    n = sum('check' in c.metadata.get('tags', []) for p in EDITION for c in nbformat.read(p, 4).cells)
    assert n==sum('check' in c.metadata.get('tags', []) for p in CHAPTERS for c in nbformat.read(p, 4).cells)>=2*len(CHAPTERS)


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
    "The edition, run where no checkout is, as on a student's machine: (its table, its notebooks, what its figures lack)"
    from covid_xray.course import run_course
    at = tmp_path_factory.mktemp('student')
    shutil.copytree(ROOT/'nbs'/'_student', at/'chapters')
    (at/'ipython'/'profile_default'/'startup').mkdir(parents=True)
    shutil.copy(ROOT/'tests'/'figure_log.py', at/'ipython'/'profile_default'/'startup')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('IPYTHONDIR', str(at/'ipython'))
        m.setenv('FIGURE_LOG', str(at/'figures'))
        table = run_course(at/'out', at/'chapters', data='phantom', profile='quick', seed=0)
    notebooks = {p.name: nbformat.read(p, 4) for p in sorted((at/'out'/'notebooks').glob('*.ipynb'))}
    return table, notebooks, [json.loads(line) for line in (at/'figures').read_text(encoding='utf-8').splitlines()]


def outputs(nb): return [o for c in nb.cells if c.cell_type=='code' for o in c.outputs]


@pytest.mark.student
def test_it_runs_from_top_to_bottom(executed):
    table, notebooks, _ = executed
    assert (table.status=='ok').all(), table[table.status!='ok'].to_string()
    for name, nb in notebooks.items():
        assert not [o.text for o in outputs(nb) if o.get('name')=='stderr' and 'Error' in o.text], name


@pytest.mark.student
def test_every_figure_has_a_title_and_labelled_axes(executed):
    _, notebooks, figures = executed
    assert len(figures)>=sum('image/png' in o.get('data', {}) for nb in notebooks.values() for o in outputs(nb))>=80
    assert not [f for f in figures if f['missing']]


def test_what_a_figure_lacks_is_seen(tmp_path):
    "The log that the last test reads, on figures that lack something"
    code = 'import os; os.environ["FIGURE_LOG"] = "log"; import figure_log; import matplotlib.pyplot as plt\n' \
        'for title, x in ("a", "b"), ("", "b"), ("a", ""):\n' \
        '    fig, ax = plt.subplots(); ax.plot([1, 2]); ax.set(title=title, xlabel=x, ylabel="c"); fig.savefig("f.png")\n'
    env = dict(os.environ, PYTHONPATH=str(ROOT/'tests'), MPLBACKEND='agg')
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=env, check=True, timeout=120)
    assert [json.loads(line)['missing'] for line in (tmp_path/'log').read_text().splitlines()]==[[], ['title'], ['x of axes 0']]
