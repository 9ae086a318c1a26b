"The student edition: in step with the chapters, without scaffold, and it runs"
import ast
import re
import shutil

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


@pytest.mark.student
def test_it_runs_from_top_to_bottom(tmp_path):
    "Where no checkout is: a copy elsewhere, as on a student's machine"
    from covid_xray.course import run_course
    shutil.copytree(ROOT/'nbs'/'_student', tmp_path/'chapters')
    table = run_course(tmp_path/'out', tmp_path/'chapters', data='phantom', profile='quick', seed=0)
    assert (table.status=='ok').all(), table[table.status!='ok'].to_string()
    for p in sorted((tmp_path/'out'/'notebooks').glob('*.ipynb')):
        nb = nbformat.read(p, 4)
        stderr = [o.text for c in nb.cells if c.cell_type=='code' for o in c.outputs if o.get('name')=='stderr']
        assert not [t for t in stderr if 'Error' in t], p.name
