"Processor seconds and page faults of drawing phantoms, with and without `keep_memory`, in turn in fresh processes"
import resource
import statistics
import subprocess
import sys


def child(keep, n=150):
    from covid_xray.cohort import draw_phantom, keep_memory
    if keep: assert keep_memory(), 'only glibc can be asked to keep memory'
    for i in range(n+20):
        if i==20: was = resource.getrusage(resource.RUSAGE_SELF)
        draw_phantom(('normal', 'bacterial', 'viral', 'covid')[i%4], i, site=i%5)
    now = resource.getrusage(resource.RUSAGE_SELF)
    print((now.ru_utime+now.ru_stime-was.ru_utime-was.ru_stime)/n, (now.ru_minflt-was.ru_minflt)/n)


if __name__=='__main__':
    if len(sys.argv)>1: child(sys.argv[1]=='keep')
    else:
        ask = lambda how: [float(o) for o in subprocess.run([sys.executable, __file__, how], capture_output=True, text=True, check=True).stdout.split()]
        pairs = [(ask('no'), ask('keep')) for _ in range(5)]
        for k, what in enumerate(('seconds', 'page faults')):
            a, b = (statistics.median(p[i][k] for p in pairs) for i in (0, 1))
            print(f'{what} a phantom: {a:.4g}, with keep_memory {b:.4g}')
        print(f'ratio of the seconds: {statistics.median(b[0]/a[0] for a, b in pairs):.2f}')
