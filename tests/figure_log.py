"Run by a kernel when it starts: for each figure that is drawn, write into FIGURE_LOG what a reader would miss on it"


def watch_figures():
    "All in one function: a startup script shares its names with the chapter, which has a `draw` and a `json` of its own"
    import json
    import os

    from matplotlib.backend_bases import FigureCanvasBase
    plain = FigureCanvasBase.print_figure

    def lacks(fig):
        "The title, or the label of an axis that has a scale (of axes that share it, one is enough)"
        titles = [fig.get_suptitle(), *(a.get_title(loc) for a in fig.axes for loc in ('left', 'center', 'right'))]
        missing = [] if any(titles) else ['title']
        for i, a in enumerate(fig.axes):
            for side in 'xy' if a.axison and a.has_data() else '':
                kin = getattr(a, f'get_shared_{side}_axes')().get_siblings(a)
                labels = [getattr(fig, f'get_sup{side}label')(), *(getattr(k, f'get_{side}label')() for k in kin)]
                scaled = getattr(a, f'{side}axis').get_visible() and len(getattr(a, f'get_{side}ticks')())
                if scaled and not any(labels) and not hasattr(a, '_colorbar'): missing.append(f'{side} of axes {i}')
        return next(filter(None, titles), ''), missing

    def print_figure(self, *args, **kwargs):
        title, missing = lacks(self.figure)
        with open(os.environ['FIGURE_LOG'], 'a', encoding='utf-8') as f: f.write(json.dumps(dict(title=title, missing=missing))+'\n')
        return plain(self, *args, **kwargs)

    FigureCanvasBase.print_figure = print_figure


watch_figures()
del watch_figures
