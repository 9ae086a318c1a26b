"A head-only epoch: fastai's default (the frozen body's batch-norm weights train) against `train_bn=False` (only their statistics adapt)"
import tempfile
import time

from covid_xray.core import get_settings
from covid_xray.curation import load_data
from covid_xray.loaders import make_loaders
from covid_xray.models import make_model
from covid_xray.splits import cut_valid
from covid_xray.lr_finder import make_learner

if __name__=='__main__':
    with tempfile.TemporaryDirectory() as d:
        settings = get_settings(runs=d)
        data = cut_valid(load_data('phantom', settings, per_class=40))
        dls = make_loaders(data, 96, 16, 'recommended', settings=settings)

        def epoch(train_bn):
            learn = make_learner(dls, make_model('efficientnet_lite0', 4, pretrained=False), train_bn)
            learn.freeze()
            with learn.no_bar(), learn.no_logging():
                t = time.perf_counter()
                learn.fit(1, 1e-3)
            return time.perf_counter()-t
        for _ in range(3):
            a, b = epoch(True), epoch(False)
            print(f'head-only epoch: default {a:.1f} s, train_bn=False {b:.1f} s, ratio {a/b:.2f}')
