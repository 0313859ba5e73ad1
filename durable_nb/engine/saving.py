"""Threads that are saving a result: an interrupt that comes meanwhile waits until it is saved."""

from __future__ import annotations

import threading


class Saving(set[int]):
    """Idents of the threads; a set, because adding and discarding one costs a call nothing.

    Attributes
    ----------
    withheld : bool
        An interrupt of the main thread is waiting.
    """

    withheld = False

    def withholds(self) -> bool:
        """Called by the signal handler: whether the interrupt waits. A second one does not."""
        if self.withheld or threading.get_ident() not in self:
            return False
        self.withheld = True
        return True

    def give_way(self) -> None:
        """Raise the interrupt that has waited, if it is this thread's."""
        if threading.current_thread() is threading.main_thread():
            self.withheld = False
            raise KeyboardInterrupt
