"""Files of one word a line, as the shared tasks of CoNLL have them."""

from __future__ import annotations

from pathlib import Path

from mlexpert.errors import InputError

CONLL = (".conll", ".txt", ".bio", ".iob")


def read_conll(path: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Read the sentences of a file: the first column is the word, the last its tag.

    Columns are parted by tabs where a line has any, else by white space. An empty line ends a
    sentence; lines that begin with -DOCSTART- are left out, and so are comments, which begin with
    "# " where a sentence would.

    Args:
        path: The file, in UTF-8.

    Returns:
        The words and the tags of each sentence.

    Raises:
        InputError: If the file cannot be read, or a line has one column alone; it is named.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"file {str(path)!r} cannot be read: {error}") from error
    words: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r")
        if not text.strip() or text.startswith("-DOCSTART-"):
            if words[-1]:
                words.append([])
                tags.append([])
            continue
        if text.startswith("# ") and "\t" not in text and not words[-1]:
            continue
        columns = [cell.strip() for cell in text.split("\t")] if "\t" in text else text.split()
        if len(columns) < 2 or not columns[0] or not columns[-1]:
            raise InputError(
                f"line {number} of {str(path)!r} is {text!r:.80}; a line is a word and, behind a "
                "tab or a blank, its tag."
            )
        words[-1].append(columns[0])
        tags[-1].append(columns[-1])
    if not words[-1]:
        words.pop()
        tags.pop()
    if not words:
        raise InputError(f"file {str(path)!r} holds no sentence.")
    return words, tags
