"One and two trainings at a time, torch's threads spinning as they do by default against GOMP_SPINCOUNT=2000 (Linux)"
import os
import subprocess
import sys

WORK = '''
import time, warnings; warnings.simplefilter('ignore')
import torch, timm
m = timm.create_model('tf_efficientnet_lite0', num_classes=4).to(memory_format=torch.channels_last).train()
x = torch.randn(16, 3, 64, 64).contiguous(memory_format=torch.channels_last)
m(x).sum().backward(); t = time.perf_counter()
for _ in range(12): m(x).sum().backward(); m.zero_grad()
print(12*16/(time.perf_counter()-t))
'''


def speeds(n, **env):
    e = {k: v for k, v in os.environ.items() if k!='GOMP_SPINCOUNT'} | env
    ps = [subprocess.Popen([sys.executable, '-c', WORK], env=e, stdout=subprocess.PIPE, text=True) for _ in range(n)]
    return [float(p.communicate()[0]) for p in ps]


if __name__=='__main__':
    for n in (1, 2):
        for _ in range(2):
            a, b = (sum(speeds(n, **env))/n for env in ({}, dict(GOMP_SPINCOUNT='2000')))
            print(f'{n} at a time: default {a:.0f}, GOMP_SPINCOUNT=2000 {b:.0f} images/s each, ratio {b/a:.2f}', flush=True)
