"Reading every image of an epoch from the cache against decoding and resizing the files again (phantoms, or COVID_XRAY_DATA's covidx_v1)"
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from covid_xray.core import get_settings
from covid_xray.curation import load_data
from covid_xray.images import cached_images, read_files

if __name__=='__main__':
    with tempfile.TemporaryDirectory() as d:
        data = load_data(sys.argv[1] if len(sys.argv)>1 else 'phantom', get_settings(runs=d))
        paths = [data.root/p for p in data.manifest.path]
        images = cached_images(data.manifest, data.root, 128, Path(d)/'cache', progress=False)
        for _ in range(3):
            t0 = time.perf_counter()
            read_files(paths, 128)
            t1 = time.perf_counter()
            np.array(images)
            t2 = time.perf_counter()
            print(f'{len(paths)} images at 128 px: decoding {t1-t0:.2f} s on all cores, cache {t2-t1:.3f} s, ratio {(t1-t0)/(t2-t1):.0f}')
        del images
