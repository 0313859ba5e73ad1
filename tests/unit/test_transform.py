"""A marked cell is the cell as it was typed: what becomes a possible step, what is never touched, and where it stands."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given, settings

from durable_nb.notebook.marking import durable_cell
from durable_nb.notebook.sites import Site
from tests.unit.marked_cells import cells, marked, outcome
from tests.unit.tricky_cells import TRICKY

Position = tuple[int, int, int | None, int | None]


def sites_of(source: str, *named: str) -> tuple[Site, ...]:
    return marked(source, *named)[1].sites


def forms_of(source: str, *named: str) -> list[tuple[str, str]]:
    """Form and text of every site of a cell, those inside of another one too."""
    return [(site.form, site.text) for site in sites_of(source, *named)]


class Unmarked(ast.NodeTransformer):
    """Takes out of a marked cell all that was put into it."""

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        if is_runtime(node.test) != "owns":
            return self.generic_visit(node)
        read = {one.args[0].value: one.args[1] for one in node.test.args if is_runtime(one) == "read"}
        return Retaken(read).visit(self.visit(node.orelse))

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if is_runtime(node) == "taken":
            return node
        return node.args[{"handed": 1, "nap": 0, "sized": 0}[is_runtime(node)]] if is_runtime(node) else node

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if is_runtime(node.value) == "ready" else self.generic_visit(node)


class Retaken(ast.NodeTransformer):
    """Puts back what is read once, from where it is read."""

    def __init__(self, read: dict[int, ast.expr]) -> None:
        self.read = read

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        return self.read[node.args[0].value] if is_runtime(node) == "taken" else node


def is_runtime(node: ast.AST) -> str:
    """The method of the run-time half that an expression calls; '' if it calls another thing."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) and ast.unparse(function.value) == "R[0]" else ""


def position(node: Any) -> Position:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("for d in docs: v = embed(d)", [("call", "embed(d)")]),
        ("for d in docs: v = embed(d, [1, 2], k=f'{d}')", [("call", "embed(d, [1, 2], k=f'{d}')")]),
        ("for d in docs: v = embed(clean(d))", [("late", "embed(clean(d))"), ("call", "clean(d)")]),
        ("for d in docs: v = top(d).best(k)", [("whole", "top(d).best(k)")]),
        ("for d in docs: v = top(d).best(3, n='x')[0]", [("call", "top(d).best(3, n='x')[0]")]),
        ("for d in docs: v = top(d)[k]", [("call", "top(d)")]),
        ("for d in docs: v = top(d).best(await k)", [("call", "top(d)")]),
        ("for d in docs: v = embed(x := d)", [("call", "embed((x := d))")]),
        ("for d in docs: v = embed([f(x) for x in d])", [("call", "embed([f(x) for x in d])"), ("call", "f(x)")]),
        ("for d in docs: v = embed([x for x in d])", [("call", "embed([x for x in d])")]),
        ("for d in docs: v = embed(await f(d))", [("call", "embed(await f(d))"), ("call", "await f(d)")]),
        ("for d in docs: v = (await f(u(d))).x", [("late", "(await f(u(d))).x"), ("call", "u(d)")]),
        ("v = [embed(d) for d in docs]", [("call", "embed(d)")]),
        ("v = {embed(d): f(d) for d in load()}", [("call", "embed(d)"), ("call", "f(d)")]),
        ("v = [x for x in docs if keep(x)]", [("call", "keep(x)")]),
        ("v = [y for x in docs for y in split(x)]", [("call", "split(x)")]),
        ("while more(): v = embed(v)", [("call", "more()"), ("call", "embed(v)")]),
        ("for d in load(): pass", []),
        ("for d in docs:\n    for p in split(d): pass", [("call", "split(d)")]),
        ("for d in pool.map(embed, docs): pass", [("function", "embed"), ("function", "docs")]),
        ("for d in docs: pass\nelse: v = embed(d)", []),
        ("v = embed(d); w = f(embed(d))", []),
        ("if embed(d): v = embed(d)", []),
        ("v = list(pool.map(embed, docs))", [("function", "embed"), ("function", "docs")]),
        ("v = df.apply(lambda r: embed(r), axis=1)", [("function", "lambda r: embed(r)")]),
        ("v = df.x.map(partial(embed, n=2))", [("function", "partial(embed, n=2)")]),
        ("v = df.x.transform(func=embed)", [("function", "embed")]),
        ("v = pool.map(embed(d), [1])", [("function", "embed(d)")]),
        ("v = pool.map(embed, made(d))", [("function", "embed")]),
        ("for d in docs: v = f(d)(d)", [("whole", "f(d)(d)")]),
        ("for d in docs: v = (lambda: embed(d))()", []),
        ("for d in docs: v = get_ipython().run(d); super().run(d)", []),
        ("for d in docs: time.sleep(2); await asyncio.sleep(1)", []),
        ("v = sorted(docs, key=embed)", [("order", "sorted(docs, key=embed)")]),
    ],
)
def test_what_becomes_which_form(cell: str, expected: list[tuple[str, str]]) -> None:
    """Calls in loops are possible steps, named by their arguments, by what builds these, or by all that is read."""
    assert expected == forms_of(cell)


