"""The bill of materials lists what an installation brings, and not the tools that test it."""

from __future__ import annotations

from tests.deploy.sbom import EXTRAS, PACKAGE, required, shipped

REQUIRES = {
    PACKAGE: ["locust>=2", "s3fs>=1; extra == 's3'", "wandb>=1; extra == 'wandb'", "uvloop; sys_platform == 'none'"],
    "locust": ["gevent", "Flask_Cors[a]"],
    "gevent": ["locust", "pytest; extra == 'test'"],
    "flask-cors": ["six; extra == 'a'"],
}


def test_the_bill_holds_what_is_required() -> None:
    names = required(PACKAGE, EXTRAS, REQUIRES.get)
    assert names == {"locust", "s3fs", "gevent", "flask-cors", "six"}
    bill = {
        "bomFormat": "CycloneDX",
        "metadata": {"component": {"bom-ref": "root", "name": PACKAGE}},
        "components": [{"bom-ref": f"{name}==1", "name": name} for name in ("locust", "gevent", "Flask-Cors", "pytest")],
        "dependencies": [{"ref": "root", "dependsOn": ["locust==1"]}, {"ref": "gevent==1", "dependsOn": ["locust==1", "pytest==1"]},
                         {"ref": "pytest==1"}],
    }  # fmt: skip
    found = shipped(bill, names, "1.2.3")
    root = {"bom-ref": "root", "name": PACKAGE, "version": "1.2.3", "purl": f"pkg:pypi/{PACKAGE}@1.2.3"}
    assert found["metadata"]["component"] == root
    assert [component["name"] for component in found["components"]] == ["locust", "gevent", "Flask-Cors"]
    assert found["dependencies"] == [
        {"ref": "root", "dependsOn": ["locust==1"]},
        {"ref": "gevent==1", "dependsOn": ["locust==1"]},
    ]
