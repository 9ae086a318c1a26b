"The web site, built of two notebooks: what a page shows, where links lead, what is found wrong, and that a site is whole or absent"
import base64
import json
import re
import shutil

import nbformat
import pytest
from conftest import NBS, ROOT
from test_commands import one_line_error

from covid_xray import site as site_module
from covid_xray.core import CourseError
from covid_xray.pages import mend_link, mend_links, page_notebook
from covid_xray.site import build_site, check_site, site_pages

pytestmark = pytest.mark.filterwarnings('ignore:.*myst_parser.*') # myst-parser on Sphinx 9: nothing to act on
PIXEL = base64.b64encode(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==')).decode()
LONG = 'a line that is '+'very '*60+'long'


def code(source, *tags, **data):
    outs = [nbformat.v4.new_output('display_data', {k.replace('_', '/'): v for k, v in data.items()})] if data else []
    return nbformat.v4.new_code_cell(source, metadata=dict(tags=list(tags)), outputs=outs)


def write(path, *cells):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(c) if isinstance(c, str) else c for c in cells],
                                  metadata=dict(kernelspec=dict(name='python3', display_name='python3', language='python')))
    nbformat.write(nb, path)


def small(repo, first='00_core.ipynb#The-ground'):
    "A repository of two chapters, with one of everything that a page has to deal with"
    (repo/'nbs'/'images').mkdir(parents=True)
    (repo/'results').mkdir()
    (repo/'LICENSE').write_text('Apache-2.0')
    (repo/'results'/'a.json').write_text('{}')
    (repo/'results'/'README.md').write_text('# Results\n\nOf [chapter 01](../nbs/01_more.ipynb): [a record](a.json). ![A pixel](fig.png)\n')
    for f in (repo/'results'/'fig.png', repo/'nbs'/'images'/'b.png'): f.write_bytes(base64.b64decode(PIXEL))
    (repo/'nbs'/'glossary.md').write_text('# Glossary\n\n**rate**: a share ([01](01_more.ipynb))\n')
    (repo/'README.md').write_text(f'# A small course\n\nBegin with [00](nbs/{first}), see [results](results/), [the chapters](nbs), [the licence](LICENSE).\n\n'
                                  '![One grey pixel](nbs/images/b.png)\n\n| '+' | '.join('abcdefghij')+' |\n'+'| --- '*10+'|\n'+'| a wide cell '*10+'|\n\n## Words\n\nSee the [glossary](nbs/glossary.md).\n')
    write(repo/'nbs'/'00_core.ipynb', '# 00 · Core\n\n> The ground.\n\n[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/x) · 1 minute',
          code('#| default_exp core'), code('seed = 0', 'parameters'), code('# Parameters\nseed = 7\n', 'injected-parameters'), '## The ground\n\nA rate is $p=\\frac{k}{n}$; `choose` looks up. `[no](link.md)`',
          code('#| hide\nsecret = "never shown"'), code('#| export\n#| hide_not\ndef shown(): ...'))
    write(repo/'nbs'/'01_more.ipynb', '# 01 · More\n\nAfter [core](00_core.ipynb), before [the front](../README.md#words) and [here](#Wide).', '## Wide',
          code('#| fig-alt: Two bars: "normal" 3, ill 5.\nplot()', image_png=PIXEL), code('plot_again()', image_png=PIXEL),
          code(f'"{LONG}"', text_html='<table><tr>'+'<td>a cell that is wide</td>'*20+'</tr></table>', text_plain='x'), code('...', 'exercise'), code('pass', 'check'))
    return repo/'nbs'


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    repo = tmp_path_factory.mktemp('repo')
    return build_site(repo/'out', nbs=small(repo), progress=False)


def text(site, page): return (site/page).read_text(encoding='utf-8')


@pytest.mark.filterwarnings('error::UserWarning')
def test_two_notebooks_make_a_site_without_findings_or_remarks(tmp_path, capfd):
    site = build_site(tmp_path/'out', nbs=small(tmp_path), progress=False)
    assert site==tmp_path/'out'/'site' and check_site(site)==[]
    assert [p.name for p in (tmp_path/'out').iterdir()]==['site'], 'nothing is left beside it'
    assert capfd.readouterr()==('', ''), 'no noise'


