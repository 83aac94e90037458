"""Opens the machines of a bench, from the addresses that a user gives."""

import contextlib
from collections.abc import Iterator, Sequence

from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.ssh import Ssh
from edgecifar.errors import UserError
from edgecifar.progress import Update, ignore


@contextlib.contextmanager
def open_hosts(
    given: Sequence[str | Host] = (),
    bootstrap: bool = False,
    update: Update = ignore,
) -> Iterator[list[Host]]:
    """Open hosts, and close them at the end.

    Args:
        given: addresses of other machines, `ssh://[user@]host[:port]`, or hosts that are open
            already and stay open; none means this machine.
        bootstrap: install the runtimes on those machines, see `Ssh`.
        update: of the job of the bench; shows what is done while a machine is opened and files are
            sent to it.

    Yields:
        The hosts, in the order of `given`.

    Raises:
        UserError: an address is wrong or given twice, or a machine does not answer.
    """
    if twice := [host for host in given if given.count(host) > 1]:
        raise UserError(f"`hosts={twice[0]}`: is given twice")

    def report(doing: str, done: int, total: int | None) -> None:
        update(0.0, label=doing)

    hosts: list[Host] = []
    with contextlib.ExitStack() as stack:
        for host in given or [Local()]:
            if isinstance(host, str):
                host = Ssh(host, bootstrap, progress=report)
            if host not in given:
                stack.callback(host.close)
            hosts.append(host)
        yield hosts
