"The glossary: in order, no term twice, every link leads somewhere, every term is in the chapter that it names"
import re

import nbformat
import pytest
from conftest import NBS, ROOT

PAGE = ROOT/'nbs/glossary.md'
ENTRY = re.compile(r'\*\*(?P<term>.+?)\*\*(?: \((?P<other>.+?)\))?: (?P<text>.+)')
FILES = {p.name.split('_')[0]: p for p in NBS}


def entries(): return [ENTRY.fullmatch(ln) for ln in PAGE.read_text(encoding='utf-8').splitlines() if ln.startswith('**')]


def links(e): return re.findall(r'\[(\w+)\]\(([^)]+)\)', e['text'])


def names(e):
    "What an entry is looked for by: its term, or each part of one such as `lobe, fissure`, then the words in brackets; code in backticks"
    return e['term'].split(', '), re.split(r'[;,] ', e['other'] or '')


def plain(text): return re.sub(r'[\s*`]+', ' ', text).lower()


def said(name, prose, code):
    "Is a name in the prose (or, in backticks, in the code), as a word, perhaps in the plural?"
    where = prose+' '+code if name.startswith('`') else prose
    return bool(re.search(rf'(?<!\w){re.escape(plain(name).strip())}(?:s|es)?(?!\w)', where))


def found(e, prose, code):
    terms, other = names(e)
    return all(said(t, prose, code) for t in terms) or any(said(o, prose, code) for o in other if o)


def text_of(path):
    cells = nbformat.read(path, 4).cells
    return [plain('\n'.join(c.source for c in cells if c.cell_type==kind)) for kind in ('markdown', 'code')]


def test_every_line_is_an_entry():
    assert len(entries())>=150 and all(entries()), [ln for ln in PAGE.read_text(encoding='utf-8').splitlines() if ln.startswith('**') and not ENTRY.fullmatch(ln)]


def test_terms_are_in_order_and_none_stands_twice():
    terms = [e['term'].lower() for e in entries()]
    assert terms==sorted(set(terms)), [b for a, b in zip(terms, terms[1:]) if b<=a]
    letters = re.findall(r'^## (.)$', PAGE.read_text(encoding='utf-8'), re.M)
    assert letters==sorted({t[0].upper() for t in terms})


def test_links_lead_to_the_chapter_they_say():
    for e in entries():
        for number, path in links(e): assert (PAGE.parent/path).exists() and FILES[number].name==path, e['term']


def test_an_entry_names_a_chapter_or_another_entry():
    terms = {e['term'] for e in entries()}
    for e in entries():
        see = re.search(r'see \*([^*]+)\*', e['text'])
        assert links(e) or see, e['term']
        assert not see or see[1] in terms-{e['term']}, e['term']


@pytest.mark.parametrize('number', FILES)
def test_terms_are_in_the_chapters_they_name(number):
    prose, code = text_of(FILES[number])
    lost = [e['term'] for e in entries() if number in dict(links(e)) and not found(e, prose, code)]
    assert not lost, f'not in the text of {FILES[number].name}: {", ".join(lost)}'


def test_the_words_a_reader_looks_up_are_there():
    have = {e['term'].lower() for e in entries()}
    want = '''radiograph, PA, AP, consolidation, ground-glass opacity, sensitivity, specificity, PPV, NPV, prevalence, AUROC, one-cycle, discriminative rates,
        mixup, batch norm, label smoothing, transfer learning, fine-tuning, progressive resizing, bootstrap, confidence interval, confounder, leak,
        data set shift, threshold, F1, early stopping'''
    assert not {w.strip().lower() for w in want.split(',')}-have
