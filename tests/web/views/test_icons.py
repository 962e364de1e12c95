import re

import pytest

from app.paths import resource
from app.web.views.icons import FOLDER, icon


def test_every_icon_is_drawn_without_size_and_colour_of_its_own() -> None:
    names = [path.stem for path in (resource("static") / FOLDER).glob("*.svg")]
    assert len(names) > 10
    for name in names:
        drawn = str(icon(name))
        assert drawn.startswith('<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"')
        assert drawn.count("<svg") == drawn.count("</svg>") == 1
        assert not re.search(r"style|<!--|script|\bwidth=\"24\"|stroke=", drawn)


def test_every_icon_that_is_there_is_used() -> None:
    templates = resource("static").parent / "app" / "templates"
    text = "".join(path.read_text() for path in templates.glob("*.html"))
    for path in (resource("static") / FOLDER).glob("*.svg"):
        assert f'"{path.stem}"' in text, path.name


def test_an_icon_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        icon("none")
