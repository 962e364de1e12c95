import msgspec
from starlette.datastructures import FormData

from app.model.errors import FieldError
from app.web.dashboard.form_fields import lines, problem_of


def test_a_field_is_a_list_with_an_entry_on_each_line() -> None:
    form = FormData({"links": " a b \r\n\r\nc\n \n", "empty": ""})
    assert lines(form, "links") == ["a b", "c"]
    assert lines(form, "empty") == lines(form, "none") == []


def test_what_is_wrong_is_named_with_its_field() -> None:
    assert problem_of(FieldError("url", "must be public")) == "url: must be public"
    try:
        msgspec.convert({"n": "x"}, dict[str, int])
    except msgspec.ValidationError as error:
        assert problem_of(error).endswith("Expected `int`, got `str`")
