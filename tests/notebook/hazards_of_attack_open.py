"""Idioms of real notebooks that a resumed run does not end as a plain one does; each moves to `hazards_of_attack` once it does.

The format is that of `hazards`. What they have in common is in the README, under what is not promised.
"""

from __future__ import annotations

from tests.notebook.hazards import parsed

OPEN = parsed(r"""
## function type is checked where it is handed over | out
import inspect
class Pipe:
    def __init__(self):
        self.fs = []
    def map(self, f):
        assert inspect.isfunction(f)
        self.fs.append(f)
        return self
    def run(self, xs):
        for f in self.fs:
            xs = [f(x) for x in xs]
        return xs
out = Pipe().map(embed).run(docs)
## result that holds two views of one array | out
def work(i):
    embed(docs[i])
    X = np.arange(4.0) + i
    return X, X[:2]
out = []
for i in range(20):
    X, head = work(i)
    X += 1
    out.append(head.tolist())
""")
