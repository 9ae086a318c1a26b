"Whatever the bytes, `read_image` gives a grey array or an `ImageError`: soon, in little memory, and without a word on the console"
import importlib.util
import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from covid_xray.cohort import draw_phantom
from covid_xray.images import ImageError, read_image, to_8bit, write_dicom
from covid_xray.manifest import try_file
from PIL import Image

N, SECONDS, BYTES = 2400, 5, 2**30
LOSSLESS = ('JPEGLosslessProcess14_1', 'JPEGLSLossless') if importlib.util.find_spec('gdcm') else ()
IMPLICIT, BIG, RLE, J2K, DEFLATED = (f'1.2.840.10008.1.2{s}' for s in ('', '.2', '.5', '.4.90', '.1.99'))


# --- damaged files ---

def seeds(folder):
    "Whole files of every kind, small, with phantoms in them"
    img = draw_phantom('covid', 1, 0, size=64)[0]
    im, deep, rgb = Image.fromarray(img), Image.fromarray(img.astype(np.uint16)*16), Image.fromarray(img).convert('RGB')
    im.save(folder/'grey.jpg')
    rgb.save(folder/'rgb.jpg', progressive=True)
    rgb.convert('CMYK').save(folder/'cmyk.jpg')
    im.save(folder/'grey.png')
    deep.save(folder/'deep.png')
    rgb.quantize(64).save(folder/'palette.png')
    rgb.convert('RGBA').save(folder/'alpha.png')
    im.save(folder/'grey.tif', compression='tiff_lzw')
    deep.save(folder/'deep.tif')
    rgb.save(folder/'pages.tif', save_all=True, append_images=[rgb])
    im.convert('1').save(folder/'fax.tif', compression='group4')
    write_dicom(img, folder/'plain.dcm', 8, WindowCenter=128, WindowWidth=256)
    write_dicom(img.astype(np.int16)*8-1000, folder/'signed.dcm', 12, syntax=IMPLICIT, RescaleSlope=2, RescaleIntercept=5, PixelPaddingValue=-1000)
    write_dicom(img.astype(np.uint16)*16, folder/'lut.dcm', 12, 'MONOCHROME1', VOILUTSequence=lut([int(v) for v in np.arange(4096)//16], 0, 8))
    for name, uid in dict(big=BIG, rle=RLE).items(): write_dicom(img.astype(np.uint16)*16, folder/f'{name}.dcm', 12, syntax=uid)
    with_jpeg(folder/'jpeg.dcm', img, 'JPEG', '1.2.840.10008.1.2.4.50')
    with_jpeg(folder/'j2k.dcm', img, 'JPEG2000', J2K)
    for kind in LOSSLESS: with_gdcm(folder/f'{kind}.dcm', img.astype(np.uint16)*16, kind)
    return [f.read_bytes() for f in sorted(folder.iterdir())]


def lut(data, first, bits):
    "A look-up table as DICOM has it: number of entries, first value, bits of an entry"
    import pydicom
    item = pydicom.Dataset()
    item.add_new('LUTDescriptor', 'US', [len(data), first, bits])
    item.add_new('LUTData', 'US', data)
    return [item]


def with_jpeg(path, img, kind, uid):
    "A DICOM file whose pixels Pillow compressed"
    import pydicom
    write_dicom(img, path, 8)
    ds, b = pydicom.dcmread(path), io.BytesIO()
    Image.fromarray(img).save(b, kind)
    ds.PixelData = pydicom.encaps.encapsulate([b.getvalue()])
    ds['PixelData'].VR = 'OB'
    ds.file_meta.TransferSyntaxUID = uid
    ds.save_as(path)


def with_gdcm(path, pixels, kind):
    "A DICOM file whose pixels gdcm compressed without loss"
    import gdcm
    write_dicom(pixels, path, 12)
    r, change, w = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    r.SetFileName(str(path))
    assert r.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
    change.SetInput(r.GetImage())
    assert change.Change()
    w.SetFile(r.GetFile())
    w.SetImage(change.GetOutput())
    w.SetFileName(str(path))
    assert w.Write()


def damaged(whole, rng):
    "One damaged file from the bytes of whole ones"
    a, b = (bytearray(whole[i]) for i in rng.integers(0, len(whole), 2))
    kind, cut = rng.integers(6), int(rng.integers(1, len(a)))
    if kind in (0, 1): # bytes anywhere, or in the header only, where they hurt most
        for j in rng.integers(0, len(a) if kind else min(len(a), 700), rng.integers(1, 12)): a[j] = rng.choice([rng.integers(256), 0, 255, 127, 128])
    elif kind==2: a = a[:cut]
    elif kind==3: a = a[:cut]+b[int(rng.integers(0, len(b))):]
    elif kind==4: a = b[:int(rng.integers(4, 600))]+a[int(rng.integers(4, 600)):] # swapped headers
    else: a[cut:cut+int(rng.integers(1, 64))] = rng.bytes(int(rng.integers(0, 64)))
    return bytes(a)


def peak():
    "Most memory this process ever held, in bytes; None where the system does not tell"
    status = Path('/proc/self/status') # ru_maxrss of Linux counts the parent's memory too
    if status.is_file(): return int(re.search(r'VmHWM:\s*(\d+) kB', status.read_text())[1])*1024
    try: import resource
    except ImportError: return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*(1 if sys.platform=='darwin' else 1024)


def batch(folder):
    "Read `N` damaged files; run in a process of its own, because a hang or a crash must not take the tests along"
    import faulthandler
    import time
    (folder/'whole').mkdir()
    whole, rng, ends, slowest = seeds(folder/'whole'), np.random.default_rng(0), {}, 0
    for f in sorted((folder/'whole').iterdir()): assert read_image(f).shape==(64, 64), f.name
    before = peak()
    for i in range(N):
        f = folder/f'damaged{(".bin", ".dcm", ".jpg")[i%3]}'
        f.write_bytes(damaged(whole, rng))
        (folder/'at.txt').write_text(str(i))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        t = time.perf_counter()
        try:
            a = read_image(f)
            assert a.dtype==np.uint8 and a.ndim==2 and a.size
            end = 'array'
        except ImageError as e:
            end = 'ImageError'
            assert str(f) in str(e) and '; ' in str(e) and len(str(e))<500+len(str(f)) and '\n' not in str(e)
        finally: faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.perf_counter()-t)
        ends[end] = ends.get(end, 0)+1
    print(f'{ends["array"]} arrays, {ends["ImageError"]} errors, slowest {slowest:.3f} s, memory {(peak() or 0)/2**20:.0f} MB, grown {((peak() or 0)-(before or 0))/2**20:.0f} MB')


def test_2400_damaged_files(tmp_path):
    p = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, cwd=ROOT/'tests', timeout=600,
                       env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT/'tests')]), OMP_NUM_THREADS='1'))
    at = (tmp_path/'at.txt').read_text() if (tmp_path/'at.txt').exists() else 'the start'
    assert p.returncode==0, f'file {at}: {p.stderr[-3000:]}'
    print(p.stdout)
    assert not p.stderr, f'noise: {p.stderr[:1000]}'
    arrays, errors, slowest, memory, _ = map(float, re.findall(r'[\d.]+', p.stdout))
    assert arrays+errors==N and min(arrays, errors)>N/10
    assert slowest<SECONDS and memory*2**20<BYTES


