"""The page on validation names tests that there are."""

import re


def test_every_test_that_the_page_names_exists(root):
    page = (root / "docs" / "machines" / "validation.md").read_text(encoding="utf-8")
    files = {path.name: path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py")}
    named = re.findall(r"`(?:tests/[a-z/]+/)?(test_\w+\.py)::(test_\w+)`", page)
    assert len(named) > 60
    assert not [(file, test) for file, test in named if f"def {test}(" not in files.get(file, "")]
