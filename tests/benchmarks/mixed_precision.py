"Training images a second on this machine's CPU: float32 against bfloat16 autocast, in channels_last order"
import statistics
import time

import covid_xray.core  # noqa: F401 (thread settings, before torch)
import torch
from covid_xray.models import make_model


def speed(arch, size, half, bs=32, n=4):
    model = make_model(arch, 4, pretrained=False).to(memory_format=torch.channels_last).train()
    x = torch.randn(bs, 3, size, size).contiguous(memory_format=torch.channels_last)
    for i in range(n+1):
        if i==1: t = time.perf_counter()
        with torch.autocast('cpu', torch.bfloat16, enabled=half): y = model(x)
        y.float().sum().backward()
        model.zero_grad()
    return bs*n/(time.perf_counter()-t)


if __name__=='__main__':
    for arch, size in (('efficientnet_lite0', 96), ('efficientnet_lite0', 160), ('resnet50', 128)):
        pairs = [(speed(arch, size, False), speed(arch, size, True)) for _ in range(3)]
        a, b = (statistics.median(o) for o in zip(*pairs))
        print(f'{arch}, {size} px: float32 {a:.0f}, bfloat16 {b:.0f} images/s, ratio {statistics.median(q/p for p, q in pairs):.2f}')
