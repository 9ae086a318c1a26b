"The real download code against a server on the loopback interface: what is good arrives whole, what is bad leaves nothing"
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ROOT, one_line_error

import covid_xray.download as dl
from covid_xray.core import CourseError, file_sha256
from covid_xray.download import download
from covid_xray.sources import COHEN, COVIDNET, KERMANY, read_covid_chestxray, read_covidnet_lists, read_kermany, toy_collections

NAME = 'covid-chestxray-dataset'


class Server(ThreadingHTTPServer):
    "Answers each path with the (status, body, bytes really sent) that stand in `answers`, in turn; the last one stays"
    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.answers, self.asked, self.release = {}, [], threading.Event()

    @property
    def url(self): return f'http://127.0.0.1:{self.server_port}'

    def put(self, *answers, path='/a.zip'):
        self.answers[path] = [a if isinstance(a, tuple) else (200, a, None) for a in answers]
        return self.url+path

    def handle_error(self, *args): pass


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        queue = self.server.answers.get(self.path, [(404, b'', None)])
        status, body, sent = queue.pop(0) if len(queue)>1 else queue[0]
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if sent=='stall':
            self.wfile.write(body[:len(body)//2])
            self.wfile.flush()
            self.server.release.wait(20)
        else: self.wfile.write(body[:sent])

    def log_message(self, *args): pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    s = Server()
    threading.Thread(target=s.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
    yield s
    s.release.set()
    s.shutdown()
    s.server_close()


@pytest.fixture(scope='session')
def toy(tmp_path_factory): return toy_collections(tmp_path_factory.mktemp('toy'))


def files_of(folder, top): return {f'{top}{p.relative_to(folder).as_posix()}': p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def zipped(files, **links):
    "A zip with these files, then links (name=target) as Unix writes them"
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, body in files.items(): z.writestr(zipfile.ZipInfo(name), body, zipfile.ZIP_DEFLATED)
        for name, target in links.items():
            i = zipfile.ZipInfo(name)
            i.create_system, i.external_attr = 3, 0o120777<<16
            z.writestr(i, target)
    return out.getvalue()


def tarred(files, *entries):
    "A tar.gz with these files, then entries of (name, type, target)"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:gz') as t:
        for name, body in files.items():
            i = tarfile.TarInfo(name)
            i.size = len(body)
            t.addfile(i, io.BytesIO(body))
        for name, kind, target in entries:
            i = tarfile.TarInfo(name)
            i.type, i.linkname = kind, target
            t.addfile(i)
    return out.getvalue()


@pytest.fixture(scope='session')
def good(toy): return files_of(toy/NAME, f'{NAME}-386e467/')


def cohen(*urls, **kw): return replace(COHEN, urls=urls, mb=0, **kw)


def get(c, root): return download(c, root, wait=.01, progress=False)


def snapshot(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in folder.rglob('*')}


@pytest.fixture
def place(tmp_path):
    "A data root with neighbours that must not change: (root, check)"
    root = tmp_path/'outer'/'data'
    (root/'mine').mkdir(parents=True)
    (root/'mine'/'own.png').write_bytes(b'own')
    (tmp_path/'outer'/'neighbour.txt').write_text('untouched')
    before = snapshot(tmp_path)

    def check(*new):
        "Nothing but our hidden folder, and the `new` names in the data root, has come into being; what was there is as it was"
        after = snapshot(tmp_path)
        assert {k: after.get(k) for k in before}==before
        extra = {k for k in set(after)-set(before) if not k.startswith(tuple(f'outer/data/{n}' for n in ('.download', *new)))}
        assert not extra, extra
    return root, check


def fails(c, place, says):
    "The download ends in one clear line, and leaves nothing that looks like data"
    root, check = place
    with pytest.raises(CourseError) as e: get(c, root)
    line = str(e.value)
    assert says in line and '\n' not in line and 'Traceback' not in line, line
    assert not (root/c.folders[0]).exists() and not list(root.glob('*download.json'))
    assert not [p for p in (root/'.download').rglob('*') if p.is_dir() and p.name=='unpacked']
    check()
    return line


def succeeds(c, place):
    "The next run gets all of it, the reader opens it, and nothing else is left over"
    root, check = place
    assert get(c, root)==root/NAME
    assert len(read_covid_chestxray(root))==6
    assert not [p for p in (root/'.download').rglob('*') if p.is_file() and p.name!='.lock']
    check(NAME)


# --- the good case ---

@pytest.mark.parametrize('pack', [zipped, tarred], ids=['zip', 'tar.gz'])
def test_good_archive(server, place, good, toy, pack):
    body = pack({**good, f'{NAME}-386e467/scripts/x.py': b'1', '__MACOSX/._a': b'1', f'{NAME}-386e467/images/.DS_Store': b'1'})
    c = cohen(server.put(body))
    succeeds(c, place)
    root = place[0]
    assert snapshot(root/NAME)==snapshot(toy/NAME), 'the reader\'s folder and nothing else of the archive'
    rec = json.loads((root/f'{NAME}.download.json').read_text(encoding='utf-8'))
    (root/'was.zip').write_bytes(body)
    assert rec['archive']==file_sha256(root/'was.zip') and rec['licence']==COHEN.licence and rec['bytes']==len(body)


def test_data_in_place_is_never_fetched_or_changed(server, place, good):
    root = place[0]
    c = cohen(server.put(zipped(good)))
    get(c, root)
    (root/NAME/'images'/'mine.png').write_bytes(b'added by the user')
    before = snapshot(root)
    get(c, root)
    assert snapshot(root)==before and len(server.asked)==1
    assert get(cohen(), root)==root/NAME, 'not even an address is needed'


def test_half_a_folder_of_the_user_is_left_alone(server, place, good):
    root = place[0]
    (root/NAME).mkdir()
    (root/NAME/'metadata.csv').write_text('mine')
    with pytest.raises(CourseError, match='lacks images: complete it or move it away'): get(cohen(server.put(zipped(good))), root)
    assert not server.asked and (root/NAME/'metadata.csv').read_text()=='mine'


def test_kermany_in_both_layouts(server, tmp_path, toy):
    kaggle = files_of(toy/'kermany'/'chest_xray', 'chest_xray/')
    mendeley = {k.replace('/val/', '/train/'): v for k, v in kaggle.items()}
    twice = {**{f'chest_xray/{k}': v for k, v in kaggle.items()}, **kaggle, 'chest_xray/__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg': b'x'}
    for name, body, splits in (('mendeley', mendeley, {'train': 11, 'test': 4}), ('kaggle', twice, {'train': 9, 'valid': 2, 'test': 4})):
        get(replace(KERMANY, urls=(server.put(zipped(body), path=f'/{name}'),), mb=0), tmp_path/name)
        df = read_kermany(tmp_path/name)
        assert df.groupby('split').size().to_dict()==splits and len(dl.image_files(tmp_path/name/'kermany'))==15


def test_lists_are_held_to_their_known_content(server, tmp_path, toy):
    files = {**files_of(toy/'covid-net-lists', 'COVID-Net-f758411/'), 'COVID-Net-f758411/train_COVIDx.txt': b'1'}
    c = replace(COVIDNET, urls=(server.put(zipped(files)),), mb=0)
    with pytest.raises(CourseError, match='train_split.txt of this download is not the one we know'): get(c, tmp_path)
    assert not (tmp_path/'covid-net-lists').exists()
    known = tuple((f, file_sha256(toy/'covid-net-lists'/f)) for f in COVIDNET.needs)
    get(replace(c, files=known), tmp_path)
    assert len(read_covidnet_lists(tmp_path))==19 and sorted(p.name for p in (tmp_path/'covid-net-lists').iterdir())==['test_split.txt', 'train_split.txt']


# --- the network fails ---

def test_truncated_body(server, place, good):
    body = zipped(good)
    fails(cohen(server.put((200, body, len(body)//2))), place, 'the connection broke before the end')
    assert len(server.asked)==3, 'a broken line is tried again'
    succeeds(cohen(server.put(body)), place)


@pytest.mark.parametrize('pack', [zipped, tarred], ids=['zip', 'tar.gz'])
def test_an_archive_that_was_cut_before_it_was_served(server, place, good, pack):
    body = pack(good)
    fails(cohen(server.put(body[:len(body)//2])), place, NAME)
    succeeds(cohen(server.put(body)), place)


def test_a_web_page_instead_of_an_archive(server, place, good):
    c = cohen(server.put(b'<html>please log in</html>'))
    fails(c, place, 'what came is no archive')
    succeeds(cohen(server.put(zipped(good))), place)


def test_wrong_checksum(server, place, good):
    body = zipped(good)
    c = cohen(server.put(body), sha256='0'*64)
    fails(c, place, 'another SHA-256 than the one published')
    (place[0].parent.parent/'x').write_bytes(body)
    sha = file_sha256(place[0].parent.parent/'x')
    succeeds(replace(c, sha256=sha), (place[0], lambda *a: None))


def test_http_500_twice_then_success(server, place, good):
    c = cohen(server.put((500, b'', None), (503, b'', None), zipped(good)))
    succeeds(c, place)
    assert len(server.asked)==3


def test_http_500_for_ever_and_404(server, place, good):
    assert 'the server answered 500' in fails(cohen(server.put((500, b'', None)), server.url+'/gone'), place, 'the server answered 404')
    assert server.asked==['/a.zip']*3+['/gone'], 'three tries for a server error, one for a missing file'
    succeeds(cohen(server.put(zipped(good))), place)


def test_mirrors_in_turn(server, place, good):
    c = cohen(server.url+'/gone', server.put(b'no archive', path='/page'), server.put(zipped(good)), server.put(zipped(good), path='/unneeded'))
    succeeds(c, place)
    assert server.asked==['/gone', '/page', '/a.zip']


def test_nobody_answers(place, server, good):
    fails(cohen('http://127.0.0.1:9/a.zip'), place, 'no connection')
    succeeds(cohen(server.put(zipped(good))), place)


# --- the archive is hostile ---

BOMB = b'\0'*60_000_000
TOP = f'{NAME}-386e467/'


@pytest.mark.parametrize('make, says', [
    (lambda g: zipped({**g, '../../evil': b'x'}), "'../../evil', which lies outside"),
    (lambda g: zipped({**g, f'{TOP}images/../../../../evil': b'x'}), 'which lies outside'),
    (lambda g: zipped({**g, '/tmp/covid_xray_evil': b'x'}), "'/tmp/covid_xray_evil', which lies outside"),
    (lambda g: zipped({**g, 'C:/evil': b'x'}), 'which lies outside'),
    (lambda g: zipped({**g, f'{TOP}images/..\\..\\evil': b'x'}), 'which lies outside'),
    (lambda g: zipped(g, **{f'{TOP}images/evil': '../../../evil'}), 'out of its folder'),
    (lambda g: zipped(g, **{f'{TOP}images/evil': '/etc/passwd'}), 'out of its folder'),
    (lambda g: tarred({**g, '../../evil': b'x'}), 'which lies outside'),
    (lambda g: tarred({**g, '/tmp/covid_xray_evil': b'x'}), 'which lies outside'),
    (lambda g: tarred(g, (f'{TOP}images/evil', tarfile.SYMTYPE, '../../../evil')), 'out of its folder'),
    (lambda g: tarred(g, (f'{TOP}images/evil', tarfile.SYMTYPE, '/etc/passwd')), 'out of its folder'),
    (lambda g: tarred(g, (f'{TOP}images/evil', tarfile.LNKTYPE, '../../evil')), 'out of its folder'),
    (lambda g: tarred(g, (f'{TOP}images/evil', tarfile.LNKTYPE, '/etc/passwd')), 'out of its folder'),
    (lambda g: tarred(g, (f'{TOP}images/evil', tarfile.CHRTYPE, '')), 'neither file nor folder'),
    (lambda g: tarred(g, (f'{TOP}images/evil', tarfile.FIFOTYPE, '')), 'neither file nor folder'),
    (lambda g: zipped({**g, f'{TOP}images/big.png': BOMB}), 'would unpack to more than'),
    (lambda g: tarred({**g, f'{TOP}images/big.png': BOMB}), 'would unpack to more than'),
    (lambda g: zipped({k: v for k, v in g.items() if 'metadata' not in k}), 'no folder with metadata.csv'),
    (lambda g: zipped({**g, f'{TOP}images/a': b'x', f'{TOP}images/a/b': b'x'}), 'check that it can be written'),
], ids=['zip-dots', 'zip-dots-inside', 'zip-absolute', 'zip-drive', 'zip-backslash', 'zip-link', 'zip-link-absolute', 'tar-dots', 'tar-absolute', 'tar-link',
        'tar-link-absolute', 'tar-hardlink', 'tar-hardlink-absolute', 'tar-device', 'tar-fifo', 'zip-bomb', 'tar-bomb', 'incomplete', 'file-and-folder'])
def test_hostile_archive(server, place, good, make, says):
    fails(cohen(server.put(make(good))), place, says)
    assert not Path('/tmp/covid_xray_evil').exists()
    succeeds(cohen(server.put(zipped(good))), place)


def test_links_that_stay_inside_are_left_out(server, place, good, toy):
    c = cohen(server.put(tarred(good, (f'{TOP}images/again.png', tarfile.SYMTYPE, 'side.png'), (f'{TOP}images/hard.png', tarfile.LNKTYPE, f'{TOP}images/side.png'))))
    succeeds(c, place)
    assert snapshot(place[0]/NAME)==snapshot(toy/NAME)


@pytest.mark.parametrize('pack', [zipped, tarred], ids=['zip', 'tar.gz'])
def test_damaged_content(server, place, good, pack):
    "The listing is whole, a picture's bytes are not: the checksums inside zip and gzip tell"
    body = pack({**good, f'{TOP}images/a.png': os.urandom(5000), f'{TOP}images/b.png': b'b'})
    at = body.index(b'a.png')+2000 if pack is zipped else len(body)-2500
    fails(cohen(server.put(body[:at]+bytes([body[at]^1])+body[at+1:])), place, 'damaged or cut off')
    succeeds(cohen(server.put(pack(good))), place)


@pytest.mark.parametrize('pack', [zipped, tarred], ids=['zip', 'tar.gz'])
def test_random_damage_never_escapes(place, good, pack, tmp_path):
    "300 archives with flipped or missing bytes: each unpacks to the right files, or is refused in one line"
    import random
    r, body, file, out = random.Random(0), pack(good), tmp_path/'x', tmp_path/'out'
    right = {k[len(TOP):]: v for k, v in good.items()}
    for _ in range(300):
        b = bytearray(body)
        for _ in range(r.choice((1, 2, 5, 20))): b[r.randrange(len(b))] = r.randrange(256)
        file.write_bytes(b[:r.randrange(len(b))] if r.random()<.2 else b)
        if dl.is_archive(file):
            try: assert all(right.get(k, v)==v for k, v in files_of(dl.unpack(file, out, COHEN, progress=False), '').items())
            except (CourseError, OSError) as e: assert '\n' not in str(e)
        shutil.rmtree(out, ignore_errors=True)
    file.unlink()
    place[1]()


# --- the disk fails ---

def no_space(*args, **kw): raise OSError(errno.ENOSPC, 'No space left on device')


def test_no_space_for_the_archive(server, place, good, monkeypatch):
    import pooch
    c = cohen(server.put(zipped(good)))

    class Full(io.BytesIO):
        def write(self, b): no_space()
    with monkeypatch.context() as m:
        m.setattr('pooch.downloaders.open', lambda *a, **kw: Full(), raising=False)
        fails(c, place, 'no space left')
        assert pooch.downloaders.open is not open
    succeeds(c, place)


def test_no_space_for_the_images(server, place, good, monkeypatch):
    c, done = cohen(server.put(zipped(good))), []

    def copy(src, dst, n=0):
        done.append(dst.write(src.read(10)))
        if len(done)>3: no_space()
    with monkeypatch.context() as m:
        m.setattr(dl.shutil, 'copyfileobj', copy)
        fails(c, place, 'no space left')
    assert done==[10]*4
    succeeds(c, place)
    assert len(server.asked)==1, 'the archive had come whole: it is not fetched again'


def test_no_space_for_the_record(server, place, good, monkeypatch):
    c = cohen(server.put(zipped(good)))
    with monkeypatch.context() as m:
        m.setattr(dl, 'write_json', no_space)
        fails(c, place, 'no space left')
    succeeds(c, place)


def test_too_little_space_is_said_before_the_first_byte(server, place, good):
    c = cohen(server.put(zipped(good)))
    fails(replace(c, mb=1e9), place, 'no space left')
    assert not server.asked
    succeeds(c, place)


def test_a_root_that_cannot_be_written(server, tmp_path, good, monkeypatch):
    c = cohen(server.put(zipped(good)))
    (tmp_path/'file').write_text('x')
    with pytest.raises(CourseError, match='--out or COVID_XRAY_DATA'): get(c, tmp_path/'file'/'below')
    monkeypatch.setattr(dl.os, 'access', lambda *a: False)
    with pytest.raises(CourseError, match='read-only.*--out or COVID_XRAY_DATA'): get(c, tmp_path)
    assert not server.asked and not (tmp_path/NAME).exists()


# --- the process is killed ---

CHILD = '''
import os, sys
from dataclasses import replace
from pathlib import Path
import covid_xray.download as dl
from covid_xray.sources import COHEN
url, root, die = sys.argv[1:]
if die=='unpacking':
    copy, n = dl.shutil.copyfileobj, []
    def dying(src, dst, *a):
        copy(src, dst, *a); dst.flush(); n.append(1)
        if len(n)==3: print('now', flush=True); input()
    dl.shutil.copyfileobj = dying
dl.download(replace(COHEN, urls=(url,), mb=0), Path(root), progress=False)
'''


@pytest.mark.parametrize('when', ['downloading', 'unpacking'])
def test_killed_half_way_and_run_again(server, place, good, when):
    root, check = place
    body = zipped(good)
    url = server.put((200, body, 'stall') if when=='downloading' else body)
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])))
    p = subprocess.Popen([sys.executable, '-c', CHILD, url, str(root), when], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    stage = root/'.download'/NAME
    if when=='unpacking': assert p.stdout.readline().strip()=='now'
    else:
        until = time.monotonic()+15
        while time.monotonic()<until and not any(f.stat().st_size for f in stage.glob('*') if f.name!='.lock'): time.sleep(.02)
    assert p.poll() is None, 'it must still be at work'
    p.kill()
    assert p.wait()==(1 if os.name=='nt' else -signal.SIGKILL)
    p.stdin.close()
    p.stdout.close()
    server.release.set()
    assert [f for f in stage.iterdir() if f.name!='.lock'], 'the killed process left something half-written'
    assert not (root/NAME).exists() and not list(root.glob('*.json'))
    check()
    server.put(body)
    succeeds(cohen(url), place)
    assert len(server.asked)==(2 if when=='downloading' else 1)


def test_two_at_once(server, place, good, capfd):
    c, got = cohen(server.put(zipped(good))), []
    ts = [threading.Thread(target=lambda: got.append(get(c, place[0]))) for _ in range(4)]
    for t in ts: t.start()
    for t in ts: t.join()
    assert got==[place[0]/NAME]*4 and len(server.asked)==1
    assert len(read_covid_chestxray(place[0]))==6


# --- the same bytes as the first time ---

def test_a_changed_second_download(server, place, good):
    root = place[0]
    c = cohen(server.put(zipped(good)))
    get(c, root)
    record = root/f'{NAME}.download.json'
    first = record.read_bytes()
    shutil.rmtree(root/NAME)
    server.put(zipped({**good, f'{TOP}metadata.csv': good[f'{TOP}metadata.csv'].replace(b'SARS', b'none')}))
    with pytest.raises(CourseError) as e: get(c, root)
    assert 'has changed since your first download' in str(e.value) and f'delete {record}' in str(e.value) and '\n' not in str(e.value)
    assert not (root/NAME).exists() and record.read_bytes()==first
    server.put(tarred(good))
    assert get(c, root)==root/NAME, 'packed anew, but the same files'
    assert len(read_covid_chestxray(root))==6 and record.read_bytes()==first


def test_the_remedy_works(server, place, good):
    root = place[0]
    get(cohen(server.put(zipped(good))), root)
    shutil.rmtree(root/NAME)
    changed = cohen(server.put(zipped({**good, f'{TOP}images/new.png': b'x'})))
    with pytest.raises(CourseError): get(changed, root)
    (root/f'{NAME}.download.json').unlink()
    get(changed, root)
    assert (root/NAME/'images'/'new.png').exists()


# --- Kaggle, and the command ---

def test_kaggle(monkeypatch, tmp_path, toy):
    import types
    ext = types.ModuleType('kaggle.api.kaggle_api_extended')
    body = zipped(files_of(toy/'kermany'/'chest_xray', 'chest_xray/'))

    class KaggleApi:
        def authenticate(self):
            if not tokens: raise SystemExit(1)
        def dataset_download_files(self, name, path, quiet): (Path(path)/f'{name.split("/")[1]}.zip').write_bytes(body)
    ext.KaggleApi, tokens = KaggleApi, []
    monkeypatch.setitem(sys.modules, 'kaggle', None)
    with pytest.raises(CourseError, match='pip install kaggle'): download(replace(KERMANY, mb=0), tmp_path, kaggle=True)
    for n in ('kaggle', 'kaggle.api'): monkeypatch.setitem(sys.modules, n, types.ModuleType(n))
    monkeypatch.setitem(sys.modules, 'kaggle.api.kaggle_api_extended', ext)
    with pytest.raises(CourseError, match='make a token'): download(replace(KERMANY, mb=0), tmp_path, kaggle=True)
    assert not (tmp_path/'kermany').exists()
    tokens.append(1)
    download(replace(KERMANY, mb=0), tmp_path, kaggle=True, progress=False)
    assert len(read_kermany(tmp_path))==15 and (tmp_path/'kermany.kaggle.download.json').is_file()


def test_command_help_and_errors(command, tmp_path):
    script = tmp_path/'covid_xray_download.py'
    script.write_text('from covid_xray.download import covid_xray_download\ncovid_xray_download()\n')
    p = command('python', script, '--help')
    assert p.returncode==0 and 'usage' in p.stdout and '--out' in p.stdout
    line = one_line_error(command('python', script, 'covid-net-list', '--out', tmp_path/'d'))
    assert "did you mean 'covid-net-lists'" in line and not (tmp_path/'d').exists()
    p = command('python', script, '--out', tmp_path/'d')
    assert p.returncode==0 and not (tmp_path/'d').exists(), 'without a name it only describes'
    for c in dl.COLLECTIONS.values(): assert c.name in p.stdout and c.licence in p.stdout and c.citation in p.stdout


def test_command_says_size_and_licence_before_the_first_byte(server, tmp_path, good, monkeypatch, capsys):
    said = []
    monkeypatch.setattr(dl, 'fetch', lambda *a, f=dl.fetch: said.append(capsys.readouterr().out) or f(*a))
    monkeypatch.setitem(dl.COLLECTIONS, NAME, cohen(server.put(zipped(good))))
    dl.covid_xray_download([NAME], out=str(tmp_path))
    assert 'size     less than 1 MB' in said[0] and COHEN.licence in said[0]
    assert f'{NAME} is now in' in capsys.readouterr().out
    dl.covid_xray_download([NAME], out=str(tmp_path))
    assert f'{NAME} is already in' in capsys.readouterr().out and len(server.asked)==1


def test_every_collection_is_described_wholly():
    for c in dl.COLLECTIONS.values():
        assert c.home.startswith('https://') and c.licence and c.citation and c.mb>0 and c.urls and c.needs, c.name
        assert all(u.startswith('https://') for u in c.urls) and (not c.commit or all(c.commit in u for u in c.urls))
        assert len(c.commit) in (0, 40) and len(c.sha256) in (0, 64)
