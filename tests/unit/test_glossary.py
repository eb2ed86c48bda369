"""The glossary holds this project's own words, and none that the code does not use."""

import re

from tests.unit.test_docs import ROOT, page, rows

CODE = ("trapstream", "producer", "consumer", "aggregator", "notifier", "model_repository", "training", "bench")


def code() -> str:
    """All Python but the tests, with each file's name, as words in lower case: JobStream and job_stream alike."""
    files = [path for room in CODE for path in sorted((ROOT / room).rglob("*.py"))]
    text = "\n".join(f"{path.stem}\n{path.read_text()}" for path in files)
    return spelled(text)


def spelled(text: str) -> str:
    """Words in lower case with a space between them, also those of a name in capitals or with underlines."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[\W_]+", " ", apart).lower()


def test_each_word_is_used() -> None:
    """Each word of the glossary occurs in the code, in singular or plural, and stands in the glossary once."""
    text = page("docs/contributors/glossary.md")
    words = re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)
    assert len(words) > 30
    assert sorted(set(words)) == sorted(words)
    assert all(cells[0] for cells in rows(text).values())
    used = code()
    assert [word for word in words if not re.search(rf"\b{spelled(word).strip()}s?\b", used)] == []


def test_a_word_that_no_code_uses_is_found() -> None:
    """The search is for whole words: it finds names of classes and of variables, and nothing within other words."""
    assert spelled("class JobStream: max_gain") == "class job stream max gain"
    assert not re.search(r"\bear\b", spelled("the years appear"))