@pytest.mark.parametrize(
    "cell",
    [
        "def k(d):\n    return [embed(x) for x in d]",
        "async def k(d):\n    async for x in d: await embed(x)",
        "class K:\n    rows = [embed(x) for x in docs]\n    def k(self): return [embed(x) for x in docs]",
        "k = lambda docs: [embed(x) for x in docs]",
        "k = lambda n=[embed(x) for x in docs]: n",
        "@decorate([embed(x) for x in docs])\ndef k(n=[embed(x) for x in docs]) -> [embed(x) for x in docs]: ...",
    ],
)
def test_the_inside_of_functions_and_classes_stays_as_it_is(cell: str) -> None:
    """Bodies, defaults and decorators of functions, classes and lambdas hold nothing of ours, in loops neither."""
    in_loop = "for n in range(3):\n" + "\n".join(f"    {line}" for line in cell.splitlines())
    for source in (cell, in_loop):
        tree, plan = marked(source)

        assert () == plan.sites
        assert ast.dump(ast.parse(source)) == ast.dump(tree)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("connect(u)", []),
        ("connect(u).session()", ["connect(u)"]),
        ("connect(find(u))", ["find(u)"]),
        ("connect(find(u)).session(key=load(u)) as s", ["connect(find(u))", "find(u)", "load(u)"]),
        ("self.lock", []),
        ("connect(u) as a, connect(find(a)) as b", ["find(a)"]),
    ],
)
def test_a_context_manager_is_entered_again(item: str, expected: list[str]) -> None:
    """What stands behind `with` is no step; what it is taken from, and what its arguments are built from, may be."""
    sync = sites_of(f"for u in urls:\n    with {item}: pass")
    also = sites_of(f"for u in urls:\n    async with {item}: pass")

    assert expected == [site.text for site in sync]
    assert expected == [site.text for site in also]


@pytest.mark.parametrize(
    ("cell", "trail"),
    [
        ("embed(d)", ()),
        ("embed(d).vector", (("attr", "vector"),)),
        ("embed(d).choices[0].text", (("attr", "choices"), ("item", 0), ("attr", "text"))),
        ("embed(d)['a', 1][-2:]", (("item", ("a", 1)), ("item", slice(-2, None)))),
        ("(await embed(d)).json()", (("await",), ("attr", "json"), ("call", (), {}))),
        ("await embed(d).run(1, n=2)", (("attr", "run"), ("call", (1,), {"n": 2}), ("await",))),
        ("embed(d)()()", (("call", (), {}), ("call", (), {}))),
        ("embed(d)[::2].shape", (("item", slice(None, None, 2)), ("attr", "shape"))),
    ],
)
def test_trails(cell: str, trail: tuple[Any, ...]) -> None:
    """What is done with the result of a call, up to the end of the expression, is part of the step."""
    [site] = sites_of(f"for d in docs: v = {cell}")

    assert trail == site.trail
    assert "embed" == site.callee
    assert (("await",) in trail) == site.awaits


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("for {0} in docs: v = embed(clean({0}), {0}, k)", ("d", "doc", "_")),
        ("v = [embed(clean({0}), {0}, k) for {0} in docs]", ("d", "doc", "_")),
        ("for n, ({0}, *rest) in docs: v = embed(f({0}), n, rest)", ("d", "doc")),
        ("for d in docs:\n    {0} = clean(d)\n    v = embed(f({0}))", ("text", "t")),
        ("for d in docs:\n    with room(d) as {0}:\n        v = embed(f({0}))", ("r", "room_of_d")),
        ("while ({0} := more()):\n    v = embed(f({0}))", ("r", "page")),
    ],
)
def test_names_that_a_loop_binds_do_not_count(cell: str, names: tuple[str, ...]) -> None:
    """Renaming what a loop binds changes no expression; another name from above the loop does."""
    expressions = {tuple(site.expression for site in sites_of(cell.format(name))) for name in names}
    typed = cell.format(names[0])

    assert 1 == len(expressions)
    for old, new in (("embed(", "other("), ("clean(", "other("), ("f(", "other("), (", k", ", m")):
        changed = [site.expression for site in sites_of(typed.replace(old, new))]

        assert (old in typed) == (expressions != {tuple(changed)}), old


