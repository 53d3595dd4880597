"""Which web sites may act on this server."""

import pytest

from stream.origin import origin_allowed


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "localhost:8080"),  # a program
        ("http://localhost:8080", "localhost:8080"),
        ("https://avatar.example", "avatar.example"),  # TLS ends at a proxy
        ("https://avatar.example", "avatar.example:443"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_own_pages_and_programs_may_act(origin, host):
    assert origin_allowed(origin, host, ())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "localhost:8080"),
        ("http://localhost:9000", "localhost:8080"),
        ("http://localhost", "localhost:8080"),
        ("null", "localhost:8080"),
        ("http://localhost:8080", None),
        ("http://[broken", "localhost:8080"),
        ("http://localhost:x", "localhost:8080"),
    ],
)
def test_other_sites_may_not_act(origin, host):
    assert not origin_allowed(origin, host, ())


def test_named_sites_may_act_and_a_star_means_all():
    assert origin_allowed("https://shop.example", "localhost", ("https://shop.example",))
    assert not origin_allowed("https://other.example", "localhost", ("https://shop.example",))
    assert origin_allowed("https://other.example", "localhost", ("*",))
