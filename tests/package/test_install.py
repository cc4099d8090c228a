"""`make install` puts everything where PREFIX and DESTDIR say, and `make uninstall` removes it."""

import os
import re
import subprocess

import pytest
from harness import ROOT


def make(*arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    subprocess.run(["make", "-s", *arguments], cwd=ROOT, check=True, env=environment)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize("prefix", ["/usr", "/opt/tickerd"])
def test_install_and_uninstall(tmp_path, prefix):
    where = [f"DESTDIR={tmp_path}", f"PREFIX={prefix}"]
    make("install", *where)
    found = files(tmp_path)
    root = prefix[1:]
    for name in ("bin/tickerd", "bin/tickerctl", "lib/systemd/system/tickerd.service",
                 "lib/systemd/system/tickerd.socket", "share/doc/tickerd/tickerd.json",
                 "share/man/man8/tickerd.8", "share/man/man5/tickerd.json.5"):
        assert f"{root}/{name}" in found, found
    assert any(name.startswith(f"{root}/share/doc/tickerd/proxy/") for name in found)
    unit = (tmp_path / root / "lib/systemd/system/tickerd.service").read_text(encoding="utf-8")
    commands = re.findall(r"^Exec\w+=(\S+tickerd)\b", unit, re.M)
    assert commands and set(commands) == {f"{prefix}/bin/tickerd"}
    subprocess.run([tmp_path / root / "bin/tickerd", "--check-config", "--config",
                    tmp_path / root / "share/doc/tickerd/tickerd.json"], check=True)
    make("uninstall", *where)
    assert files(tmp_path) == []
    assert not (tmp_path / root / "share/doc/tickerd").exists()
