"""From modules and files to distributions: those installed here, and made ones in a folder on the path."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from nb2prod.validation.installed import LOCAL, Installed
from tests.sites import install


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sklearn.base", "scikit-learn"),
        ("yaml", "pyyaml"),
        ("dateutil.tz", "python-dateutil"),
        ("PIL.Image", "pillow"),
        ("mpl_toolkits.mplot3d", "matplotlib"),
        ("google.protobuf.message", "protobuf"),
        ("_cffi_backend", "cffi"),
    ],
)
def test_modules_that_are_not_named_like_their_distribution(module: str, name: str) -> None:
    here = Installed()
    assert here.named(module) == {name}
    file = importlib.import_module(module).__file__
    assert file is not None
    assert here.owners(module, Path(file)) == {name}


def test_parts_of_a_shared_package_tell_whose_they_are(site: Path) -> None:
    install(site, "shared-one", "shared/one/__init__.py", "shared/__init__.py")
    install(site, "shared.two", "shared/two/__init__.py", "shared/__init__.py")
    here = Installed()
    assert here.owners("shared.two", site / "shared/two/__init__.py") == {"shared-two"}
    assert here.owners("shared", site / "shared/__init__.py") == {"shared-one", "shared-two"}
    assert here.named("shared.one.deeper.name") == {"shared-one"}
    assert here.named("shared") == {"shared-one", "shared-two"}


def test_compiled_modules_and_single_files(site: Path) -> None:
    install(site, "odd", "_odd.cpython-311-x86_64-linux-gnu.so", "4f1__mypyc.cpython-311.so", "single.py")
    here = Installed()
    assert here.named("_odd") == here.named("single") == {"odd"}
    assert here.owners("4f1__mypyc", site / "4f1__mypyc.cpython-311.so") == {"odd"}


def test_a_file_that_hides_an_installed_module_is_not_its_distributions(site: Path, tmp_path: Path) -> None:
    install(site, "hidden", "hidden/__init__.py")
    (tmp_path / "hidden.py").touch()
    assert Installed().owners("hidden", tmp_path / "hidden.py") == set()


def test_what_is_loaded_says_which_of_two_of_one_name_counts(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "twice", "twice/__init__.py", version="2.0")
    copies = tmp_path / "thirdparty_files"
    copies.mkdir()
    install(copies, "twice", "twice/__init__.py", version="1.0")
    monkeypatch.syspath_prepend(str(copies))
    here = Installed()
    assert here["twice"].version == "1.0"
    assert here.owners("twice", site / "twice/__init__.py") == {"twice"}
    assert here["twice"].version == "2.0"


def test_what_a_distribution_carries_within_is_its_own(site: Path) -> None:
    install(site, "carrier", "carrier/__init__.py", "carrier/_vendor/yaml/__init__.py")
    assert Installed().owners("yaml", site / "carrier/_vendor/yaml/__init__.py") == {"carrier"}


def test_an_editable_install_owns_its_folder(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "a project"
    (source / "src" / "mine").mkdir(parents=True)
    url = json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}})
    install(site, "mine", "__editable___mine_finder.py", direct_url=url)
    (source / ".venv" / "lib" / "site-packages").mkdir(parents=True)
    here = Installed()
    assert here.owners("other", source / ".venv" / "lib" / "site-packages" / "other.py") == set()
    assert here.owners("mine.part", source / "src" / "mine" / "part.py") == {"mine"}
    assert here.named("mine.part") == {"mine"}
    assert here["mine"].origin == f"is installed from the folder {source}, as editable"


@pytest.mark.parametrize(
    ("version", "direct", "installer", "origin"),
    [
        ("1.0", None, "pip", None),
        ("1.0+cpu", None, "pip", LOCAL),
        (
            "1.0",
            {"url": "ssh://git@x/y", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}},
            "uv",
            "is installed from git, at 0123456789ab",
        ),
        ("1.0", {"url": "file:///x.whl", "archive_info": {}}, "pip", "is installed from a file or folder"),
        ("1.0", {"url": "file:///x", "dir_info": {}}, "pip", "is installed from a file or folder"),
        ("1.0", {"url": "file:///where/conda/built/it", "dir_info": {}}, "conda", None),
    ],
)
def test_where_it_came_from(
    version: str, direct: object, installer: str, origin: str | None, site: Path
) -> None:
    meta = {"direct_url": json.dumps(direct)} if direct else {}
    install(site, "thing", "thing.py", version=version, INSTALLER=installer, **meta)
    assert Installed()["thing"].origin == origin


def test_a_source_folder_on_the_path_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "developed.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: developed\nVersion: 0.1\n")
    (info / "top_level.txt").write_text("developed\n")
    (tmp_path / "developed.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    here = Installed()
    assert here.owners("developed", tmp_path / "developed.py") == {"developed"}
    assert here["developed"].origin == f"lies in the folder {tmp_path}, and is not installed"


def test_what_is_declared_without_an_extra(site: Path) -> None:
    requires = "\n".join(
        f"Requires-Dist: {text}"
        for text in ("Needed_One (>=1)", "two[fast]>=2; python_version>'3'", "three; extra == 'all'")
    )
    install(site, "asking", "asking.py", requires=requires)
    assert Installed()["asking"].declared == {"needed-one", "two"}


def test_what_an_interrupted_installer_left_behind_does_no_harm(site: Path) -> None:
    (site / "broken-1.0.dist-info").mkdir()
    install(site, "whole", "whole.py")
    assert Installed().named("whole") == {"whole"}
