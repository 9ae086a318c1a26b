"The whole site of the committed notebooks, in a browser: every page on a desktop and on a phone, every internal link, the search"
import functools
import http.server
import re
import threading
from urllib.parse import urldefrag

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings('ignore:.*myst_parser.*')] # myst-parser on Sphinx 9: nothing to act on
PHONE = dict(width=390, height=844)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    from covid_xray.site import build_site
    return build_site(tmp_path_factory.mktemp('out'), progress=False)


@pytest.fixture(scope='module')
def base(site):
    "The site on loopback"
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}/'
        server.shutdown()


@pytest.fixture
def page(browser):
    "A new page that keeps what goes wrong in `page.wrong` and where it asked in `page.asked`"
    page = browser.new_page(viewport=PHONE)
    page.wrong, page.asked = [], set()
    page.on('console', lambda m: m.type in ('error', 'warning') and page.wrong.append(f'{page.url}: {m.text}'))
    page.on('pageerror', lambda e: page.wrong.append(f'{page.url}: {e}'))
    page.on('requestfailed', lambda r: r.failure!='net::ERR_ABORTED' and page.wrong.append(f'{page.url}: failed {r.url}')) # aborted: we left the page
    page.on('response', lambda r: r.status>=400 and page.wrong.append(f'{page.url}: {r.status} {r.url}'))
    page.on('request', lambda r: page.asked.add(r.url))
    yield page
    page.close()


def crawl(page, base, look):
    "Open every page that links lead to, from the front page; `look` at each. Returns the pages' paths and the dead links"
    todo, links, anchors = ['index.html'], set(), {}
    while todo:
        path = todo.pop()
        if path in anchors: continue
        page.goto(base+path)
        ids, hrefs = page.evaluate('[[...document.querySelectorAll("[id]")].map(e => e.id), [...document.links].map(a => a.href)]')
        anchors[path] = {'', *ids}
        look(path)
        for url, anchor in map(urldefrag, hrefs):
            if not url.startswith(base): continue
            to = url.removeprefix(base) or 'index.html'
            links.add((path, to, anchor))
            if to.endswith('.html'): todo.append(to)
    files = {to for _, to, _ in links if to not in anchors}
    gone = {f for f in files if page.request.get(base+f).status!=200}
    return set(anchors), [(p, to, a) for p, to, a in links if to in gone or to in anchors and a not in anchors[to]]


def test_every_page_and_every_link(page, base, site):
    wide = []
    def look(path):
        have = page.evaluate('document.scrollingElement.scrollWidth')
        if have>PHONE['width']: wide.append((path, have))
        page.wait_for_load_state('load')
    met, dead = crawl(page, base, look)
    assert not dead
    assert not wide, 'wider than a phone'
    assert not page.wrong
    assert not [u for u in page.asked if not u.startswith((base, 'data:'))], 'asked another server'
    assert {p.relative_to(site).as_posix() for p in site.rglob('*.html')}-met<={'genindex.html', 'search.html'}, 'a page that nobody finds'


def test_nothing_is_cut_off_on_a_phone(page, base, site):
    "What is wider than its box can be scrolled there"
    cut = '''[...document.querySelectorAll("article pre, article table, article img, article math")].filter(e => {
        if (e.getBoundingClientRect().right<=innerWidth+1) return false;
        for (let b = e; b && b.tagName!="ARTICLE"; b = b.parentElement) if (["auto", "scroll"].includes(getComputedStyle(b).overflowX)) return false;
        return true}).map(e => e.outerHTML.slice(0, 80))'''
    for path in ('index.html', 'results/README.html', *sorted(p.relative_to(site).as_posix() for p in site.glob('nbs/*.html'))):
        page.goto(base+path)
        assert not page.evaluate(cut), path


def test_figures_are_drawn_and_described(page, base, site):
    n = 0
    for p in sorted(site.glob('nbs/*.html')):
        page.goto(base+p.relative_to(site).as_posix())
        for alt, width in page.evaluate('[...document.querySelectorAll("article img")].map(i => { i.loading = "eager"; return [i.alt, i.naturalWidth] })'):
            n += 1
            assert alt and width>0, p.name
    assert n>50


@pytest.mark.parametrize('word, title', [('prevalence', r'12b ·|13d ·|Glossary'), ('make_loaders', r'make_loaders')])
def test_search_finds(page, base, word, title):
    page.set_viewport_size(dict(width=1280, height=900))
    page.goto(base+'index.html')
    page.locator('input[name=q]').first.fill(word)
    page.locator('input[name=q]').first.press('Enter')
    page.wait_for_selector('#search-results li a')
    page.wait_for_function('/found/.test(document.querySelector("#search-results").innerText)')
    assert [t for t in page.locator('#search-results li a').all_inner_texts() if re.search(title, t)]
    page.locator('#search-results li a').first.click()
    page.wait_for_load_state('load')
    assert 'search.html' not in page.url and page.locator('article h1').count()
    assert not page.wrong


def test_the_menu_opens_on_a_phone(page, base):
    page.goto(base+'index.html')
    link = page.locator('.sidebar-tree a', has_text='13 ·').first
    assert not link.is_visible() or link.bounding_box()['x']<0
    page.locator('.mobile-header label[for="__navigation"]').click()
    page.wait_for_function('document.querySelector(".sidebar-drawer").getBoundingClientRect().x>=0')
    link.click()
    page.wait_for_load_state('load')
    assert '13_' in page.url
