"Exercises: every solution passes its checks, every stub fails them"
import os
import re
from pathlib import Path

import nbformat
import pytest
from conftest import NBS, ROOT, SOLUTIONS


def tagged(path, tag): return [c for c in nbformat.read(path, 4).cells if tag in c.metadata.get('tags', [])]


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_every_chapter_has_exercises_and_their_solutions(path):
    stubs, checks = tagged(path, 'exercise'), tagged(path, 'check')
    solved = ROOT/'nbs'/'_solutions'/path.name
    assert 2<=len(stubs)<=3 and len(stubs)==len(checks)==len(tagged(solved, 'solution'))
    assert [c.source for c in checks]==[c.source for c in tagged(solved, 'check')], 'the solutions are checked by the same asserts'
    number = path.name.split('_')[0]
    text = '\n'.join(c.source for c in nbformat.read(path, 4).cells)
    for k,c in enumerate(checks, 1):
        assert f"exercise('{number}.{k}')" in c.source and re.search(r'\bassert\b|\btest_fail\b', c.source)
        assert f'### Exercise {number}.{k}: ' in text


def test_no_solution_without_a_chapter(): assert [p.name for p in SOLUTIONS]==[p.name for p in NBS]


@pytest.mark.parametrize('path', SOLUTIONS, ids=lambda p: p.stem)
def test_the_solution_passes(path, drawn):
    import papermill
    from covid_xray.course import can_fork, forked_kernels, kernel_managers
    managers = forked_kernels() if can_fork() else kernel_managers()
    env = dict(COVID_XRAY_STRICT='1', COVID_XRAY_RUNS=str(drawn)) # strict: a wrong answer raises
    with pytest.MonkeyPatch.context() as m:
        for k,v in env.items(): m.setenv(k, v)
        nb = papermill.execute_notebook(str(path), None, cwd=str(ROOT/'nbs'), kernel_name='python3', progress_bar=False, kernel_manager_class=managers)
    said = [''.join(o.get('text', '') for o in c.outputs) for c in nb.cells if 'check' in c.metadata.get('tags', [])]
    assert said and all(re.search(r'Exercise \S+: right', s) for s in said)
