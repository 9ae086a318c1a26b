"A training step of EfficientNet-lite0, depthwise convolutions that pad their small maps themselves against `PaddedConv`"
import statistics
import time

from covid_xray.cohort import keep_memory
import torch
from covid_xray.models import PaddedConv, make_model


def seconds(padded, size, bs=16, n=6):
    model = make_model('efficientnet_lite0', 4, pretrained=False).to(memory_format=torch.channels_last).train()
    for l in model.modules():
        if type(l) is PaddedConv and not padded: l.__class__ = torch.nn.Conv2d
    x = torch.randn(bs, 3, size, size).contiguous(memory_format=torch.channels_last)
    for i in range(n+1):
        if i==1: t = time.perf_counter()
        model(x).sum().backward()
        model.zero_grad()
    return (time.perf_counter()-t)/n


if __name__=='__main__':
    torch.set_num_threads(1)
    keep_memory()
    for size in (48, 64, 96, 128):
        pairs = [(seconds(False, size), seconds(True, size)) for _ in range(5)]
        print(f'{size} px: {statistics.median(a/b for a, b in pairs):.2f} times as fast ({min(a/b for a, b in pairs):.2f} to {max(a/b for a, b in pairs):.2f})')
