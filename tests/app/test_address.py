"""Where the server is: the command line, else the environment or a config.toml, as of any Streamlit app."""

import os
import sys
import urllib.error
import urllib.request

import pytest
from helpers import answering, free_port, make_run

from lossprint.app.access import address, login
from lossprint.audit.types import LossprintError


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch, tmp_path):
    for name in address.ENVIRONMENT.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def config(folder, text):
    (folder / ".streamlit").mkdir(parents=True)
    (folder / ".streamlit" / "config.toml").write_text(text)


def test_the_base_path_is_asked_for_or_of_the_environment_or_of_a_file(monkeypatch, tmp_path):
    assert address.base_path(None) == ""
    config(tmp_path / "home", '[server]\nbaseUrlPath = "mine"\nport = 9001\n')
    assert (address.base_path(None), address.port(None)) == ("mine", 9001)
    config(tmp_path, '[server]\nbaseUrlPath = "/here/"\n')
    assert (address.base_path(None), address.port(None)) == ("here", 9001)
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "/tools/audit/")
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "9002")
    assert (address.base_path(None), address.port(None)) == ("tools/audit", 9002)
    assert (address.base_path("/a/b/"), address.base_path(""), address.port(9003)) == ("a/b", "", 9003)
    assert login.settings("127.0.0.1", 1, "a/b")["server.baseUrlPath"] == "a/b"


@pytest.mark.parametrize("path", ["..", "a/../b", "a b", "a//b", "http://x", "a?b", "é"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(LossprintError, match="expected a path such as tools/audit"):
        address.base_path(path)


def test_another_port_than_a_number_is_refused_and_another_address_is_told(monkeypatch, capsys):
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "many")
    with pytest.raises(LossprintError, match="STREAMLIT_SERVER_PORT, found 'many'"):
        address.port(None)
    assert address.port(8501) == 8501
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")
    address.say_what_is_not_followed("127.0.0.1")
    assert "0.0.0.0 of Streamlit's settings is not taken: say --host" in capsys.readouterr().err
    assert address.scheme() == "http"
    monkeypatch.setenv("STREAMLIT_SERVER_SSL_CERT_FILE", "cert.pem")
    assert address.scheme() == "https"


def test_the_server_answers_below_the_path_of_the_environment_and_prints_it(tmp_path):
    run, port = make_run(tmp_path / "made").path, free_port()
    url = f"http://127.0.0.1:{port}/tools/audit"
    command = [sys.executable, "-m", "lossprint.app.serve", str(run), "--port", str(port), "--no-browser"]
    said = {**os.environ, "STREAMLIT_SERVER_BASE_URL_PATH": "tools/audit"}
    with open(tmp_path / "log", "w+") as log, answering(command, url, log, env=said):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/elsewhere/_stcore/health", timeout=20)
        log.seek(0)
        assert f"Lossprint is at http://localhost:{port}/tools/audit (" in log.read()
