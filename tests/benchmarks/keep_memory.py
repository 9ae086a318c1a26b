"Processor seconds, page faults and peak memory of training steps, with and without `keep_memory`, in turn in fresh processes"
import json
import resource
import statistics
import subprocess
import sys

import covid_xray.core  # noqa: F401 (thread settings, before torch)


def child(keep, size=128, bs=32, n=10):
    import torch
    from covid_xray.cohort import keep_memory
    from covid_xray.models import make_model
    if keep: assert keep_memory(), 'only glibc can be asked to keep memory'
    model = make_model('efficientnet_lite0', 4, pretrained=False).to(memory_format=torch.channels_last).train()
    x = torch.randn(bs, 3, size, size).contiguous(memory_format=torch.channels_last)
    for i in range(n+2):
        if i==2: was = resource.getrusage(resource.RUSAGE_SELF)
        model(x).sum().backward()
        model.zero_grad()
    now = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([now.ru_utime+now.ru_stime-was.ru_utime-was.ru_stime, now.ru_stime-was.ru_stime, now.ru_minflt-was.ru_minflt, now.ru_maxrss/1024]))


if __name__=='__main__':
    if len(sys.argv)>1: child(sys.argv[1]=='keep')
    else:
        run = lambda how: json.loads(subprocess.run([sys.executable, __file__, how], capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        pairs = [(run('plain'), run('keep')) for _ in range(3)]
        for i, what in enumerate(('processor seconds', 'of them in the kernel', 'page faults', 'peak memory, MiB')):
            a, b = (statistics.median(p[j][i] for p in pairs) for j in (0, 1))
            print(f'{what}: {a:.2f}, with keep_memory {b:.2f}, ratio {statistics.median(p[1][i]/p[0][i] for p in pairs):.2f}')
