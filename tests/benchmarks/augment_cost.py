"What does Deep Covid's augmentation cost, as a share of a training step, and would kornia do it faster?"
import statistics
import time

import kornia.augmentation as K
import torch
from covid_xray.loaders import batch_tfms
from covid_xray.models import make_model
from covid_xray.recipes import DEEP_COVID, get_tfms
from fastai.torch_core import TensorImage
from fasttransform import Pipeline

SIZE, BATCH, REPEATS = 128, 32, 15


def kornia_recipe():
    "The same twelve steps with the same ranges and probabilities, in kornia"
    c = DEEP_COVID
    p = c['p']
    return K.AugmentationSequential(
        K.RandomHorizontalFlip(p=c['flip']), K.RandomVerticalFlip(p=c['flip']),
        K.RandomAffine(c['rotate'], translate=(c['shift']/SIZE,)*2, scale=c['zoom'], shear=(-c['shear'], c['shear']), padding_mode='reflection', p=1.),
        K.RandomGaussianBlur((13, 13), (.01, c['blur']), p=p), K.RandomContrast(c['contrast'], p=p), K.RandomRGBShift(*(c['rgb'],)*3, p=p),
        K.ColorJiggle(brightness=0., contrast=0., saturation=c['hsv'][1], hue=c['hsv'][0], p=p), K.RandomGrayscale(p=p), K.RandomEqualize(p=p),
        K.RandomBrightness((.8, 1.2), p=p))


def seconds(f):
    t0 = time.perf_counter()
    f()
    return time.perf_counter()-t0


def main():
    torch.manual_seed(0)
    bytes_ = TensorImage(torch.randint(0, 256, (BATCH, 1, SIZE, SIZE), dtype=torch.uint8))
    model = make_model('efficientnet_lite0', 2, pretrained=False).to(memory_format=torch.channels_last).train()
    opt, y = torch.optim.Adam(model.parameters(), 1e-4), torch.randint(0, 2, (BATCH,))
    plain = Pipeline(batch_tfms('none'))
    ready = plain(bytes_).as_subclass(torch.Tensor)

    def step():
        torch.nn.functional.cross_entropy(model(ready), y).backward()
        opt.step()
        opt.zero_grad()

    grey, theirs = bytes_.as_subclass(torch.Tensor).float()/255, kornia_recipe()
    ours = {name: Pipeline(get_tfms(name), split_idx=0) for name in ('paper', 'recommended', 'robust', 'deep_covid')}
    jobs = {'step': step, 'bytes to batch, no augmentation': lambda: plain(bytes_), 'kornia, deep_covid': lambda: theirs(grey.expand(-1, 3, -1, -1)),
            **{f'ours, {k}': (lambda t: lambda: t(TensorImage(grey)))(t) for k, t in ours.items()}}
    times = {k: [] for k in jobs}
    for i in range(REPEATS+2):
        for k, f in jobs.items():
            s = seconds(f)
            if i>1: times[k].append(s)
    one = statistics.median(times['step'])
    print(f'EfficientNet-lite0, {BATCH} images of {SIZE} px, {torch.get_num_threads()} threads, {REPEATS} repeats; a step takes {1000*one:.0f} ms')
    for k, t in times.items():
        m = statistics.median(t)
        print(f'{k:34} {1000*m:7.1f} ms  {m/one:6.3f} of a step')


if __name__=='__main__': main()
