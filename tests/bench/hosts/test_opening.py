"""The hosts that addresses stand for."""

import pytest

from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.opening import open_hosts
from edgecifar.errors import UserError


def test_without_an_address_it_is_this_machine_and_is_closed_at_the_end(tmp_path):
    with open_hosts() as hosts:
        (host,) = hosts
        assert isinstance(host, Local)
        folder = host._archive().parent
        assert folder.is_dir()
    assert not folder.exists()


def test_an_address_that_is_given_twice_is_refused():
    with (
        pytest.raises(UserError, match="`hosts=ssh://a`: is given twice"),
        open_hosts(["ssh://a"] * 2),
    ):
        pass


def test_a_host_that_is_open_already_stays_open():
    own = Local()
    with open_hosts([own]) as hosts:
        assert hosts == [own]
        folder = own._archive().parent
    assert folder.is_dir()
    own.close()
