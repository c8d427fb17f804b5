"""Writes the tables in docs/compat.md from the code: `python docs/compat_tables.py`. A test holds them equal."""

from __future__ import annotations

from pathlib import Path

from nlpipe.compat import making, names, settings

PAGE = Path(__file__).with_name("compat.md")
MARKS = "<!-- {}: `python docs/compat_tables.py` -->", "<!-- /{} -->"


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Rows as Markdown."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def tables() -> dict[str, str]:
    """Each table by its name."""
    known = {kind: [name for name, of in names.ALIASES.items() if of == kind] for kind in names.DEFAULTS}
    known["translation"] = ["translation_xx_to_yy"]
    named = [
        (", ".join(f"`{name}`" for name in (kind, *others)), f"`{names.DEFAULTS[kind]}`")
        for kind, others in known.items()
    ]
    shared = set(settings.Settings.model_fields)
    rows = [(f"`{name}`", "all", field.description or "") for name, field in settings.Settings.model_fields.items()]
    seen: dict[tuple[str, str], list[str]] = {}
    for kind, one in settings.SETTINGS.items():
        for name, field in one.model_fields.items():
            if name not in shared and name != "generate":
                seen.setdefault((name, field.description or ""), []).append(kind)
    rows += [(f"`{name}`", ", ".join(kinds), said) for (name, said), kinds in seen.items()]
    return {
        "names": table(("name", "version 4's model where none is named"), named),
        "made": table(("argument", "what becomes of it"), [(f"`{n}`", s) for n, s in making.ARGUMENTS.items()]),
        "called": table(("argument", "of", "what becomes of it"), rows),
        "generate": ", ".join(f"`{name}`" for name in sorted(settings.GENERATE)),
    }


def page() -> str:
    """docs/compat.md with the tables as they are now."""
    now = PAGE.read_text(encoding="utf-8")
    for name, text in tables().items():
        begin, end = (mark.format(name) for mark in MARKS)
        before, _, rest = now.partition(begin)
        now = f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"
    return now


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
