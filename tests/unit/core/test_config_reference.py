from gnn_service.core.config import Settings
from gnn_service.core.config_reference import reference
from gnn_service.core.config_sources import leaves, variable


def test_the_page_in_the_docs_is_what_the_models_say(root):
    page = (root / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m gnn_service.core.config_reference > docs/reference/settings.md"


def test_every_setting_is_on_the_page_once():
    page = reference()
    for path, field in leaves(Settings):
        assert page.count(f"`{variable('.'.join(path))}` |") == 1
        assert str(field.description) in page


def test_the_page_is_the_same_for_every_user(monkeypatch):
    before = reference()
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("GNN_API__PORT", "1")
    assert reference() == before