def test_what_a_site_knows_of_its_surroundings() -> None:
    """A site knows what the loops around it bind and change, what its arguments read, and what it is part of."""
    source = (
        "for i, d in docs:\n    seen.append(d)\n    cfg.n = i\n    tags += [d]\n    v = m.embed(clean(d, cfg), w, k=w)"
    )
    _, outer, inner = sites_of(source)

    assert {"i", "d", "v", "tags"} == outer.varying
    assert {"seen", "cfg", "tags"} == outer.touched
    assert (("clean", "d", "cfg", "w"), ("clean",)) == (outer.names[:4], outer.builders)
    assert ((1, "w"), ("k", "w")) == outer.arguments
    assert ("m", "m.embed", -1, outer.number) == (outer.root, outer.callee, outer.inside, inner.inside)


def test_steps_that_are_named_are_possible_everywhere() -> None:
    """What --steps names is a possible step outside of loops as well, and only that."""
    assert [("call", "m.encode(d)")] == forms_of("v = m.encode(d); w = encode(d)", "m.encode")


def test_ready_stands_before_the_first_possible_step() -> None:
    """The functions that a cell defines exist when it is looked at; nothing that may be a step has run before."""
    tree, _ = marked("def embed(d): ...\ndocs = load()\n\nfor d in docs:\n    embed(d)\n[embed(d) for d in docs]")
    found = [position for position, one in enumerate(tree.body) if is_runtime(getattr(one, "value", one)) == "ready"]

    assert [2] == found
    assert 4 == tree.body[2].lineno
    assert "ready" not in ast.dump(marked("v = embed(d)")[0])


@pytest.mark.parametrize("cell", TRICKY)
def test_every_node_stands_where_it_was_typed(cell: str) -> None:
    """Without the marks, the marked tree is the one of the source, lines and columns included; a mark stands on it."""
    original, (tree, _) = ast.parse(cell), marked(cell)
    places = {position(node) for node in ast.walk(original) if hasattr(node, "lineno")}
    moved = [ast.unparse(node) for node in ast.walk(tree) if hasattr(node, "lineno") and position(node) not in places]

    assert [] == moved

    unmarked = Unmarked().visit(tree)

    assert ast.dump(original, include_attributes=True) == ast.dump(unmarked, include_attributes=True)


@pytest.mark.parametrize("cell", TRICKY)
def test_a_tricky_cell_means_the_same_when_it_is_marked(cell: str) -> None:
    """Values, order of calls and errors are those of the plain cell, whether every call is a step or none is."""
    plain, stepped = outcome(cell), outcome(cell, owned=True)

    assert plain == outcome(cell, owned=False)
    assert (plain.namespace, plain.trace, plain.error) == (stepped.namespace, stepped.trace, stepped.error)


def test_there_are_enough_tricky_cells() -> None:
    """The list is not cut short by a wrong separator, and few of its cells fail."""
    assert 40 <= len(set(TRICKY))
    assert 6 >= sum(bool(outcome(cell).error) for cell in TRICKY)


@given(cells())
@settings(max_examples=80, deadline=None)
def test_any_cell_means_the_same_when_it_is_marked(cell: str) -> None:
    """Whatever is nested in what: same names, same values, same calls in the same order, same error."""
    plain, stepped = outcome(cell), outcome(cell, owned=True)

    assert plain == outcome(cell, owned=False)
    assert (plain.namespace, plain.trace, plain.error) == (stepped.namespace, stepped.trace, stepped.error)


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            "for i in items: a = shelf.submit(f(i), shelf.book)", id="a handed property after a call is read twice"
        ),
        pytest.param("for i in items: a = h.map(f(i), missing)", id="a missing name is found too early"),
        pytest.param("a = [f(*(g(j) for j in i), **{'k': h(i)}) for i in items]", id="** before a single *"),
    ],
)
@pytest.mark.xfail(strict=True, reason="the marked form evaluates something twice, elsewhere or earlier")
def test_a_rare_cell_means_the_same_when_it_is_marked(cell: str) -> None:
    """Nothing is evaluated twice, in another scope or in another order because a cell is durable."""
    source = f"h.map = print\n{cell}"
    plain, stepped = outcome(source), outcome(source, owned=True)

    assert plain == outcome(source, owned=False)
    assert (plain.namespace, plain.trace, plain.error) == (stepped.namespace, stepped.trace, stepped.error)


@pytest.mark.parametrize("rest", ["x = 1\n", "\n\n# a comment\nx = (1,\n  2)\n", "%time x\n", "if x:\n\ty\n"])
def test_the_first_line_is_replaced_by_one_line(rest: str) -> None:
    """Below the first line a cell stays as it was typed, on the lines where it was typed."""
    lines = f"%%durable run --on-change keep\n{rest}".splitlines(keepends=True)

    assert lines[1:] == durable_cell(lines)[1:]
    assert "__durable_nb__.begin('run --on-change keep')  # %%durable\n" == durable_cell(lines)[0]
    assert lines[1:] == durable_cell(lines[1:])
