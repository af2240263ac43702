"""A documented parameter says more than its type: tests/prose.py has the rule."""

from __future__ import annotations

import textwrap

from prose import all_entries, by_folder, entries_of, held, silent

_MODULE = '''
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
            (N, C, H, W).

        Returns
        -------
        ndarray

        Raises
        ------
        InputError
            If `x` has another shape.
        """
'''


def test_entries() -> None:
    """An entry ends where the next begins, and its text may be missing."""
    found = entries_of(textwrap.dedent(_MODULE), "tvm_mobilenet/models/layer.py")
    assert [(entry.owner, entry.section, entry.head) for entry in silent(found)] == [
        ("Layer", "Attributes", "name : str"),
        ("Layer._run", "Returns", "ndarray"),
    ]
    assert [(entry.line, entry.public) for entry in silent(found)] == [(7, True), (22, False)]
    assert [entry.text for entry in found if entry.text] == [
        "How many lanes of a block hold one.",
        "(N, C, H, W).",
        "If `x` has another shape.",
    ]


def test_silent_entries() -> None:
    """No folder has more of them than it had."""
    found, kept = silent(all_entries()), held()
    more = {name for name, count in by_folder(found).items() if count > kept.get(name, 0)}
    listed = [f"{e.path}:{e.line}: {e.owner}: {e.head}" for e in found if e.folder in more]
    assert not more, "say something, or delete the entry:\n" + "\n".join(listed)
