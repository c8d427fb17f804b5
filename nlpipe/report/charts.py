"""Lines and dots as SVG. Numbers in, text out; colours are the style sheet's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import floor, isfinite, log10

from nlpipe.details import Chart, Interval, Intervals

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 28, 44
SHORT = 4  # letters of a number that leave room for the axis's name beside it


def drawn(chart: Chart) -> str:
    """The chart, or a sentence where there is nothing to draw."""
    points = [point for line in chart.lines for point in line.points if all(map(isfinite, point))]
    if not points:
        return '<p class="quiet">Nothing to draw.</p>'
    xs, ys = _ticks([x for x, _ in points]), _ticks([y for _, y in points])
    if chart.diagonal:
        xs = ys = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    body = [*_axes(chart, xs, ys)]
    if chart.diagonal:
        body.append(_polyline([(xs[0], ys[0]), (xs[-1], ys[-1])], xs, ys, "guide"))
    if chart.marked_x is not None:
        body.append(_polyline([(chart.marked_x, ys[0]), (chart.marked_x, ys[-1])], xs, ys, "guide"))
    for at, line in enumerate(chart.lines):
        kept = [point for point in line.points if all(map(isfinite, point))]
        if chart.dots:
            body += [_dot(point, xs, ys, at, small=len(kept) > 100) for point in kept]
        else:
            body.append(_polyline(kept, xs, ys, f"line c{at % 6}"))
            body += [_dot(point, xs, ys, at) for point in kept] if len(kept) <= 40 else []
    key = "".join(
        f'<span class="key c{at % 6}">{escape(line.name)}</span>' for at, line in enumerate(chart.lines)
    ) if len(chart.lines) > 1 else ""  # fmt: skip
    label = escape(f"{chart.title}: {chart.y} over {chart.x}")
    return (
        f'<div class="scroll"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(body)}</svg>'
        f'</div><p class="keys">{key}</p>'
    )


ROW, NAMES, NAMED = 24, 190, 30  # a line's height, the room for names, and the letters that fit into it


def forest(detail: Intervals) -> str:
    """Values with their intervals, one below the other, or a sentence where there is nothing to draw."""
    there = [one for one in detail.items if all(map(isfinite, (one.value, one.low, one.high)))]
    if not there:
        return '<p class="quiet">Nothing to draw.</p>'
    guide = [] if detail.guide is None else [detail.guide]
    ticks = _ticks([*guide, *(value for one in there for value in (one.low, one.high))], 4)
    bottom = TOP + ROW * len(there)

    def x(value: float) -> float:
        return NAMES + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - RIGHT - NAMES)

    body = [f'<path class="grid" d="M{x(tick):.1f} {TOP}V{bottom}"/>' for tick in ticks]
    body += [f'<text x="{x(t):.1f}" y="{bottom + 16}" text-anchor="middle">{_said(t)}</text>' for t in ticks]
    body += [f'<path class="guide" d="M{x(value):.1f} {TOP}V{bottom}"/>' for value in guide]
    for at, one in enumerate(there):
        body.append(_interval(one, TOP + ROW * (at + 0.5), x))
    body.append(f'<text x="{(NAMES + WIDTH) / 2}" y="{bottom + 34}" text-anchor="middle">{escape(detail.x)}</text>')
    label = escape(f"{detail.title}: {detail.x}")
    drawing = f'<svg viewBox="0 0 {WIDTH} {bottom + 40}" role="img" aria-label="{label}">{"".join(body)}</svg>'
    return f'<div class="scroll">{drawing}</div>'


def _interval(one: Interval, y: float, x: Callable[[float], float]) -> str:
    name = one.name if len(one.name) <= NAMED else f"…{one.name[1 - NAMED :]}"  # of a path its end says most
    told = escape(f"{one.name}: {one.value:.4g} ({one.low:.4g} to {one.high:.4g})")
    style = "c1" if one.strong else "c0"
    return (
        f'<g><title>{told}</title><text x="{NAMES - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        f'<path class="line {style}" d="M{x(one.low):.1f} {y:.1f}H{x(one.high):.1f}"/>'
        f'<circle class="dot {style}" cx="{x(one.value):.1f}" cy="{y:.1f}" r="4"/></g>'
    )


def _axes(chart: Chart, xs: Sequence[float], ys: Sequence[float]) -> list[str]:
    found = []
    for tick in xs:
        x = _x(tick, xs)
        found.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_said(tick)}</text>')
    for tick in ys:
        y = _y(tick, ys)
        found.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        found.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_said(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    found.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x)}</text>')
    centre = (TOP + HEIGHT - BOTTOM) / 2
    place = f'x="{LEFT - 44}" y="{TOP - 15}"' if max(len(_said(tick)) for tick in ys) > SHORT else ""
    turned = f'transform="translate(12 {centre}) rotate(-90)" text-anchor="middle"'
    found.append(f"<text {place or turned}>{escape(chart.y)}</text>")  # above the axis where numbers need the room
    return found


def _polyline(points: Sequence[tuple[float, float]], xs: Sequence[float], ys: Sequence[float], style: str) -> str:
    return f'<polyline class="{style}" points="{" ".join(f"{_x(x, xs):.1f},{_y(y, ys):.1f}" for x, y in points)}"/>'


def _dot(point: tuple[float, float], xs: Sequence[float], ys: Sequence[float], at: int, *, small: bool = False) -> str:
    x, y = point
    told = f"<title>{x:.4g}, {y:.4g}</title>" if not small else ""
    place = f'cx="{_x(x, xs):.1f}" cy="{_y(y, ys):.1f}" r="{2 if small else 3}"'
    return f'<circle class="dot c{at % 6}" {place}>{told}</circle>'


def _x(value: float, ticks: Sequence[float]) -> float:
    return LEFT + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, ticks: Sequence[float]) -> float:
    return HEIGHT - BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (HEIGHT - TOP - BOTTOM)


def _said(tick: float) -> str:
    """A number on an axis in few letters: 0.5, 20, 1.5e-4."""
    if not tick or 0.001 <= abs(tick) < 100_000:
        return f"{tick:g}"
    mantissa, _, power = f"{tick:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"


def _ticks(values: Sequence[float], about: int = 5) -> list[float]:
    """Round numbers that span the values: steps of 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    raw = (high - low) / about
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first, last = floor(low / step), -floor(-high / step)
    return [round(at * step, 12) for at in range(first, last + 1)]