# --- whole files, values known ---

RAMP = np.arange(256).reshape(16, 16)
LINEAR = lambda x, c, w: np.clip((x-(c-.5))/(w-1)+.5, 0, 1)*255 # DICOM part 3, C.11.2.1.2.1
CASES = { # stored values, bits, what else the file says, grey values expected
    'mono2, 8 bits': (RAMP.astype('u1'), 8, {}, RAMP),
    'mono1, 8 bits': (RAMP.astype('u1'), 8, dict(colour='MONOCHROME1'), 255-RAMP),
    '10 bits': ((RAMP*1023//255).astype('u2'), 10, {}, RAMP),
    '12 bits': ((RAMP*4095//255).astype('u2'), 12, {}, RAMP),
    '12 bits, mono1': ((RAMP*4095//255).astype('u2'), 12, dict(colour='MONOCHROME1'), 255-RAMP),
    '16 bits': ((RAMP*257).astype('u2'), 16, {}, RAMP),
    'signed': ((RAMP*257-32768).astype('i2'), 16, {}, RAMP),
    'signed, 12 bits': ((RAMP*16-2048).astype('i2'), 12, {}, RAMP*16*255/4095),
    'slope and intercept, no window': ((RAMP*257).astype('u2'), 16, dict(RescaleSlope='.5', RescaleIntercept='-99'), RAMP),
    'negative slope': (RAMP.astype('u1'), 8, dict(RescaleSlope=-2, RescaleIntercept=7), 255-RAMP),
    'window': ((RAMP*16).astype('u2'), 12, dict(WindowCenter=2000, WindowWidth=1000), LINEAR(RAMP*16, 2000, 1000)),
    'window after rescale, mono1': ((RAMP*16).astype('u2'), 12, dict(colour='MONOCHROME1', RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400),
                                    255-LINEAR(RAMP*32-1024, 40, 400)),
    'two windows': ((RAMP*16).astype('u2'), 12, dict(WindowCenter=[2000, 9], WindowWidth=[1000, 9]), LINEAR(RAMP*16, 2000, 1000)),
    'window exact': (RAMP.astype('u1'), 8, dict(WindowCenter=100, WindowWidth=50, VOILUTFunction='LINEAR_EXACT'), np.clip((RAMP-100)/50+.5, 0, 1)*255),
    'window sigmoid': (RAMP.astype('u1'), 8, dict(WindowCenter=100, WindowWidth=50, VOILUTFunction='SIGMOID'), 255/(1+np.exp(-4*(RAMP-100)/50))),
    'implicit VR': ((RAMP*257).astype('u2'), 16, dict(syntax=IMPLICIT), RAMP),
    'big end first': ((RAMP*257).astype('u2'), 16, dict(syntax=BIG), RAMP),
    'run lengths': ((RAMP*257).astype('u2'), 16, dict(syntax=RLE, WindowCenter=9000, WindowWidth=5000), LINEAR(RAMP*257, 9000, 5000)),
    'VOI LUT': (RAMP.astype('u1'), 8, dict(VOILUTSequence=lut([v*v for v in range(256)], 0, 16), WindowCenter=1, WindowWidth=1), RAMP**2/257),
    'VOI LUT that begins at 100': (RAMP.astype('u1'), 8, dict(VOILUTSequence=lut([0, 80, 255], 100, 8)), np.select([RAMP<=100, RAMP==101], [0, 80], 255)),
    'modality LUT, mono1': (RAMP.astype('u1'), 8, dict(colour='MONOCHROME1', ModalityLUTSequence=lut(list(range(255, -1, -1)), 0, 8), WindowCenter=128, WindowWidth=256), RAMP),
    'padding': (np.where(RAMP<9, -3000, RAMP*4).astype('i2'), 16, dict(colour='MONOCHROME1', PixelPaddingValue=-3000), np.where(RAMP<9, 0, 255-RAMP*4*255/1023)),
}


@pytest.mark.parametrize('name', CASES)
def test_dicom_variant(name, tmp_path):
    stored, bits, tags, grey = CASES[name]
    write_dicom(stored, tmp_path/'x.bin', bits, PatientName='Nobody^Else', **tags) # known by its content
    out = read_image(tmp_path/'x.bin')
    assert out.dtype==np.uint8 and out.shape==(16, 16)
    assert np.abs(out-np.asarray(grey, float)).max()<=(1 if bits in (10, 12) else .51)


def test_pydicom_windows_alike(tmp_path):
    import pydicom
    from pydicom.pixels import apply_windowing
    for c, w in ((2000, 1000), (100.5, 1), (-50, 800), (3000, 4096)):
        write_dicom((RAMP*16).astype('u2'), tmp_path/'x.dcm', 12, WindowCenter=c, WindowWidth=w)
        theirs = apply_windowing((RAMP*16).astype('u2'), pydicom.dcmread(tmp_path/'x.dcm'))*255/4095
        assert np.abs(read_image(tmp_path/'x.dcm')-theirs).max()<=.51


def test_compressed_colour_and_headerless_dicom(tmp_path):
    import pydicom
    img = draw_phantom('viral', 2, 0, size=96)[0]
    with_jpeg(tmp_path/'jpeg.dcm', img, 'JPEG', '1.2.840.10008.1.2.4.50')
    with_jpeg(tmp_path/'j2k.dcm', img, 'JPEG2000', J2K)
    assert np.abs(read_image(tmp_path/'jpeg.dcm').astype(int)-img).mean()<4
    assert np.array_equal(read_image(tmp_path/'j2k.dcm'), img)
    for kind in LOSSLESS:
        with_gdcm(tmp_path/'ll.dcm', img.astype(np.uint16)*16, kind)
        write_dicom(img.astype(np.uint16)*16, tmp_path/'as.dcm', 12)
        assert np.array_equal(read_image(tmp_path/'ll.dcm'), read_image(tmp_path/'as.dcm')), kind
    write_dicom(img, tmp_path/'plain.dcm', 8, syntax=IMPLICIT)
    ds = pydicom.dcmread(tmp_path/'plain.dcm')
    del ds.file_meta
    ds.save_as(tmp_path/'old.dcm', implicit_vr=True, little_endian=True)
    assert np.array_equal(read_image(tmp_path/'old.dcm'), img)
    ds = pydicom.dcmread(tmp_path/'plain.dcm')
    ds.set_pixel_data(np.dstack([img, img, img]), 'RGB', 8)
    ds.save_as(tmp_path/'rgb.dcm')
    assert np.array_equal(read_image(tmp_path/'rgb.dcm'), img)
    Image.fromarray(img).save(tmp_path/'really.png')
    (tmp_path/'really.png').rename(tmp_path/'really.dcm')
    assert np.array_equal(read_image(tmp_path/'really.dcm'), img)


def refused(path, text):
    with pytest.raises(ImageError, match=text) as e: read_image(path)
    assert str(path) in str(e.value) and 'Nobody' not in str(e.value)


def test_dicom_that_is_refused(tmp_path, monkeypatch):
    import pydicom
    f, img = tmp_path/'x.dcm', draw_phantom('normal', 1, 0, size=64)[0]
    def change(**tags):
        write_dicom(img, f, 8, PatientName='Nobody^Else')
        ds = pydicom.dcmread(f)
        for k, v in tags.items():
            if k=='uid': ds.file_meta.TransferSyntaxUID = v
            else: setattr(ds, k, v)
        ds.save_as(f)
        return f
    refused(change(NumberOfFrames=3), 'a film of 3 frames')
    refused(change(Rows=60000, Columns=60000), 'make it smaller')
    refused(change(Rows=65), 'damaged DICOM')
    refused(change(PixelData=b''), 'damaged DICOM|without a picture')
    refused(change(PhotometricInterpretation='PALETTE COLOR'), 'neither grey nor RGB')
    refused(change(WindowCenter=5, WindowWidth=0), 'damaged DICOM')
    refused(change(uid=DEFLATED), 'deflated')
    with_jpeg(f, img, 'JPEG', '1.2.840.10008.1.2.4.50')
    ds = pydicom.dcmread(f)
    ds.PixelData = pydicom.encaps.encapsulate([pydicom.encaps.get_frame(ds.PixelData, 0, number_of_frames=1)[:-300]])
    ds.save_as(tmp_path/'torn.dcm')
    ds.Rows = 32
    ds.save_as(f)
    refused(f, 'differ in size')
    ds.file_meta.TransferSyntaxUID = '1.2.840.10008.1.2.4.100'
    ds.save_as(f)
    refused(f, 'no codec here; pip install python-gdcm')
    refused(tmp_path/'torn.dcm', 'JPEG Baseline.*damaged or of a kind that pillow')
    monkeypatch.setattr('covid_xray.images.CODECS', ('pydicom',)) # as if no codec for JPEG were installed
    ds.file_meta.TransferSyntaxUID = '1.2.840.10008.1.2.4.70'
    ds.save_as(f)
    refused(f, 'JPEG Lossless.*no codec here; pip install python-gdcm')


def test_the_patient_is_never_read(tmp_path, capfd):
    "Not in the tags kept, not in errors, not in warnings or on the console, however odd the file"
    import pydicom
    from covid_xray.images import open_dicom
    write_dicom(RAMP.astype('u1'), tmp_path/'x.dcm', 8, PatientName='Nobody^Else', PatientID='N-1234', PatientBirthDate='19700101', RescaleSlope=1, RescaleIntercept=0)
    b = (tmp_path/'x.dcm').read_bytes()
    assert 'Nobody' not in str(open_dicom(tmp_path/'x.dcm'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for bad in (b.replace(b'19700101', b'Nobody!!'), b[:-50], b.replace(b'MONOCHROME2', b'Nobody^Else'), b.replace(b'DS\x02\x001 ', b'DS\x02\x00No')):
            (tmp_path/'bad.dcm').write_bytes(bad)
            try: read_image(tmp_path/'bad.dcm')
            except ImageError as e: assert not re.search('Nobody|1234|No', str(e).split('bad.dcm')[-1])
    said = capfd.readouterr()
    assert not said.out and not said.err


def test_the_real_dicom(real_data):
    import pydicom
    for f in sorted((real_data/'dicom').glob('*.dcm')):
        img, ds = read_image(f), pydicom.dcmread(f)
        assert img.shape==(ds.Rows, ds.Columns)==(1024, 1024) and ds.PhotometricInterpretation=='MONOCHROME2' and 'WindowCenter' not in ds
        assert np.abs(img.astype(int)-ds.pixel_array).max()<=1 and img.std()>20


# --- TIFF and the rest ---

def test_tiff_and_png_variants(tmp_path):
    img = draw_phantom('normal', 4, 0, size=80)[0]
    deep = img.astype(np.uint16)*257
    for c in (None, 'tiff_lzw', 'tiff_deflate', 'packbits'):
        Image.fromarray(deep).save(tmp_path/'a.tif', compression=c)
        assert np.array_equal(read_image(tmp_path/'a.tif'), img)
    Image.fromarray(img).save(tmp_path/'pages.tif', save_all=True, append_images=[Image.new('L', (9, 9))]*2)
    assert np.array_equal(read_image(tmp_path/'pages.tif'), img)
    Image.fromarray(np.rot90(img)).save(tmp_path/'turned.tif', tiffinfo={274: 6})
    assert np.array_equal(read_image(tmp_path/'turned.tif'), img)
    for mode, tag in ((img, 8), (deep, 16)): # 0 is white
        Image.fromarray(mode).save(tmp_path/'white.tif')
        b = (tmp_path/'white.tif').read_bytes()
        at = b.index(b'\x06\x01\x03\x00\x01\x00\x00\x00\x01')
        (tmp_path/'white.tif').write_bytes(b[:at+8]+b'\x00'+b[at+9:])
        try: assert np.array_equal(read_image(tmp_path/'white.tif'), 255-img)
        except ImageError: assert tag==16 # this version of Pillow does not read it: an error, not an inverted picture
    for bits in range(8, 17): # the order of grey levels is kept, and the upper half of the range is used
        a = np.random.default_rng(bits).integers(0, 2**bits, (9, 14)).astype(np.uint16)
        a[0, 0] = 2**bits-1
        Image.fromarray(a).save(tmp_path/'deep.png')
        out = read_image(tmp_path/'deep.png')
        assert np.array_equal(out, to_8bit(a)) and out.max()==255 and (np.diff(out.ravel()[a.ravel().argsort()].astype(int))>=0).all()


def test_the_largest_pictures_fit_into_a_gibibyte(tmp_path):
    "60 million pixels, with transparency and as DICOM; in a process of its own"
    script = """
import sys, numpy as np
sys.path.insert(0, 'tests')
from PIL import Image
from covid_xray.images import read_image, write_dicom
from test_images_fuzz import peak
f = sys.argv[1]
if sys.argv[2]=='write':
    Image.new('RGBA', (10000, 6000), (9, 9, 9, 200)).save(f+'a.png', compress_level=1)
    write_dicom(np.zeros((6000, 10000), np.int16), f+'c.dcm', 16, WindowCenter=1, WindowWidth=9)
else: read_image(f); print(peak()/2**20)"""
    run = lambda *a: subprocess.run([sys.executable, '-c', script, *map(str, a)], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    if peak() is None: pytest.skip('no way to measure memory here')
    run(f'{tmp_path}{os.sep}', 'write')
    used = {f.name: float(run(f, 'read')) for f in sorted(tmp_path.iterdir())}
    print(used)
    assert max(used.values())<1024, used


@pytest.mark.parametrize('kind, channels', [(0, 1), (2, 3), (4, 2), (6, 4)], ids=['grey', 'colour', 'grey and alpha', 'colour and alpha'])
@pytest.mark.parametrize('bits', [12, 16])
def test_sixteen_bits_are_read_whole_or_refused(tmp_path, kind, channels, bits):
    "Pillow opens 16-bit colour as 8 bits, the upper ones: 12-bit data would come out nearly black"
    a = np.repeat(np.arange(0, 2**bits, 2**bits//16, dtype='>u2').reshape(4, 4, 1), channels, 2)
    chunk = lambda tag, data: struct.pack('>I', len(data))+tag+data+struct.pack('>I', zlib.crc32(tag+data))
    png = lambda a: (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 4, 4, 16, kind, 0, 0, 0))
                     + chunk(b'IDAT', zlib.compress(b''.join(b'\0'+row.tobytes() for row in a))) + chunk(b'IEND', b''))
    if kind in (4, 6): a[..., -1] = 2**16-1 # opaque
    (tmp_path/'a.png').write_bytes(png(a))
    if channels==1 or bits==16: assert abs(read_image(tmp_path/'a.png').astype(int)-to_8bit(a[...,0])).max()<=1
    else:
        with pytest.raises(ImageError, match='save it as 16-bit grey'): read_image(tmp_path/'a.png')
    assert ('reason' in try_file(tmp_path/'a.png'))==(channels>1 and bits==12)


if __name__=='__main__': batch(Path(sys.argv[1]))
