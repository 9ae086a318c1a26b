"""A student's first hour: a notebook opened in JupyterLab, every cell run from the menu, and what is then on the screen.

Other chapters (or `all`) by `COVID_XRAY_CHAPTERS="13_evaluation 16_papers" python -m pytest -m browser -n0 tests/browser/test_jupyterlab.py`;
`COVID_XRAY_SHOTS` names a folder for the screenshots."""
import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from browser.conftest import IS_ROOT, wait_until
from conftest import NBS, ROOT

pytestmark = pytest.mark.browser

TRAINS = '10_stage1_128'
CHAPTERS = os.environ.get('COVID_XRAY_CHAPTERS', f'13d_threshold {TRAINS}').split()
if CHAPTERS==['all']: CHAPTERS = [p.stem for p in NBS]

SLOW = '''from time import sleep
from covid_xray.notebook import track
with track(desc='kept', total=2, leave=True, delay=0) as bar:
    for i in track(range(30), 'files'):
        sleep(.1)
        if i%15==14: bar.update(); bar.write(f'{i+1} read')'''

RUNS_FOR = 300 # seconds, at most

SAID = {'00_core': 'interrupted: what was finished is kept', '03_curation': 'images are left out'} # on stderr, with a sentence in the chapter
OWN_NOISE = [] # JupyterLab's own console errors, as regular expressions

SETTINGS = {
    'notebook-extension/tracker': dict(windowingMode='none'), # every cell is in the page, not only those in view
    'apputils-extension/notification': dict(fetchNews='false', checkForUpdates=False),
    'extensionmanager-extension/plugin': dict(enabled=False),
}

# Bars come and go while a cell runs: a look every tenth of a second from the page's first moment
WATCH_BARS = """
window.bars = {seen: 0, most: 0};
setInterval(() => document.querySelectorAll('.jp-OutputArea-output progress').forEach(p => {
    window.bars.seen += 1; window.bars.most = Math.max(window.bars.most, p.value/p.max);
}), 100);
"""

