"""The texts that name a device."""

from __future__ import annotations

import pytest

from tvm_mobilenet.device.address import Address, parse_address
from tvm_mobilenet.errors import DeviceError


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("local", Address("local", "local")),
        ("10.0.0.7:9090", Address("10.0.0.7:9090", "server", "10.0.0.7", 9090)),
        ("berry:9090/4f2a", Address("berry:9090", "server", "berry", 9090, key="4f2a")),
        ("[::1]:9090", Address("[::1]:9090", "server", "::1", 9090)),
        (
            "tracker://t:9190/rpi4",
            Address("tracker://t:9190/rpi4", "tracker", "t", 9190, key="rpi4"),
        ),
        ("ssh://pi@berry", Address("ssh://pi@berry", "ssh", "berry", user="pi")),
        (
            "ssh://berry:2222?python=/opt/p/bin/python",
            Address(
                "ssh://berry:2222?python=/opt/p/bin/python",
                *("ssh", "berry", 2222),
                python="/opt/p/bin/python",
            ),
        ),
    ],
)
def test_addresses(text: str, want: Address) -> None:
    assert parse_address(text) == want


@pytest.mark.parametrize(
    "text",
    [
        *("", "berry", "berry:", "berry:0", "berry:70000", "berry:x", ":9090", "http://berry:80"),
        *(
            "tracker://t:9190",
            "tracker://t/rpi4",
            "server://t:1",
            "t:9090/a/path",
            "t:9090/a key",
            "pi@t:9090",
        ),
        *("ssh://", "ssh://berry/path", "ssh://-oProxyCommand=x", "ssh://-l@berry"),
        *("ssh://berry?proxy=x", "ssh://be rry", "ssh://be;rry", "local:1?x=y"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(DeviceError, match="device"):
        parse_address(text)
