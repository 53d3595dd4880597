"""Flags, environment and what they may hold."""

import pytest

from server import parse_config
from stream.config import IceServer


def test_defaults_serve_this_machine_only():
    config = parse_config([], {})
    assert (config.host, config.port, config.max_sessions, config.ice_servers) == ("127.0.0.1", 8080, None, ())


def test_flags_win_over_environment():
    environment = {"VISAVIS_PORT": "9000", "VISAVIS_WORKERS": "2", "VISAVIS_MAX_SESSIONS": "7"}
    config = parse_config(["--port", "9001"], environment)
    assert (config.port, config.workers, config.max_sessions) == (9001, 2, 7)


def test_repeatable_settings_come_from_either():
    flags = ["--ice-server", "stun:a:1", "--ice-server", "turn:b:2,user,pass,word", "--allow-origin", "https://c"]
    environment = {"VISAVIS_ICE_SERVER": "stun:d:3", "VISAVIS_ALLOW_ORIGIN": "https://e https://f"}
    assert parse_config(flags, environment).ice_servers == (
        IceServer("stun:a:1"),
        IceServer("turn:b:2", "user", "pass,word"),
    )
    config = parse_config([], environment)
    assert config.ice_servers == (IceServer("stun:d:3"),)
    assert config.allow_origins == ("https://e", "https://f")


@pytest.mark.parametrize(
    "flags",
    [
        ["--port", "70000"],
        ["--port", "web"],
        ["--workers", "0"],
        ["--max-sessions", "0"],
        ["--ice-server", "host:3478"],
        ["--ice-server", "turn:host:3478"],
        ["--ice-server", "stun:ho st"],
        ["--allow-origin", "example.org"],
        ["--log-level", "loud"],
    ],
)
def test_nonsense_is_refused_with_exit_code_2(flags, capsys):
    with pytest.raises(SystemExit) as exit:
        parse_config(flags, {})
    assert exit.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_nonsense_in_the_environment_is_refused_too(capsys):
    with pytest.raises(SystemExit):
        parse_config([], {"VISAVIS_LOG_LEVEL": "loud"})
    assert "loud" in capsys.readouterr().err


def test_a_turn_server_as_a_link():
    link = IceServer.parse('turn:host:3478?transport=udp,me,se"cret').link
    assert link == (
        '<turn:host:3478?transport=udp>; rel="ice-server"; username="me"; credential="se\\"cret"; '
        'credential-type="password"'
    )