# One dict a cell: what of its output is an error, stderr, a figure, a bar or too wide
LOOK = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map((cell, i) => {
    const all = s => [...cell.querySelectorAll(s)], text = e => e.innerText.slice(0, 300);
    const of = t => all(`.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.${t}"]`).map(text);
    return {
        cell: i, prompt: cell.querySelector('.jp-InputPrompt')?.innerText ?? '', outputs: all('.jp-OutputArea-output').length,
        errors: of('error'), stderr: of('stderr'), bad_bars: all('.progress-bar-interrupted').length,
        images: all('.jp-OutputArea-output img').map(e => {
            const r = e.getBoundingClientRect(), box = e.closest('.jp-OutputArea-output').getBoundingClientRect();
            return {natural: e.naturalWidth, width: r.width, over: Math.max(r.right-box.right, box.left-r.left, r.bottom-box.bottom)};
        }),
        bars: all('progress').map(e => e.value/e.max),
        scrolls: all('.jp-OutputArea-output').filter(e => e.scrollWidth>e.clientWidth+1).map(e => [e.scrollWidth, e.clientWidth]),
        leaks: all('.jp-OutputArea-output').filter(e => e.scrollWidth>e.clientWidth+1 && !['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)).length,
    };
})"""

PANEL = '.jp-NotebookPanel:visible .jp-WindowedPanel-outer'


def free_port():
    "Not from the range out of which connections get their ports (32768 and up on Linux): one of them could take it before the server does"
    for port in random.sample(range(15000, 32000), 100):
        with socket.socket() as s:
            try: s.bind(('127.0.0.1', port))
            except OSError: continue
            return port


@pytest.fixture(scope='module')
def lab(browser, tmp_path_factory):
    "JupyterLab on the loopback interface, with folders of its own and a copy of the notebooks without outputs"
    tmp = tmp_path_factory.mktemp('lab')
    shutil.copytree(ROOT/'nbs', tmp/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints', 'runs'))
    for f in (tmp/'nbs').glob('*.ipynb'):
        nb = nbformat.read(f, 4)
        for c in nb.cells:
            if c.cell_type=='code': c.outputs, c.execution_count = [], None
        nbformat.write(nb, f)
    kernel = dict(name='python3', display_name='Python 3', language='python')
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SLOW)], metadata=dict(kernelspec=kernel)), tmp/'nbs'/'slow.ipynb')
    for name, values in SETTINGS.items():
        f = tmp/'settings'/'@jupyterlab'/f'{name}.jupyterlab-settings'
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_text(json.dumps(values))
    own = dict(JUPYTER_CONFIG_DIR='config', JUPYTER_DATA_DIR='data', JUPYTER_RUNTIME_DIR='runtime', IPYTHONDIR='ipython', COVID_XRAY_RUNS='runs',
               JUPYTERLAB_SETTINGS_DIR='settings', JUPYTERLAB_WORKSPACES_DIR='workspaces')
    env = os.environ | {k: str(tmp/v) for k, v in own.items()} | dict(JUPYTER_PREFER_ENV_PATH='1')
    port, token = free_port(), secrets.token_hex(16)
    args = ['--no-browser', '--ServerApp.ip=127.0.0.1', f'--ServerApp.port={port}', '--ServerApp.port_retries=0', f'--IdentityProvider.token={token}',
            f'--ServerApp.root_dir={tmp/"nbs"}', '--LabApp.extension_manager=readonly', '--LabApp.news_url=None',
            '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', *(['--allow-root'] if IS_ROOT else [])]

    def api(path, method='GET'):
        req = urllib.request.Request(f'http://127.0.0.1:{port}/api/{path}', method=method, headers={'Authorization': f'token {token}'})
        try:
            with urllib.request.urlopen(req, timeout=10) as r: return json.loads(r.read() or 'true')
        except (urllib.error.URLError, OSError): return None

    with open(tmp/'lab.log', 'w') as log:
        server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', *args], env=env, cwd=tmp, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: api('status') or server.poll() is not None, 60, 'JupyterLab')
            assert server.poll() is None, (tmp/'lab.log').read_text()[-2000:]
            yield SimpleNamespace(url=f'http://127.0.0.1:{port}', token=token, api=api, nbs=tmp/'nbs')
        finally:
            for k in api('kernels') or []: api(f"kernels/{k['id']}", 'DELETE')
            server.terminate()
            try: server.wait(20)
            except subprocess.TimeoutExpired: server.kill()


def menu(page, *items):
    "Choose from the menu bar, as a user does"
    page.locator('#jp-MainMenu').get_by_role('menuitem', name=items[0], exact=True).click()
    page.locator('.lm-Menu').get_by_text(items[1], exact=True).click()


def photograph(page, to, stem):
    "The whole notebook as pictures, a screen at a time"
    page.set_viewport_size(dict(width=1366, height=1400))
    panel = page.locator(PANEL)
    height, step = panel.evaluate("""e => [[...e.querySelectorAll('.jp-Cell')].at(-1).getBoundingClientRect().bottom
        - e.getBoundingClientRect().top + e.scrollTop, e.clientHeight-40]""") # below the last cell lies an empty screen
    for i, y in enumerate(range(0, int(height), step)):
        panel.evaluate('(e, y) => e.scrollTo(0, y)', y)
        page.wait_for_timeout(100)
        panel.screenshot(path=to/f'{stem}-{i+1:02}.png')


@pytest.fixture(scope='module')
def seen(lab): return {} # chapter → what was on the screen, so that each chapter runs once


@pytest.fixture
def ran(request, lab, seen, open_page, shots):
    "A chapter after Run All Cells and Save: the cells on the screen, the page's width and log, and the saved notebook"
    stem = request.param
    if stem in seen: return seen[stem] or pytest.fail('the chapter has not run to its end: see the first failure')
    seen[stem] = None
    page, log = open_page(f'{lab.url}/lab/workspaces/{stem}/tree/{stem}.ipynb?token={lab.token}', WATCH_BARS)
    try:
        page.locator('#jp-main-statusbar').get_by_text(re.compile(r'\| Idle$')).wait_for(timeout=60_000) # too early, and JupyterLab asks for a kernel
        menu(page, 'Run', 'Run All Cells')
        prompts = "[...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')].map(e => e.innerText)"
        page.wait_for_function(f"() => {prompts}.some(t => /\\[\\d+\\]/.test(t)) && !{prompts}.some(t => t.includes('*'))", timeout=RUNS_FOR*1000, polling=250)
        page.wait_for_timeout(500) # the last figure is decoded
        path = lab.nbs/f'{stem}.ipynb'
        before = path.stat().st_mtime_ns
        menu(page, 'File', 'Save Notebook')
        wait_until(lambda: path.stat().st_mtime_ns>before, 20, f'{path.name} saved')
        panel = page.locator(PANEL).evaluate('e => [e.scrollWidth, e.clientWidth]')
        seen[stem] = SimpleNamespace(stem=stem, cells=page.evaluate(LOOK), panel=panel, bars=page.evaluate('window.bars'), log=log, saved=nbformat.read(path, 4))
    finally:
        page.screenshot(path=shots/f'{stem}-00.png') # the window as it was last
        photograph(page, shots, stem)
        for k in lab.api('kernels') or []: lab.api(f"kernels/{k['id']}", 'DELETE')
    return seen[stem]


chapters = pytest.mark.parametrize('ran', CHAPTERS, indirect=True)


def first_line(r, i): return next((ln for ln in r.saved.cells[i].source.splitlines() if not ln.startswith('#|')), '')[:80]


@chapters
def test_every_cell_ran_without_an_error(ran):
    assert len(ran.cells)==len(ran.saved.cells)
    assert not {first_line(ran, c['cell']): c['errors'] for c in ran.cells if c['errors']}
    code = [c for c, s in zip(ran.cells, ran.saved.cells) if s.cell_type=='code' and s.source.strip()]
    assert not [first_line(ran, c['cell']) for c in code if not re.search(r'\[\d+\]', c['prompt'])], 'a cell has not run'


@chapters
def test_figures_are_whole(ran):
    images = [(first_line(ran, c['cell']), im) for c in ran.cells for im in c['images']]
    ours = nbformat.read(ROOT/'nbs'/f'{ran.stem}.ipynb', 4)
    assert len(images)>=sum('image/png' in o.get('data', {}) for c in ours.cells for o in c.get('outputs', []))
    assert not [(ln, im) for ln, im in images if im['natural']<=0 or im['width']<=0 or im['over']>1]


@chapters
def test_nothing_makes_the_page_scroll_sideways(ran):
    "A wide table scrolls inside its own box"
    assert ran.panel[0]<=ran.panel[1]+1, ran.panel
    assert not [first_line(ran, c['cell']) for c in ran.cells if c['leaks']]


@chapters
def test_no_noise_on_stderr(ran):
    boxes = [(first_line(ran, c['cell']), t) for c in ran.cells for t in c['stderr']]
    assert not [(ln, t) for ln, t in boxes if not (ran.stem in SAID and SAID[ran.stem] in t)]


@chapters
def test_page_reports_no_error(ran):
    assert not [e for e in ran.log.errors+ran.log.failed if not any(re.search(n, e) for n in OWN_NOISE)]
    assert not [u for u in ran.log.outside if not u.endswith('colab-badge.svg')], 'asked another server'


@chapters
def test_saved_notebook_has_its_outputs(ran):
    "Every cell with an output in the repository's copy has one in the saved file"
    ours = nbformat.read(ROOT/'nbs'/f'{ran.stem}.ipynb', 4)
    assert [c.source for c in ours.cells]==[c.source for c in ran.saved.cells]
    code = [(i, a, b) for i, (a, b) in enumerate(zip(ours.cells, ran.saved.cells)) if a.cell_type=='code']
    assert not [first_line(ran, i) for i, a, b in code if a.outputs and not b.outputs]


@pytest.mark.parametrize('ran', [c for c in CHAPTERS if c==TRAINS], indirect=True)
def test_training_shows_a_bar_that_ends(ran):
    assert ran.bars['seen'], 'no progress bar was seen'
    bars = [b for c in ran.cells for b in c['bars']]
    assert not any(c['bad_bars'] for c in ran.cells) and all(b==1 for b in bars), bars


@pytest.mark.parametrize('ran', ['slow'], indirect=True)
def test_a_bar_of_ours_comes_goes_and_leaves_no_red_box(ran):
    cell = ran.cells[0]
    assert not cell['errors'] and not cell['stderr'] and not ran.log.errors
    assert ran.bars['seen'] and ran.bars['most']==1
    assert cell['bars']==[1], 'the one that is to stay stands full, the other is gone'
    assert ''.join(o.text for o in ran.saved.cells[0].outputs if o.output_type=='stream')=='15 read\n30 read\n'
