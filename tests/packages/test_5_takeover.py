"""A device that runs Azure IoT Edge takes this package: it goes, and its configuration is taken over."""

import pytest

from harness.wait import until
from packages.machine import FIRST

pytestmark = [pytest.mark.docker, pytest.mark.packages]

# As far as it matters here: its name, its user, a file of the same name.
BEFORE = """
mkdir -p /root/before/DEBIAN /root/before/usr/bin /root/before/etc/aziot
printf 'Package: aziot-edge\\nVersion: 1.5.0\\nArchitecture: amd64\\nMaintainer: x\\nDescription: x\\n' > /root/before/DEBIAN/control
printf '#!/bin/sh\\necho the original\\n' > /root/before/usr/bin/iotedge
chmod 755 /root/before/usr/bin/iotedge
dpkg-deb --build /root/before /root/before.deb
dpkg --install /root/before.deb
useradd --system iotedge
mkdir -p /var/lib/aziot/edged && chown iotedge: /var/lib/aziot/edged
"""


def test_the_original_goes_and_its_configuration_stays(machine):
    box = machine.box
    box.type(BEFORE)
    assert box.good("iotedge") == "the original\n"
    config = (
        'trust_bundle_cert = "file:///etc/aziot/hub-ca.pem"\n'
        f'[provisioning]\nsource = "manual"\nconnection_string = "{machine.connection_string}"\n'
    )
    box.write("/etc/aziot/config.toml", config)
    box.good("chmod", "600", "/etc/aziot/config.toml")
    uid = box.good("id", "-u", "iotedge")

    box.good("dpkg", "--install", f"/root/farshore-{FIRST}.deb")

    assert "deinstall" not in box.run("dpkg-query", "--show", "--showformat", "${Status}", "farshore").stdout
    assert "installed" not in box.run("dpkg-query", "--show", "--showformat", "${db:Status-Status}", "aziot-edge").stdout.split()
    assert box.good("iotedge", "--version") == f"iotedge {FIRST}\n"
    assert box.read("/etc/aziot/config.toml") == config
    assert box.facts("/etc/aziot/config.toml", "/var/lib/aziot/edged") == ["600 iotedge:iotedge", "755 iotedge:iotedge"]
    assert box.good("id", "-u", "iotedge") == uid
    until("the runtime runs", machine.is_active, 20)
    machine.wait_until_all_run()
