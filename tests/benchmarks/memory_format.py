"Training images a second, contiguous against channels_last"
import statistics
import time

import covid_xray.core  # noqa: F401 (thread settings, before torch)
import torch
from covid_xray.models import make_model


def speed(fmt, size, bs=32, n=6):
    model = make_model('efficientnet_lite0', 4, pretrained=False).to(memory_format=fmt).train()
    x = torch.randn(bs, 3, size, size).contiguous(memory_format=fmt)
    for i in range(n+1):
        if i==1: t = time.perf_counter()
        model(x).sum().backward()
        model.zero_grad()
    return bs*n/(time.perf_counter()-t)


if __name__=='__main__':
    for size in (96, 128, 160):
        pairs = [(speed(torch.contiguous_format, size), speed(torch.channels_last, size)) for _ in range(3)]
        a, b = (statistics.median(o) for o in zip(*pairs))
        print(f'{size} px: contiguous {a:.0f}, channels_last {b:.0f} images/s, ratio {statistics.median(q/p for p, q in pairs):.2f}')
