"What a chapter owes its reader, measured: short cells, definitions shown at once, prose in proportion, figures described"
import ast
import re
import statistics

import nbformat
import pytest
from conftest import NBS, SOLUTIONS
from test_repo import cells, code_lines, exported


def text_of(path): return '\n\n'.join(c.source for c in cells(path, 'markdown'))


def definitions(src): return [n.name for n in ast.parse(src).body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith('_')]


def shown_at_once(path):
    "Exported definitions of a chapter, and those that one of the next two cells of code names"
    codes = cells(path, 'code')
    every, shown = [], []
    for i,c in enumerate(codes):
        if not exported(c): continue
        nxt = '\n'.join(o.source for o in codes[i+1:i+3])
        for name in definitions(c.source):
            every.append(name)
            if re.search(rf'\b{name}\b', nxt): shown.append(name)
    return every, shown


def test_exported_cells_are_short():
    n = [len(code_lines(c.source)) for p in NBS for c in cells(p, 'code') if exported(c) and code_lines(c.source)]
    assert statistics.median(n)<=8 and max(n)<=30


@pytest.mark.parametrize('path', [*NBS, *SOLUTIONS], ids=lambda p: f'{p.parent.name}-{p.stem}')
def test_no_line_needs_scrolling(path):
    long = [f'cell {i}, {len(l)} characters: {l.strip()[:80]}' for i,c in enumerate(nbformat.read(path, 4).cells) if c.cell_type=='code'
            for l in code_lines(c.source) if len(l)>(160 if exported(c) else 140)]
    assert not long, '\n'.join(long)


def test_definitions_are_shown_or_tested_within_two_cells():
    every, shown = (sum(o, []) for o in zip(*map(shown_at_once, NBS)))
    assert len(every)>300 and len(shown)/len(every)>=.8, f'{len(shown)} of {len(every)}; not: {sorted(set(every)-set(shown))}'


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_prose_in_proportion(path):
    text = re.sub(r'\[!\[.*?\)\]\(.*?\)|\(http\S+\)', '', text_of(path))
    words, lines = len(re.findall(r"[A-Za-z0-9%'’-]+", text)), sum(len(code_lines(c.source)) for c in cells(path, 'code'))
    assert 4<=words/lines<=9, f'{words} words for {lines} lines of code'


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_chapter_has_its_parts(path):
    text = text_of(path)
    assert 3<=len(re.findall(r"^- ", text.split("You will")[1].split("\n#")[0], re.M))<=5, 'outcomes'
    for part in ('What goes wrong in published work', 'Summary', 'Questions', 'Exercises', 'Further reading'): assert re.search(rf'^## {part}$', text, re.M), part
    asked = re.findall(r'^\d+\. ', text.split('## Questions\n')[1].split('\n## ')[0], re.M)
    assert 8<=len(asked)<=12, f'{len(asked)} questions'


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_every_figure_is_described(path):
    for c in cells(path, 'code'):
        if any('image/png' in o.get('data', {}) for o in c.get('outputs', [])):
            alt = re.match(r'#\| fig-alt: (.{40,})', c.source)
            assert alt and alt[1].rstrip()[-1] in '.?!)', f'no `#| fig-alt:` of a sentence: {c.source[:80]}'


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_nothing_but_what_a_page_can_show(path):
    for c in cells(path, 'code'):
        for o in c.get('outputs', []):
            assert 'application/vnd.jupyter.widget-view+json' not in o.get('data', {}), 'a slider without a kernel shows nothing: run the chapter outside of a live notebook'
            if o.output_type=='stream': # words wrap, columns do not
                wide = [ln for ln in o.text.splitlines() if len(ln)>120 and len(re.findall(r'\S {2,}\S', ln))>3]
                assert not wide, f'a printed table too wide to read: {c.source[:80]}'
