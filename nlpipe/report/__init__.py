"""A run as one page to look at: what was learnt from, how it went, the scores, what the model gets wrong. And a page of
what several runs differ by.

Everything stands in the file itself (styles, figures as SVG); it asks no network. Knows no task: a task's `details` say
what there is to see.
"""

from __future__ import annotations

from nlpipe.report.comparison import render as render_comparison
from nlpipe.report.page import Report, render

__all__ = ["Report", "render", "render_comparison"]
