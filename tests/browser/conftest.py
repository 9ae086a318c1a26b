"Shared by the tests in a browser: one headless Chromium, and pages that remember what went wrong on them"
import os
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
FLAGS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
IS_ROOT = hasattr(os, 'geteuid') and os.geteuid()==0 # Chromium's sandbox refuses root


def find_chromium():
    "The browser that COVID_XRAY_CHROMIUM names, else the system's; None if there is none"
    named = os.environ.get('COVID_XRAY_CHROMIUM')
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope='session')
def browser():
    "Headless Chromium as Playwright's `Browser`; without Chromium or Playwright the test is skipped"
    try: from playwright.sync_api import sync_playwright
    except ImportError: pytest.skip('no Playwright: python -m pip install -e ".[dev]"')
    exe = find_chromium()
    if not exe: pytest.skip(f"no Chromium: install {' or '.join(NAMES)}, or name one with COVID_XRAY_CHROMIUM")
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=exe, args=FLAGS, chromium_sandbox=not IS_ROOT)
        yield b
        b.close()


def watch(page):
    "What goes wrong on a page from now on: `errors` (console and scripts) and `failed` (requests), lists of text"
    log = SimpleNamespace(errors=[], failed=[])
    page.on('console', lambda m: m.type=='error' and log.errors.append(f"{m.text} ({m.location.get('url', '')})"))
    page.on('pageerror', lambda e: log.errors.append(f'uncaught: {e}'))
    page.on('requestfailed', lambda r: log.failed.append(f'{r.method} {r.url}: {r.failure}'))
    page.on('response', lambda r: r.status>=400 and log.failed.append(f'{r.request.method} {r.url}: {r.status}'))
    return log


@pytest.fixture
def open_page(browser):
    """`open_page(url, **options of a browser context)` → (the loaded page, its log as in `watch`); closed after the test.

    What the page asks of other machines is answered with an empty picture and listed in `log.outside`, so a test needs no network."""
    contexts = []
    def open_(url, script=None, **kw): # `script`: JavaScript to run before the page's own
        contexts.append(browser.new_context(**{'viewport': dict(width=1366, height=768), **kw}))
        page = contexts[-1].new_page()
        if script: page.add_init_script(script)
        log = watch(page)
        log.outside, empty = [], '<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20"/>'
        def answer(route): log.outside.append(route.request.url); route.fulfill(status=200, content_type='image/svg+xml', body=empty)
        page.route(re.compile(r'https?://(?!127\.0\.0\.1|localhost)'), answer)
        page.goto(url)
        return page, log
    yield open_
    for c in contexts: c.close()


@pytest.fixture
def shots(tmp_path):
    "A folder for screenshots: COVID_XRAY_SHOTS, else the test's own"
    to = Path(os.environ.get('COVID_XRAY_SHOTS') or tmp_path/'shots')
    to.mkdir(parents=True, exist_ok=True)
    return to


def wait_until(done, seconds, what, every=.25):
    "Ask `done` until it says something true, and return that; a process or file of ours is waited for, never a page"
    end = time.monotonic()+seconds
    while time.monotonic()<end:
        if got := done(): return got
        time.sleep(every)
    raise TimeoutError(f'{what}: not within {seconds:.0f} seconds')
