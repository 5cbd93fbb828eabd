"""How a report looks: light and dark, on screens and on paper."""

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f5f1; --card: #fff; --ink: #23221f; --soft: #6d6a62; --line: #e2dfd6;
  --accent: #2a6f97; --track: #eceae3; --bad: #b3261e; --bad-back: #fdecea;
  --mark-back: 88%; --mark-ink: 22%; --tag-back: 38%; --mark-full: 70%; }
@media (prefers-color-scheme: dark) { :root {
  --page: #161719; --card: #1f2124; --ink: #e7e5df; --soft: #a09d95; --line: #34363a;
  --accent: #7cc0e8; --track: #2d3034; --bad: #ffb4ab; --bad-back: #3b1f1d;
  --mark-back: 25%; --mark-ink: 90%; --tag-back: 68%; --mark-full: 40%; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main, header { max-width: 58rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; padding-bottom: 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.01em; }
p.facts { margin: 0; color: var(--soft); }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .4rem .6rem; padding: 0;
  margin: 1rem 0 0; }
ul.legend li { font-size: .85rem; padding: .1rem .6rem; border-radius: 1rem;
  background: hsl(var(--h) 65% var(--mark-back)); color: hsl(var(--h) 50% var(--mark-ink)); }
ul.legend b { font-variant-numeric: tabular-nums; margin-inline-start: .35rem; }
article { position: relative; background: var(--card); border: 1px solid var(--line);
  border-radius: .7rem; padding: 1rem 1.25rem 1.1rem; margin: 0 0 1rem;
  content-visibility: auto; contain-intrinsic-size: auto 12rem; }
article > .number { position: absolute; right: 1rem; top: .7rem; font-size: .75rem;
  color: var(--soft); font-variant-numeric: tabular-nums; }
.passage { font-family: Charter, "Bitstream Charter", "Iowan Old Style", Georgia,
  "Liberation Serif", serif; font-size: 1.08rem; line-height: 1.75; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 0; padding-right: 2.2rem; max-height: 34rem;
  overflow-y: auto; unicode-bidi: plaintext; text-align: start; }
.marked { line-height: 2.15; }
h2 { font-size: 1.08rem; margin: 0 0 .5rem; padding-right: 2.2rem; overflow-wrap: anywhere;
  unicode-bidi: plaintext; white-space: pre-wrap; }
h3 { font-size: .72rem; font-weight: 600; letter-spacing: .07em; text-transform: uppercase;
  color: var(--soft); margin: 1rem 0 .4rem; }
mark { background: hsl(var(--h) 65% var(--mark-back)); color: inherit; padding: .2em .35em;
  unicode-bidi: isolate;
  border-radius: .35em; -webkit-box-decoration-break: clone; box-decoration-break: clone; }
mark.best { background: hsl(var(--h) 75% var(--mark-full)); }
mark > .tag { font: 700 .62rem/1 system-ui, "Liberation Sans", sans-serif; letter-spacing: .03em;
  color: var(--card); background: hsl(var(--h) 45% var(--tag-back)); border-radius: .3em;
  padding: .25em .45em; vertical-align: .16em; white-space: nowrap;
  unicode-bidi: isolate; direction: ltr; }
mark > .tag small { font-weight: 400; opacity: .85; margin-inline-start: .4em; font-size: 1em; }
.slot { border-bottom: 2px solid var(--accent); padding: 0 .25em; font-weight: 600;
  color: var(--accent); }
.rows { display: grid; grid-template-columns: minmax(5rem, max-content) 1fr 4.2rem;
  gap: .3rem .8rem; align-items: center; margin: .4rem 0 0; font-size: .93rem; }
.rows > .name { overflow-wrap: anywhere; max-width: 24rem; unicode-bidi: plaintext; }
.rows > .value { text-align: end; font-variant-numeric: tabular-nums; color: var(--soft); }
.rows > .top { font-weight: 650; color: var(--ink); }
.bar { height: .72rem; border-radius: .36rem; background: var(--track); overflow: hidden; }
.bar > i { display: block; height: 100%; width: var(--p); min-width: 2px; border-radius: inherit;
  background: var(--accent); opacity: .55; }
.bar > i.top { opacity: 1; }
.masks { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
  gap: 0 2rem; }
.verdict { margin: .7rem 0 0; font-size: 1.02rem; }
.verdict b { color: var(--accent); }
.note { color: var(--soft); font-size: .87rem; margin: .6rem 0 0; }
.strip { display: flex; height: 2.2rem; border-radius: .4rem; overflow: hidden; margin: .5rem 0; }
.strip > i { flex: 1; background: hsl(var(--h) 60% 50% / var(--a)); }
article.failed { background: var(--bad-back); border-color: var(--bad); }
article.failed b { color: var(--bad); }
code { font-family: ui-monospace, "Liberation Mono", monospace; font-size: .88rem;
  overflow-wrap: anywhere; white-space: pre-wrap; }
footer { max-width: 58rem; margin: 0 auto; padding: .5rem 1.25rem 2.5rem; color: var(--soft);
  font-size: .8rem; }
@media (max-width: 34rem) { .rows { grid-template-columns: minmax(4rem, 9rem) 1fr 3.6rem; } }
@media print {
  :root { color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --soft: #555;
    --line: #ccc; --accent: #2a6f97; --track: #eee; --mark-back: 90%; --mark-ink: 20%;
    --tag-back: 35%; --mark-full: 75%; --bad: #b3261e; --bad-back: #fff; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { font-size: 10pt; }
  header { padding-top: 0; }
  main, header, footer { max-width: none; padding-inline: 0; }
  article { break-inside: avoid-page; content-visibility: visible; border-radius: 0;
    border-width: 0 0 1px; padding-inline: 0; }
  .passage { max-height: none; overflow: visible; }
}
"""
