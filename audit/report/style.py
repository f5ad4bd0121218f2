"""The report's style sheet: light and dark on a screen as the reader's system says, always light on paper.

The colours are those of the dashboard (Okabe and Ito's). Nothing is fetched: system fonts only.
"""

from lossprint.audit.report.html import css_string


def style(title: str, date: str) -> str:
    """The style sheet; the plain texts `title` and `date` stand at the head of each printed page."""
    margins = (
        f"@top-left {{ content: {css_string(title)}; }} @top-right {{ content: {css_string(date)}; }}"
        '@bottom-right { content: "Page " counter(page) " of " counter(pages); }'
    )
    return CSS + f"@page {{ margin: 20mm 16mm 18mm; font: 8pt system-ui, sans-serif; color: #55616d; {margins} }}"


CSS = """
:root {
  color-scheme: light;
  --paper: #fff; --ink: #1c2733; --muted: #55616d; --rule: #d3dbe2; --soft: #f2f5f8;
  --given: #0072b2; --other: #9a4a80; --changed: #00694b; --out: #ad4400; --wash: rgba(178, 93, 150, .2);
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    color-scheme: dark;
    --paper: #11181f; --ink: #e6edf3; --muted: #a0acb8; --rule: #33414e; --soft: #1a232c;
    --given: #56b4e9; --other: #e19cc4; --changed: #2fc79a; --out: #ee8042; --wash: rgba(225, 156, 196, .25);
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 64rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.6 "Source Sans 3", system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1, h2, h3 { line-height: 1.25; text-wrap: balance; overflow-wrap: anywhere; }
h1 { font-size: 2rem; margin: 0 0 .35rem; }
h2 { font-size: 1.4rem; margin: 3.2rem 0 .9rem; padding-bottom: .35rem; border-bottom: 2px solid var(--rule); }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p, ul, dl, pre { margin: 0 0 .9rem; }
p, li { max-width: 46rem; }
ul { padding-left: 1.2rem; }
li { margin-bottom: .45rem; }
a { color: var(--given); }
.lead, .note { color: var(--muted); }
.note { font-size: .9rem; }
.lead { font-size: 1.05rem; margin-bottom: 1.6rem; }
.path { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .88em; }
.given { color: var(--given); font-weight: 600; }
.other { color: var(--other); font-weight: 600; }

.summary { border: 1px solid var(--rule); border-left: 5px solid var(--given); border-radius: 6px;
  background: var(--soft); padding: 1.1rem 1.3rem .5rem; }
.summary h2 { margin: 0 0 .7rem; padding: 0; border: 0; font-size: 1.2rem; }
.summary dl { margin: 0; display: grid; grid-template-columns: 8.5rem 1fr; gap: .15rem 1.2rem; }
.summary dt { font-weight: 650; }
.summary dd { margin: 0 0 .55rem; }
nav { margin: 1.6rem 0 0; font-size: .95rem; }
nav ol { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.3rem; }
nav li { margin: 0; }

dl.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .7rem 1.6rem; }
dl.facts dt { color: var(--muted); font-size: .87rem; }
dl.facts dd { margin: 0; }
dl.facts div { min-width: 0; }

table { border-collapse: collapse; min-width: min(100%, 18rem); margin: 0 0 1.2rem; font-size: .93rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 650; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1.1rem .35rem 0; border-bottom: 1px solid var(--rule);
  overflow-wrap: break-word; }
tbody bdi { overflow-wrap: anywhere; }
tbody th { min-width: 5rem; }
thead th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; }
tbody .n { white-space: nowrap; }
.n { text-align: right; }
.total tbody tr:last-child > * { font-weight: 650; }
.scroll { overflow-x: auto; margin-bottom: 1.2rem; }
.scroll table { margin: 0; }
.scroll:focus-visible, pre:focus-visible, a:focus-visible { outline: 3px solid var(--given); outline-offset: 2px; }
.wide td, .wide th { min-width: 5.5rem; }
.wide tbody th { min-width: 8rem; }
.changes td:last-child, .changes tbody th { min-width: 10rem; }
.changes td:nth-last-child(2) { min-width: 9rem; }
.words td:not(.n) { max-width: 27rem; min-width: 13rem; }
pre { background: var(--soft); border: 1px solid var(--rule); border-radius: 6px; padding: .7rem .9rem;
  white-space: pre-wrap; font: .88rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }

.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(11.5rem, 44%), 1fr)); gap: 1rem;
  margin: 0 0 1.2rem; padding: 0; list-style: none; }
.cards > li { margin: 0; min-width: 0; max-width: none; }
.card, .group { border: 1px solid var(--rule); border-radius: 6px; padding: .7rem; font-size: .88rem;
  line-height: 1.4; }
.card { height: 100%; margin: 0; }
.card p, .group p { margin: .3rem 0 0; }
.picture { display: flex; align-items: center; justify-content: center; width: 100%; aspect-ratio: 1;
  background: var(--soft); border-radius: 4px; overflow: hidden; }
.picture img { width: 100%; height: 100%; object-fit: contain; }
.picture:has(.text) { display: block; aspect-ratio: auto; max-height: 13rem; background: none; }
.text { font-size: .82rem; line-height: 1.4; overflow-wrap: anywhere; }
.text b { display: block; margin-top: .3rem; font-size: .7rem; text-transform: uppercase; color: var(--muted); }
.text p { margin: 0; unicode-bidi: plaintext; }
img.tiny { image-rendering: pixelated; }
.gone { color: var(--muted); font-size: .82rem; text-align: center; }
.groups { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1rem;
  margin: 0 0 1.2rem; padding: 0; list-style: none; }
.groups > li { margin: 0; max-width: none; min-width: 0; }
.group { height: 100%; }
.members { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; }
.members figure { margin: 0; min-width: 0; }
.segments { margin: 0 0 1.2rem; padding: 0; list-style: none; }
.segments > li { margin: 0 0 1rem; max-width: none; }
.segments .group { height: auto; }
.segments p { max-width: none; }
.strip { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: .5rem; }
.strip figure { margin: 0; min-width: 0; }
svg.place { height: 1rem; margin: .6rem 0; overflow: hidden; }
svg.place .next { stroke-dasharray: none; }
.said { border-top: 1px solid var(--rule); padding-top: .3rem; }
.thumb img, .thumb .gone { display: block; width: 2.8rem; height: 2.8rem; object-fit: contain; line-height: 1.2; }
.thumb .text { min-width: 10rem; }
.changes td:nth-child(2) { min-width: 0; }
.tag { display: inline-block; border: 1px solid currentColor; border-radius: .5rem; padding: 0 .4rem; font-size: .82rem;
  font-weight: 600; color: var(--muted); }
.by { display: block; }
.tag.changed { color: var(--changed); }
.tag.out { color: var(--out); }

figure.drawing { margin: 0 0 1.2rem; max-width: 36rem; }
figcaption.key { font-size: .9rem; color: var(--muted); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg path, svg circle { fill: none; vector-effect: non-scaling-stroke; }
svg text { fill: var(--muted); font-size: 14px; font-family: inherit; }
svg .grid, svg .axis { stroke: var(--rule); stroke-width: 1; }
svg .line { stroke: var(--given); stroke-width: 2.4; stroke-linejoin: round; }
svg .mean { stroke: var(--muted); stroke-width: 1.3; stroke-dasharray: 3 2.5; }
svg .all { stroke: var(--muted); stroke-width: 1.4; stroke-dasharray: 1.5 4; }
svg .next { stroke: var(--other); stroke-width: 2.2; stroke-dasharray: 7 5; }
svg path.band { fill: var(--wash); }
svg circle.dot { fill: var(--given); fill-opacity: .55; stroke: var(--given); }
svg .tick { stroke: var(--ink); stroke-width: 2; }
svg.print { margin-top: .45rem; }
.swatch { display: inline-block; width: 1.6rem; border-top: 3px solid var(--given); vertical-align: middle; }
.swatch.mean { border-top: 2px dashed var(--muted); }
.swatch.all { border-top: 2px dotted var(--muted); }
.swatch.next { border-top: 3px dashed var(--other); }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--rule); color: var(--muted);
  font-size: .9rem; }

@media (max-width: 40rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  .summary dl { grid-template-columns: 1fr; gap: 0; }
  .cards { grid-template-columns: 1fr 1fr; gap: .7rem; }
  .strip { grid-template-columns: repeat(4, minmax(0, 1fr)); }
  svg text { font-size: 17px; }
}
@media print {
  html { font-size: 9.5pt; }
  body { max-width: none; padding: 0; line-height: 1.45; print-color-adjust: exact;
    -webkit-print-color-adjust: exact; }
  nav { display: none; }
  a { color: inherit; text-decoration: none; }
  h1 { font-size: 20pt; }
  h2 { font-size: 13pt; margin-top: 9mm; }
  h3 { font-size: 10.5pt; margin-top: 5mm; }
  h2, h3, caption, .lead-in { break-after: avoid; }
  p, li { orphans: 3; widows: 3; max-width: none; }
  figure, .card, .group, .summary, tr, svg, pre, dl.facts div, .cards > li, .groups > li,
  .segments > li { break-inside: avoid; }
  thead { display: table-header-group; }
  #changes { break-before: page; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; line-height: 1.35; width: auto; max-width: 100%; }
  th, td { padding: .8mm 3mm .8mm 0; }
  .wide td, .wide th, .wide tbody th, .words td:not(.n), .changes td:last-child,
  .changes td:nth-last-child(2) { min-width: 0; }
  .changes tbody th { min-width: 27mm; }
  .cards { grid-template-columns: repeat(4, 1fr); gap: 3mm; }
  .groups { grid-template-columns: repeat(3, 1fr); gap: 3mm; }
  .card, .group { font-size: 8pt; padding: 2mm; }
  dl.facts { grid-template-columns: repeat(3, 1fr); gap: 1.5mm 5mm; }
  .thumb img, .thumb .gone { width: 9mm; height: 9mm; }
  figure.drawing { max-width: 120mm; }
}
"""
