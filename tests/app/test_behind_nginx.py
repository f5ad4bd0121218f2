"""What docs/deploy says holds: behind a real nginx or Caddy with TLS, on a path below the host, with WebSockets."""

import asyncio
import configparser
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from helpers import answering, free_port, in_a_thread, make_run

DEPLOY = Path(__file__).parent.parent.parent / "docs" / "deploy"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


CADDY = shutil.which("caddy")
HAS = bool(NGINX and shutil.which("openssl"))
needs = {  # where PostgreSQL must be there, as in CI, so must nginx
    "nginx": pytest.mark.skipif(
        not HAS and not os.environ.get("LOSSPRINT_NEED_POSTGRES"), reason="nginx and openssl are not installed"
    ),
    "caddy": pytest.mark.skipif(not (CADDY and shutil.which("openssl")), reason="caddy and openssl are not installed"),
}


def changed(file: Path, *pairs: tuple[str, str]) -> str:
    """The text of a file, with places of this test's own instead of the usual ones."""
    text = file.read_text()
    for usual, own in pairs:
        assert usual in text
        text = text.replace(usual, own)
    return text


def behind_nginx(folder: Path, port: int, outer: int, key: Path, certificate: Path) -> list[str]:
    server = changed(
        DEPLOY / "nginx.conf",
        ("listen 443 ssl", f"listen 127.0.0.1:{outer} ssl"),
        ("127.0.0.1:8501", f"127.0.0.1:{port}"),
        ("/etc/ssl/certs/lossprint.pem", str(certificate)),
        ("/etc/ssl/private/lossprint.key", str(key)),
    )
    places = "\n".join(
        f"{one}_temp_path {folder / one};" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder / 'pid'};\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}\n{server}\n}}\n"
    )
    return [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def behind_caddy(folder: Path, port: int, outer: int, key: Path, certificate: Path) -> list[str]:
    site = f"https://localhost:{outer} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}"
    server = changed(DEPLOY / "Caddyfile", ("lab.example {", site), ("127.0.0.1:8501", f"127.0.0.1:{port}"))
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + server)
    return [CADDY, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.mark.parametrize(
    "proxied",
    [
        pytest.param(behind_nginx, marks=needs["nginx"], id="nginx"),
        pytest.param(behind_caddy, marks=needs["caddy"], id="caddy"),
    ],
)
def test_a_proxy_passes_pages_and_websockets_below_a_path(proxied, tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):  # where Caddy keeps what it does
        monkeypatch.setenv(name, str(tmp_path / "caddy"))
    run = make_run(tmp_path).path
    port, outer = free_port(), free_port()
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    proxy = proxied(tmp_path, port, outer, key, certificate)
    context = ssl.create_default_context(cafile=str(certificate))
    app = [sys.executable, "-m", "lossprint.app.serve", str(run), "--port", str(port), "--base-path", "lossprint"]
    with TemporaryFile("w+") as log, answering([*app, "--no-browser"], f"http://127.0.0.1:{port}/lossprint", log):
        log.seek(0)
        assert f"http://localhost:{port}/lossprint" in log.read()
        served = subprocess.Popen(proxy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            home = f"https://localhost:{outer}/lossprint"
            assert in_a_thread(lambda: asyncio.run(talk(home, context))) == "streamlit"
            for path, text in (("", "<title>"), ("/", "<title>"), ("/_stcore/health", "ok")):
                with urllib.request.urlopen(home + path, context=context, timeout=60) as page:
                    assert text in page.read().decode()
        finally:
            served.terminate()
            served.wait()


async def talk(home: str, context: ssl.SSLContext) -> str:
    """Open Streamlit's WebSocket through the proxy, as a page of it does, and have a ping answered."""
    import websockets

    url = home.replace("https", "wss") + "/_stcore/stream"
    origin = home.removesuffix("/lossprint")
    for attempt in range(50):
        try:
            async with websockets.connect(url, ssl=context, origin=origin, subprotocols=["streamlit"]) as socket:
                await asyncio.wait_for(await socket.ping(), 60)
                return socket.subprotocol
        except ConnectionRefusedError:  # the proxy is not up yet
            if attempt == 49:
                raise
            await asyncio.sleep(0.1)


def test_the_unit_starts_a_command_that_there_is():
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "lossprint.service")
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[0].endswith("/bin/lossprint") and unit["Service"]["User"] == "lossprint"
    parse(words[1:])


def test_the_steps_of_the_container_hold(tmp_path, monkeypatch):
    """As far as they can be told without an image: the user, the entry point, the health check against a server."""
    text = (DEPLOY / "Containerfile").read_text()
    steps = re.findall(r"^([A-Z]+) (.*)$", text, re.M)
    names = [name for name, _ in steps]
    assert names.index("USER") < names.index("ENTRYPOINT") and dict(steps)["USER"] == "lossprint"
    assert dict(steps)["VOLUME"] == "/runs" and "*.whl" in dict(steps)["COPY"]
    entry = re.findall(r'"([^"]*)"', dict(steps)["ENTRYPOINT"])
    assert entry[0] == "lossprint"
    parse(entry[1:])
    check = re.search(r'HEALTHCHECK .* CMD \["python", "-c", "(.*)"\]', text)[1]
    run, port = make_run(tmp_path).path, free_port()
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "/tools/audit/")
    command = [sys.executable, "-m", "lossprint.app.serve", str(run), "--port", str(port), "--no-browser"]
    with TemporaryFile("w+") as log, answering(command, f"http://127.0.0.1:{port}/tools/audit", log):
        code = check.replace(":8501/", f":{port}/")
        assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0
        assert subprocess.run([sys.executable, "-c", code.replace("health", "none")], capture_output=True).returncode


def parse(words: list[str]) -> None:
    """Raises where the command line does not take these words."""
    from lossprint.audit.cli.main import program

    name, command, rest = program.resolve_command(program.make_context("lossprint", ["app"]), words)
    command.make_context(name, rest)
