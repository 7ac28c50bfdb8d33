"""Who is missing? Names the process that failed or died when the others wait in vain."""

from __future__ import annotations

import signal
import threading
import time

from torch.distributed.distributed_c10d import Store

from mlexpert.errors import RunError

LAST_GRACE = 1.0
"""Seconds in which the only process that has not answered may still do so."""
GRACE = 20.0
"""The same for several: some may be busy with a micro-batch. torchrun kills after 30 s."""
LINGER = 5.0
"""Most seconds for which process 0 stays for the others to read: its end may end the store."""
POLL = 0.05


class RollCall:
    """One key for each process, in the store through which the process group was formed.

    A process that fails writes why; one that loses touch writes that it is there. Who has written
    nothing is the one that died.

    Args:
        store: Shared by all processes; hosted by torchrun's agent or by process 0.
        rank: This process.
        count: Number of processes.
    """

    def __init__(self, store: Store, rank: int, count: int) -> None:
        self.store, self.rank, self.count = store, rank, count
        self.others = set(range(count)) - {rank}
        self._answered = False

    def is_called(self) -> bool:
        """Return whether some process has failed or lost touch."""
        try:
            return self.store.check(["called"])
        except RuntimeError:  # the store is gone, and so is its host
            return True

    def report(self, error: BaseException) -> None:
        """Tell the others why this process ends."""
        if self._answered:  # the error is what `explain` said of another process
            return
        try:
            self._answer(f"{type(error).__name__}: {error}")
            self._linger()
        except RuntimeError:
            pass  # the store is gone, and with it whoever could read

    def explain(self, what: str) -> RunError:
        """Return an error that names the process that failed, died or does not answer.

        Args:
            what: What this process saw, as a clause: "died while gradients were added up".
        """
        _outlive_sigterm()
        missing = self.others
        begin = time.monotonic()
        try:
            self._answer("")
            while True:
                answers = self._answers()
                for rank, reason in answers.items():
                    if reason:
                        self._linger()
                        return RunError(f"Process {rank} of {self.count} failed: {reason}")
                missing = self.others - answers.keys()
                grace = LAST_GRACE if len(missing) == 1 else GRACE
                if not missing or time.monotonic() - begin > grace:
                    break
                time.sleep(POLL)
        except RuntimeError:
            missing = missing & {0} or missing  # the store went, and process 0 may have hosted it
        if not missing:
            return RunError(
                f"Process {self.rank} of {self.count} lost touch with the others, which are still "
                "there; start all of them again."
            )
        who = " or ".join(str(rank) for rank in sorted(missing))
        return RunError(
            f"Process {who} of {self.count} {what}. Its own output may say why; a process that the "
            "system kills for want of memory says nothing. Start all processes again with the same "
            "run_dir to go on from the last checkpoint."
        )

    def _answer(self, reason: str) -> None:
        self._answered = True
        self.store.set(str(self.rank), reason)
        self.store.set("called", "")

    def _answers(self) -> dict[int, str]:
        there = [rank for rank in sorted(self.others) if self.store.check([str(rank)])]
        return {rank: self.store.get(str(rank)).decode() for rank in there}

    def _linger(self) -> None:
        end = time.monotonic() + LINGER
        while self.rank == 0 and len(self._answers()) < len(self.others):
            if time.monotonic() > end:
                break
            time.sleep(POLL)


def _outlive_sigterm() -> None:
    """Ignore SIGTERM from now on: torchrun sends it to the survivors before they have spoken."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