def test_the_bar_counts_every_page_and_disturbs_none(tmp_path, monkeypatch):
    steps = []
    class Bar:
        def __init__(self, total, **kw): self.total = total
        def __enter__(self): return self
        def __exit__(self, *args): pass
        def update(self): return steps.append(self.total) or True # tqdm returns True when it draws
    monkeypatch.setattr(site_module, 'track', Bar)
    build_site(tmp_path/'out', nbs=small(tmp_path))
    assert steps[0]<=len(steps)<=steps[0]+3, 'read and written, and the search and the index of names'


def test_directives_and_hidden_cells_are_not_shown(site):
    for p in site.rglob('nbs/*.html'):
        assert not re.search(r'#\s*\|', re.sub(r'<[^>]+>', '', p.read_text(encoding='utf-8'))) and 'default_exp' not in p.read_text(encoding='utf-8')
    assert 'never shown' not in text(site, 'nbs/00_core.html')
    assert 'never shown' not in text(site, 'searchindex.js')
    assert 'shown' in text(site, 'nbs/00_core.html')


def test_figures_have_their_text(site):
    alts = re.findall(r'<img alt="([^"]*)"', text(site, 'nbs/01_more.html'))
    assert alts==['Two bars: &quot;normal&quot; 3, ill 5.', 'Figure: Wide']


def test_parameters_from_papermill_have_a_name(site):
    page = re.sub(r'<[^>]+>', '', text(site, 'nbs/00_core.html'))
    assert 'Set from outside for this run:' in page and 'seed = 7' in page and '# Parameters' not in page
    assert 'tag_parameters' in text(site, 'nbs/00_core.html')


def test_links_and_badges(site):
    more, front = text(site, 'nbs/01_more.html'), text(site, 'index.html')
    assert 'href="00_core.html"' in more and 'href="../index.html#words"' in more and 'href="#wide"' in more
    assert 'href="nbs/00_core.html#the-ground"' in front and 'href="results/README.html"' in front
    assert re.search(r'href="https://github.com/[\w/-]+/tree/main/nbs"', front)
    assert re.search(r'href="_downloads/\w+/LICENSE"', front) and re.search(r'href="\.\./_downloads/\w+/a\.json"', text(site, 'results/README.html'))
    badge = text(site, 'nbs/00_core.html')
    assert 'badge.svg' not in badge and '>Open In Colab</a>' in badge


def test_formulas_need_no_script(site):
    assert '<mfrac>' in text(site, 'nbs/00_core.html')
    assert not [p for p in site.rglob('*.html') if re.search(r'<script[^>]*mathjax', p.read_text(encoding='utf-8'), re.I)]


def test_reference_has_signatures_comments_and_the_chapter(site):
    page = text(site, 'api/core.html')
    plain = re.sub(r'\s+', ' ', re.sub(r'<[^>]+>', '', page))
    assert 'id="covid_xray.core.choose"' in page and 'href="../nbs/00_core.html"' in page
    assert 'choose(value: str, options, what: str)' in plain and 'What kind of thing it is, for the message' in plain
    assert 'an unknown one raises CourseError' in plain, 'what comes back'
    assert 'href="../api/core.html#covid_xray.core.choose"' in text(site, 'nbs/00_core.html'), 'a name in the text leads there'


def test_search_index_has_chapters_and_names(site):
    index = text(site, 'searchindex.js')
    assert '01 \\u00b7 More' in index or '01 · More' in index
    assert 'choose' in index and 'covid_xray.core' in index


@pytest.mark.parametrize('link, said', [('gone.ipynb', 'dead anchor #nbs/gone.ipynb'), ('00_core.ipynb#not-a-heading', 'dead anchor nbs/00_core.html#not-a-heading')])
def test_a_dead_link_is_an_error_and_leaves_the_old_site(tmp_path, link, said):
    nbs = small(tmp_path, link)
    (tmp_path/'out'/'site').mkdir(parents=True)
    (tmp_path/'out'/'site'/'searchindex.js').write_text('old')
    with pytest.raises(CourseError, match=f'index.html: {said}'): build_site(tmp_path/'out', nbs=nbs, progress=False)
    assert [(p.name, p.read_text()) for p in (tmp_path/'out'/'site').iterdir()]==[('searchindex.js', 'old')]
    assert [p.name for p in (tmp_path/'out').iterdir()]==['site']


