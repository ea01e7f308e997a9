"""The report's page, to be filled in by `string.Template`."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title: comparison</title>
<style>
:root { --paper: #fff; --card: #f6f8fa; --ink: #24292f; --dim: #667180; --rule: #d8dee4;
        --best: #dff3e4; --bad: #b42318 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0e1116; --card: #171b22; --ink: #dde3ea; --dim: #8e99a6; --rule: #2c333d; --best: #12351f;
          --bad: #ff8a7a }
  figure svg, .swatch { filter: brightness(1.25) }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
h1 { margin: 0; font-size: 1.9rem; letter-spacing: -0.01em }
h2 { margin: 2.6rem 0 0.8rem; font-size: 1.15rem }
h3 { margin: 1.6rem 0 0.3rem; font-size: 0.95rem }
p { margin: 0.3rem 0 }
.dim, small { color: var(--dim) }
.verdict { margin: 1.2rem 0 1.6rem; padding: 0.8rem 1.1rem; border-left: 4px solid #009e73; background: var(--card);
           border-radius: 0 8px 8px 0; font-size: 1.05rem }
.wide { overflow-x: auto }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: 0.42rem 0.7rem; text-align: right; border-bottom: 1px solid var(--rule) }
thead th { color: var(--dim); font-weight: 500; font-size: 0.85rem; border-bottom-width: 2px }
th:first-child { text-align: left; font-weight: 600; padding-left: 0.2rem }
tbody tr:hover { background: var(--card) }
td.best { background: var(--best) }
tr.none { color: var(--dim) }
.swatch { margin-right: 0.6rem; vertical-align: middle }
.trouble { margin: 0.8rem 0; padding-left: 1.2rem; color: var(--bad) }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 32rem), 1fr)); gap: 1rem }
figure { margin: 0; padding: 0.6rem; background: var(--card); border: 1px solid var(--rule); border-radius: 10px }
figure svg { display: block; width: 100%; height: auto; font-family: system-ui, "DejaVu Sans", sans-serif }
dl { margin: 0; display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.4rem 1.4rem }
dt { font-weight: 600 } dd { margin: 0; overflow-wrap: anywhere }
code { font: 0.82rem/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; color: var(--dim) }
summary { color: var(--dim); font-size: 0.82rem; cursor: pointer }
.facts dt { font-weight: 400; color: var(--dim) }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 3rem }
@media print { body { max-width: none; padding: 0 } figure { break-inside: avoid } }
</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="dim">$heading</p>
</header>
<p class="verdict">$verdict</p>
<div class="wide">$table</div>
$troubles
<h2>Curves</h2>
<div class="figures">
$figures
</div>
$tables
<h2>How to read this</h2>
$reading
<h2>Settings</h2>
<dl>$settings</dl>
<div class="columns">
<section><h2>Facts</h2><dl class="facts">$facts</dl></section>
<section><h2>Versions</h2><dl class="facts">$versions</dl></section>
</div>
</body>
</html>
"""

READING = """\
<p>Every optimizer had the same seeds: the same starts, and in each generation the same minibatches. The budget counts
forward passes, and a gradient counts three. Numbers are medians over seeds with [lowest, highest]; lines are medians
and shades the same range; a seed that diverged counts as the worst.</p>
<p>Settings were given, or are the methods' own; those of the built-in contest on the digits won a random search for the
lowest validation loss on splits of the training part, six trials for each method. That is a measure at the end of the
budget, so a method may be able to learn faster than its curve shows.</p>
<p>Curves show each method's answer measured by the problem itself, not the losses it happened to see; that
measuring is in neither budget nor seconds. Seconds and memory are of {}; <i>seconds</i> include compiling,
the curves' do not. Memory is what the compiled generation needs at its peak.</p>"""
