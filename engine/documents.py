"""People's workflows: named, with numbered revisions, in SQLite. A save says which revision it was made from."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BadInput, Conflict, NotFound
from engine.sqlite import Sqlite

NAME_MAX = 200
REVISIONS_KEPT = 50

MIGRATIONS = (
    """
    CREATE TABLE documents (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, created REAL NOT NULL);
    CREATE TABLE revisions (
        document TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE, revision INTEGER NOT NULL,
        name TEXT NOT NULL, saved REAL NOT NULL, workflow TEXT NOT NULL, PRIMARY KEY (document, revision)
    );
    CREATE INDEX revisions_saved ON revisions(saved)
    """,
)
SUMMARY = "d.id, r.name, r.revision, d.created, r.saved FROM documents d JOIN revisions r ON r.document = d.id"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSummary:
    """A document without its workflow. Times are seconds since the epoch."""

    id: str
    name: str
    revision: int
    created: float
    saved: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(DocumentSummary):
    """A document at one revision."""

    workflow: dict[str, Any]


class Documents:
    """Documents by id. Every change makes a revision; the last 50 are kept. Safe to use from several threads."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._db = Sqlite(path, MIGRATIONS)
        self._clock = clock

    def create(self, name: str, workflow: dict[str, Any]) -> Document:
        """Add a document at revision 1. Names need not be unique."""
        document, now = str(uuid.uuid4()), self._clock()
        with self._db.write() as db:
            db.execute("INSERT INTO documents VALUES (?, 1, ?)", (document, now))
            self._add(db, document, 1, _checked(name), json.dumps(workflow))
        return self.get(document)

    def get(self, document: str, revision: int | None = None) -> Document:
        """Return a document as it is, or as it was at an earlier revision."""
        with self._db.read() as db:
            row = db.execute(
                f"SELECT r.workflow, {SUMMARY} WHERE d.id = ? AND r.revision = coalesce(?, d.revision)",
                (document, revision),
            ).fetchone()
        if row is None:
            what = "" if revision is None else f", or its revision {revision} is no longer kept"
            raise NotFound(f"There is no workflow {document[:80]!r}{what}.")
        return Document(workflow=json.loads(row["workflow"]), **_fields(row))

    def list(self, *, limit: int = 100, offset: int = 0) -> tuple[DocumentSummary, ...]:
        """Return the documents, the last saved first."""
        query = f"SELECT {SUMMARY} AND r.revision = d.revision ORDER BY r.saved DESC, d.id LIMIT ? OFFSET ?"
        with self._db.read() as db:
            return tuple(DocumentSummary(**_fields(row)) for row in db.execute(query, (limit, offset)))

    def revisions(self, document: str) -> tuple[DocumentSummary, ...]:
        """Return the revisions that are kept, newest first."""
        query = f"SELECT {SUMMARY} WHERE d.id = ? ORDER BY r.revision DESC"
        with self._db.read() as db:
            found = tuple(DocumentSummary(**_fields(row)) for row in db.execute(query, (document,)))
        return found or (self.get(document),)  # raises NotFound

    def save(
        self, document: str, *, revision: int, name: str | None = None, workflow: dict[str, Any] | None = None
    ) -> Document:
        """Change name, workflow or both; Conflict if `revision`, from which the change was made, is not the last.

        A save that changes nothing makes no revision.
        """
        with self._db.write() as db:
            row = self._last(db, document, revision)
            text = row["workflow"] if workflow is None else json.dumps(workflow)
            title = row["name"] if name is None else _checked(name)
            if (title, text) != (row["name"], row["workflow"]):
                self._add(db, document, revision + 1, title, text)
        return self.get(document)

    def restore(self, document: str, earlier: int, *, revision: int) -> Document:
        """Make an earlier revision the newest again; what came between is kept."""
        old = self.get(document, earlier)
        return self.save(document, revision=revision, name=old.name, workflow=old.workflow)

    def delete(self, document: str, *, revision: int) -> None:
        """Remove a document with its revisions."""
        with self._db.write() as db:
            self._last(db, document, revision)
            db.execute("DELETE FROM documents WHERE id = ?", (document,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _last(self, db: sqlite3.Connection, document: str, revision: int) -> sqlite3.Row:
        row: sqlite3.Row | None = db.execute(
            "SELECT d.revision, r.name, r.workflow FROM documents d"
            " JOIN revisions r ON r.document = d.id AND r.revision = d.revision WHERE d.id = ?",
            (document,),
        ).fetchone()
        if row is None:
            raise NotFound(f"There is no workflow {document[:80]!r}.")
        if row["revision"] != revision:
            sentence = f"This workflow is at revision {row['revision']} by now, the change was made from {revision}."
            raise Conflict(f"{sentence} Load the new one, or save under another name.")
        return row

    def _add(self, db: sqlite3.Connection, document: str, revision: int, name: str, workflow: str) -> None:
        row = (document, revision, name, self._clock(), workflow)
        db.execute("INSERT INTO revisions VALUES (?, ?, ?, ?, ?)", row)
        db.execute("UPDATE documents SET revision = ? WHERE id = ?", (revision, document))
        oldest = revision - REVISIONS_KEPT
        db.execute("DELETE FROM revisions WHERE document = ? AND revision <= ?", (document, oldest))


def _fields(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "name", "revision", "created", "saved")}


def _checked(name: str) -> str:
    if not 1 <= len(name.strip()) <= NAME_MAX:
        raise BadInput(f"A name is 1 to {NAME_MAX} characters long.", field="name")
    return name.strip()
