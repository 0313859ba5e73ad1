"""Which names a cell has to find in the notebook."""

from __future__ import annotations

import ast

import pytest

from durable_nb.notebook.needs import names_needed


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("vectors = []\nfor doc in docs:\n    vectors.append(embed(clean(doc)))", "docs embed clean"),
        ("vectors = [embed(d) for d in docs if d in wanted]\nlen(vectors)", "docs wanted embed len"),
        ("with Pool(4) as pool:\n    out = list(pool.map(embed, docs))\npool", "Pool list embed docs"),
        ("total += cost", "total cost"),
        ("df['x'] = df.text.map(f)", "df f"),
        ("import numpy as np\nfrom a import b\nnp.stack(b, c)", "c"),
        ("def f(x, y=default):\n    return g(x) + later\nlater = 1\nf(1)", "default g"),
        (
            "@deco\nclass A(Base):\n    size: int = SIZE\n    def m(self):\n        return helper(self)",
            "deco Base SIZE int helper",
        ),
        ("f = lambda d: embed(d, k=K)\nf(1)", "embed K"),
        ("if fast:\n    model = small\nmodel.run()", "fast small model"),
        ("if fast:\n    m = a\nelse:\n    m = b\nm.run()", "fast a b"),
        ("while (page := fetch(url)):\n    url = page.next", "fetch url"),
        ("try:\n    r = ask(q)\nexcept Oops as error:\n    print(error)\nr", "ask q Oops print"),
        ("results = await gather(*(one(u) for u in urls))", "gather urls one"),
        ("async for x in source():\n    xs.append(x)", "source xs"),
        ("{k: v for k, v in d.items() for _ in range(n)}", "d range n"),
        ("match doc:\n    case {'a': x}:\n        use(x)", "doc use"),
        ("def f():\n    global n\n    n += 1\nf()", "n"),
        ("sorted(docs, key=lambda d: order[d])", "sorted docs order"),
        ("[(lambda: x)() for x in xs]", "xs"),
        ("get_ipython().system('ls {folder}')", "get_ipython folder"),
        ("get_ipython().run_line_magic('time', 'v = [embed(d) for d in docs]')", "get_ipython docs embed"),
        ("x: List[int] = []\ny: Later", "List int Later"),
        ("del a\na = 1", "a"),
    ],
)
def test_what_a_cell_needs(cell: str, expected: str) -> None:
    """Free names, in the order in which they are read; what it binds before, loop variables and parameters are none."""
    assert set(expected.split()) == set(names_needed(ast.parse(cell).body))
