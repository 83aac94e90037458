"""The machines of a bench, from the addresses that a user gives."""

import contextlib
from collections.abc import Iterator, Sequence

from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.ssh import Progress, Ssh
from edgecifar.errors import UserError


@contextlib.contextmanager
def open_hosts(
    addresses: Sequence[str] = (),
    bootstrap: bool = False,
    progress: Progress = lambda doing, done, total: None,
) -> Iterator[list[Host]]:
    """Open hosts, and close them at the end.

    Args:
        addresses: of other machines, `ssh://[user@]host[:port]`; none means this machine.
        bootstrap: install the runtimes on those machines, see `Ssh`.
        progress: shows what is done while a machine is opened and files are sent to it.

    Yields:
        The hosts, in the order of the addresses.

    Raises:
        UserError: an address is wrong or given twice, or a machine does not answer.
    """
    if twice := [address for address in addresses if addresses.count(address) > 1]:
        raise UserError(f"`hosts={twice[0]}`: is given twice")
    hosts: list[Host] = []
    with contextlib.ExitStack() as stack:
        for address in addresses:
            hosts.append(Ssh(address, bootstrap, progress=progress))
            stack.callback(hosts[-1].close)
        if not hosts:
            hosts.append(Local())
            stack.callback(hosts[-1].close)
        yield hosts
