"The repository keeps its own rules: exports in sync, imports down the numbers, short cells, no radiograph in git"
import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import NBS, ROOT

DIRECTIVE = re.compile(r'^\s*#\|')


def code_lines(src):
    "Lines of code: not blank, no directive, no comment line"
    return [ln for ln in src.splitlines() if ln.strip() and not DIRECTIVE.match(ln) and not ln.strip().startswith('#')]


def cells(path, kind=None): return [c for c in nbformat.read(path, 4).cells if kind in (None, c.cell_type)]


def chapter(path): return path.name.split('_')[0] # '02' < '02b' < '03'


def exported(c): return bool(re.match(r'#\|\s*export', c.source))


def module_of(path):
    for c in cells(path, 'code'):
        m = re.search(r'#\|\s*default_exp\s+(\w+)', c.source)
        if m: return m[1]


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    "A copy of what git tracks or would track, to run nbdev's chores in"
    to = tmp_path_factory.mktemp('copy')/'repo'
    files = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for f in filter(None, files.split('\0')):
        if (ROOT/f).is_file():
            (to/f).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT/f, to/f)
    return to


def chore(name, cwd): subprocess.run([str(Path(sys.executable).with_name(name))], cwd=cwd, check=True, capture_output=True)


def test_library_is_the_export_of_the_notebooks(copy):
    shutil.rmtree(copy/'covid_xray')
    (copy/'covid_xray').mkdir()
    chore('nbdev_export', copy)
    made, ours = ({p.name: p.read_text(encoding='utf-8') for p in (d/'covid_xray').glob('*.py')} for d in (copy, ROOT))
    assert made==ours, 'run nbdev_export'


def test_notebooks_are_clean(copy):
    before = {p.name: p.read_text(encoding='utf-8') for p in (copy/'nbs').glob('*.ipynb')}
    chore('nbdev_clean', copy)
    assert {p.name: p.read_text(encoding='utf-8') for p in (copy/'nbs').glob('*.ipynb')}==before, 'run nbdev_clean'


def test_imports_run_down_the_numbers():
    number = {module_of(p): chapter(p) for p in NBS if module_of(p)}
    assert len(number)>=13
    for path in NBS:
        for c in cells(path, 'code'):
            src = '\n'.join(ln for ln in c.source.splitlines() if not ln.strip().startswith(('%', '!')))
            for node in ast.walk(ast.parse(src)):
                if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('covid_xray.'):
                    used = node.module.split('.')[1]
                    assert number[used]<=chapter(path), f'{path.name} imports {used}, which is chapter {number[used]}'


def test_exported_modules_only_import_lower_chapters():
    number = {module_of(p): chapter(p) for p in NBS if module_of(p)}
    for mod, n in number.items():
        used = set(re.findall(r'from \.(\w+) import', (ROOT/'covid_xray'/f'{mod}.py').read_text(encoding='utf-8')))
        assert all(number[u]<n for u in used-{mod}), (mod, used)


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_one_parameters_cell(path):
    tagged = [c for c in cells(path, 'code') if 'parameters' in c.metadata.get('tags', [])]
    assert len(tagged)==1
    assert all(re.match(r'\w+ = ', ln) for ln in code_lines(tagged[0].source)), 'one assignment a line'


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_cells_are_short(path):
    for c in cells(path, 'code'):
        n, most = len(code_lines(c.source)), 30 if exported(c) else 25
        assert n<=most, f'{n} lines (at most {most}): {c.source[:80]}'


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_chapter_opens_and_closes_well(path):
    text = [c.source for c in cells(path, 'markdown')]
    assert re.match(r'# \d\d[a-z]? · .+\n\n> .+\n\n\[!\[Open In Colab\]', text[0]), 'H1, promise, Colab badge'
    assert f'nbs/{"_student/" if path.name<"80" else ""}{path.name}' in text[0], 'the badge opens what runs on Colab'
    assert any('## Questions' in t for t in text)


