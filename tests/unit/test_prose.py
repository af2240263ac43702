"""A documented parameter says more than its type: tests/prose.py has the rules."""

from __future__ import annotations

import textwrap

from prose import all_entries, entries_of, held, sums

_MODULE = '''
LIMIT = 3
"""Of a layer."""

class Layer:
    """A layer.

    Attributes
    ----------
    name : str
    channels : int
        How many lanes of a block hold one.
    """

    def _run(self, x):
        """Run it.

        Parameters
        ----------
        x : ndarray
            Of shape (N, C, H, W).

        Returns
        -------
        ndarray

        Raises
        ------
        InputError
            Offering another shape.
        """
'''


def test_entries() -> None:
    """An entry ends where the next begins, and its text may be missing."""
    found = entries_of(textwrap.dedent(_MODULE), "tvm_mobilenet/models/layer.py")
    assert [(e.line, e.owner, e.head, e.public) for e in found if e.silent] == [
        (10, "Layer", "name : str", True),
        (25, "Layer._run", "ndarray", False),
    ]
    assert [(e.line, e.owner, e.text) for e in found if e.fragment] == [
        (3, "", "Of a layer."),
        (20, "Layer._run", "Of shape (N, C, H, W)."),
    ]
    assert [e.text for e in found if e.section and not (e.silent or e.fragment)] == [
        "How many lanes of a block hold one.",
        "Offering another shape.",
    ]


def test_no_more_than_there_were() -> None:
    """In no folder."""
    entries, kept = all_entries(), held()
    more = {
        name
        for name, (silent, fragments) in sums(entries).items()
        if silent > kept.get(name, (0, 0))[0] or fragments > kept.get(name, (0, 0))[1]
    }
    listed = [
        f"{e.path}:{e.line}: {e.owner}: {e.head}"
        for e in entries
        if e.folder in more and (e.silent or e.fragment)
    ]
    assert not more, "say something, or delete the entry:\n" + "\n".join(listed)
