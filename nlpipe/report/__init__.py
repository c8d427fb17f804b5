"""A run as one page to look at: what was learnt from, how it went, the scores, and what the model gets wrong.

Everything stands in the file itself (styles, figures as SVG); it asks no network. Knows no task: a task's `details` say
what there is to see.
"""

from __future__ import annotations

from nlpipe.report.page import Report, render

__all__ = ["Report", "render"]
