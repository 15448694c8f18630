"""The codes of findings about files and documents: what is wrong before anything is asked of Consul."""

from __future__ import annotations

from gitsync.model.finding import Code, Severity

NOTE, ERROR = Severity.NOTE, Severity.ERROR

LOAD_CODES: tuple[Code, ...] = (
    # -- a file as a whole: none of its documents is read
    Code("file-too-large", ERROR, "The file is larger than 1 MiB"),
    Code("not-utf8", ERROR, "The file is not UTF-8"),
    Code("control-character", ERROR, "The file contains a character that no text has"),
    Code("lfs-pointer", ERROR, "The file is a Git LFS pointer, not a spec"),
    Code("yaml-syntax", ERROR, "The file is neither YAML nor JSON"),
    Code("yaml-duplicate-key", ERROR, "A mapping has one key twice"),
    Code("yaml-key", ERROR, "A key is not text"),
    Code("yaml-tag", ERROR, "YAML tags are not allowed"),
    Code("yaml-aliases", ERROR, "Aliases stand for more than a spec can need"),
    Code("yaml-merge", ERROR, "A merge key that merges no mapping"),
    Code("yaml-too-deep", ERROR, "The file is nested deeper than a spec can be"),
    Code("yaml-too-many-nodes", ERROR, "The file has more values than specs can have"),
    # -- a document
    Code("not-a-spec", ERROR, "A document in the path is no service spec"),
    Code("unknown-key", ERROR, "A key that no spec has"),
    Code("missing-field", ERROR, "Something that a spec needs is missing"),
    Code("wrong-type", ERROR, "A mapping, a list or a text stands where another kind of value belongs"),
    Code("invalid-value", ERROR, "A value that is not possible"),
    Code("invalid-combination", ERROR, "Two parts of a spec exclude each other, or one needs the other"),
    Code("protocol-mismatch", ERROR, "Something needs an http-like protocol, and the spec says tcp"),
    Code("name-invalid", ERROR, "A name that Consul or the mesh cannot carry"),
    Code("host-invalid", ERROR, "A host that is neither a DNS name nor an IP address"),
    Code("label-reserved", ERROR, "A label of gitsync's or Consul's own"),
    Code("too-many-labels", ERROR, "More labels than fit into Consul's Meta"),
    Code("secret-value", ERROR, "Something that looks like a secret"),
    # -- to know
    Code("empty-file", NOTE, "The file holds no document"),
    Code("more-findings", NOTE, "There are more errors than are listed"),
)
"""`name-too-long` belongs here too; it stands with what would take the neighbours down (`gitsync.core.codes`)."""