@pytest.mark.parametrize('path', NBS, ids=lambda p: p.stem)
def test_outputs_are_fit_to_commit(path):
    assert path.stat().st_size<2_000_000
    outs = [o for c in cells(path, 'code') for o in c.get('outputs', [])]
    assert not [o for o in outs if o.output_type=='error']
    text = json.dumps([o for o in outs if 'image/png' not in o.get('data', {})])
    assert not re.search(rf'(/root/|/home/|/Users/|{re.escape(str(ROOT))}/|[A-Z]:\\\\)', text), 'a path of one machine stands in an output'
    assert not re.search(r'Warning:|object at 0x[0-9a-f]', re.sub(r'class=.{0,40}', '', text)), 'a warning or a memory address stands in an output'


def test_no_radiograph_in_git():
    names = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    bad = [n for n in names if re.search(r'\.(jpe?g|dcm|tiff?|bmp|webp|npy|pt|pth|pkl|safetensors)$', n, re.I)]
    pngs = [n for n in names if n.endswith('.png') and not n.startswith(('results/', 'nbs/images/'))]
    assert not bad and not pngs


def test_import_is_light():
    "With the core nothing is loaded but this library and Python's own"
    src = ("import sys; before = set(sys.modules); import covid_xray; from covid_xray.core import *; "
           "print(*{m.split('.')[0] for m in set(sys.modules)-before} - sys.stdlib_module_names)")
    assert subprocess.run([sys.executable, '-c', src], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()==['covid_xray']


def test_readme_points_at_what_is_there():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    for link in re.findall(r'\]\((?!http|#)([^)#]+)', text): assert (ROOT/link).exists(), link
    for p in NBS: assert f'nbs/{p.name}' in text, f'{p.name} is missing in the table of the README'


def test_teaching_plan_has_every_chapter_once_and_their_minutes():
    rows = re.findall(r'^\| (?:\d|project) \| ([\w, ]+) \| .+ \| (\d+) \+ (\d+) \|$', (ROOT/'README.md').read_text(encoding='utf-8'), re.M)
    stated = {chapter(p): [int(n) for n in re.search(r'(\d+) minutes to read, (\d+) for the exercises', cells(p, 'markdown')[0].source).groups()] for p in NBS if p.name<'80'}
    assert sorted(c for r in rows for c in r[0].split(', '))==sorted(stated)
    for names, read, do in rows:
        assert [int(read), int(do)]==[sum(m) for m in zip(*(stated[c] for c in names.split(', ')))], names


def test_chapters_can_be_done_in_one_sitting():
    n = {p.name: len(cells(p)) for p in NBS}
    assert all(30<=v<=70 for v in n.values()), {k:v for k,v in n.items() if not 30<=v<=70}


def test_version_is_in_the_changelog():
    import covid_xray
    assert f'## {covid_xray.__version__}' in (ROOT/'CHANGELOG.md').read_text(encoding='utf-8')


def test_results_readme_is_what_the_records_say(tmp_path):
    from covid_xray.claims import write_results_readme
    to = Path(shutil.copytree(ROOT/'results', tmp_path/'results'))
    assert not write_results_readme(to), 'run covid_xray.claims.write_results_readme on results/'
    assert (to/'README.md').read_text(encoding='utf-8')==(ROOT/'results/README.md').read_text(encoding='utf-8')


def test_a_new_record_enters_the_results_readme_by_itself(tmp_path):
    from covid_xray.claims import read_records, write_results_readme
    to = Path(shutil.copytree(ROOT/'results', tmp_path/'results'))
    old = [r for r in read_records(to) if (r['data'], r['label'])==('covidx_v1', 'robust')]
    new = json.loads((to/old[0]['file']).read_text(encoding='utf-8'))
    (to/old[0]['file'].replace('-seed0-', '-seed77-')).write_text(json.dumps(dict(new, seed=77)), encoding='utf-8')
    stage = dict(new, arch='resnet50_he', profile='paper', split='valid')
    (to/'covidx_v1-paper-resnet50_he-seed0-stage1.json').write_text(json.dumps(stage), encoding='utf-8')
    assert write_results_readme(to) and not write_results_readme(to)
    runs, claims = (to/'README.md').read_text(encoding='utf-8').split('Claimed and obtained', 1)
    assert 'seed77-robust.json' in runs and f'robust ({len(old)+1} seeds)' in claims
    assert 'resnet50_he-seed0-stage1.json' in runs.split('Validation images only')[1] and 'stage1' not in claims