def test_a_folder_of_another_kind_is_not_touched(tmp_path):
    (tmp_path/'out'/'site').mkdir(parents=True)
    (tmp_path/'out'/'site'/'mine.txt').write_text('mine')
    with pytest.raises(CourseError, match='is not a site of the course'): build_site(tmp_path/'out', nbs=small(tmp_path), progress=False)
    assert (tmp_path/'out'/'site'/'mine.txt').read_text()=='mine'


@pytest.mark.parametrize('hole, said', [('<a href="b.html">', 'dead link b.html'), ('<a href="#x">', 'dead anchor #x'), ('<img src="c.png" alt="c">', 'dead link c.png'),
    ('<img src="https://x.org/a.png" alt="a">', 'comes from elsewhere'), ('<script src="//x.org/a.js"></script>', 'comes from elsewhere'),
    ('<link rel="stylesheet" href="https://x.org/a.css">', 'comes from elsewhere'), ('<img src="data:image/png;base64,AA">', 'no alternative text')])
def test_the_checker_finds_each_kind_of_hole(tmp_path, hole, said):
    (tmp_path/'a.html').write_text('<h1 id="top">A</h1><a href="#top"><a href="a.html#top"><a href="https://x.org">')
    assert check_site(tmp_path)==[]
    (tmp_path/'a.html').write_text(f'<h1 id="top">A</h1>{hole}')
    assert len(found := check_site(tmp_path))==1 and said in found[0]


def test_a_missing_package_is_one_line(monkeypatch, tmp_path):
    import importlib.util
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda n, *a: None if n=='furo' else real(n, *a))
    with pytest.raises(CourseError, match=r'^the site needs furo: pip install -e "\.\[dev\]"$'): build_site(tmp_path)


def test_executed_copies_go_before_committed_ones(tmp_path):
    nbs = small(tmp_path)
    shutil.copytree(nbs, tmp_path/'run')
    (tmp_path/'run'/'01_more.ipynb').unlink()
    pages = site_pages(nbs, tmp_path/'run')
    assert pages['nbs/00_core.ipynb'].parent==tmp_path/'run' and pages['nbs/01_more.ipynb'].parent==nbs


def test_the_command_of_committed_notebooks(command, tmp_path):
    p = command('covid_xray_course', '--site', '--committed', '--nbs', small(tmp_path), '--out', tmp_path/'out')
    assert p.returncode==0, p.stderr[-2000:]
    assert (tmp_path/'out'/'site'/'index.html').is_file() and not (tmp_path/'out'/'course.json').exists()
    assert p.stdout.splitlines()[-1].startswith('the site: open') and len(p.stdout.splitlines())<=2 and not p.stderr


def test_the_command_runs_what_was_not_run(command, tmp_path):
    nbs = tmp_path/'nbs'
    nbs.mkdir()
    write(nbs/'00_a.ipynb', '# 00 · A', code('seed = 0', 'parameters'), code('print("seed", seed)'))
    args = ('covid_xray_course', '--site', '--nbs', nbs, '--out', tmp_path/'out', '--seed', '3')
    for ran in (True, False): # a finished course is not run again
        p = command(*args)
        assert p.returncode==0, p.stderr[-2000:]
        assert ('notebooks ran in' in p.stdout)==ran
    assert 'seed 3' in re.sub(r'<[^>]+>', '', text(tmp_path/'out'/'site', 'nbs/00_a.html'))


def test_committed_wants_site(command, tmp_path):
    assert 'add --site' in one_line_error(command('covid_xray_course', '--committed', '--out', tmp_path))


def test_links_in_code_stay():
    there = lambda t: mend_link(t, 'nbs/a.ipynb', {'index.md'}, ROOT)[0]
    fenced = '[a](../README.md)\n\n```\n[a](../README.md)\n```\n`[a](../README.md)`'
    assert mend_links(fenced, there)==fenced.replace('[a](../README.md)', '[a](../index.md)', 1)


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_every_chapter_makes_a_page(path):
    nb = page_notebook(path)
    nbformat.validate(nbformat.from_dict(json.loads(nbformat.writes(nb))))
    assert not [c.source for c in nb.cells if c.cell_type=='code' and c.source.lstrip().startswith('#|')]
    assert 'badge.svg' not in nb.cells[0].source
