"""How the page looks, in light and in dark. Colours are Okabe and Ito's, which the colour-blind
can tell apart, lightened for the dark.
"""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--paper:#f6f7f9;--card:#fff;--ink:#16202b;--soft:#5d6b7a;
--rule:#e3e7ec;--grid:#eceff3;--blue:#0072b2;--sky:#56b4e9;--green:#00815e;--red:#c8452b;
--amber:#b97a00;--grey:#93a0ad;--violet:#a9568b;--track:#eef1f5;--heat:#c8452b;
--good-bg:#e5f4ee;--bad-bg:#fbeae6;--open-bg:#fdf4df}
@media (prefers-color-scheme:dark){:root{--paper:#10151b;--card:#182029;--ink:#e6ebf0;
--soft:#9aa8b6;--rule:#2a3541;--grid:#232d38;--blue:#4ea8e0;--sky:#8bcaf0;--green:#35b98f;
--red:#f0765c;--amber:#e3ad3f;--grey:#75838f;--violet:#d48abc;--track:#202a35;--heat:#f0765c;
--good-bg:#12352b;--bad-bg:#3d1f1a;--open-bg:#3a2f14}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,Helvetica,Arial,sans-serif;-webkit-font-smoothing:antialiased}
main{max-width:1060px;margin:0 auto;padding:28px 20px 60px}
header.verdict{border-radius:14px;padding:22px 26px;border-left:7px solid var(--edge);
background:var(--back);margin-bottom:18px}
.good.verdict{--edge:var(--green);--back:var(--good-bg)}
.bad.verdict{--edge:var(--red);--back:var(--bad-bg)}
.open.verdict{--edge:var(--amber);--back:var(--open-bg)}
header .over{color:var(--soft);font-size:13px;margin:0 0 4px}
h1{font-size:25px;line-height:1.25;margin:0;letter-spacing:-.01em;text-wrap:balance}
header .why{margin:8px 0 0;font-size:16px}
h2{font-size:18px;margin:0 0 4px;letter-spacing:-.005em}
h3{font-size:14px;margin:20px 0 6px;color:var(--soft);font-weight:600}
section{background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:20px 24px;
margin:0 0 16px}
p{margin:6px 0 10px}.lead{color:var(--soft);margin:0 0 14px;max-width:76ch}
.missing{color:var(--soft);font-style:italic}
.notes{background:var(--open-bg);border-radius:12px;padding:10px 18px;margin:0 0 16px}
.notes ul{margin:0;padding-left:18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(158px,1fr));gap:10px;
margin:0 0 16px}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:11px 14px}
.tile b{display:block;font-size:21px;font-weight:650;letter-spacing:-.01em;line-height:1.25}
.tile b.none{color:var(--grey);font-size:14px;font-weight:500;font-style:italic;line-height:1.9}
.tile span{color:var(--soft);font-size:12.5px;line-height:1.3;display:block}
nav{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:13px;margin:0 0 18px}
nav a,a{color:var(--blue);text-decoration:none}nav a.none{color:var(--grey)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;margin:4px 0 8px;
font-variant-numeric:tabular-nums}
th{text-align:left;color:var(--soft);font-weight:600;font-size:12.5px;padding:5px 12px 5px 0;
border-bottom:1px solid var(--rule);vertical-align:bottom}
td{padding:5px 12px 5px 0;border-bottom:1px solid var(--grid);vertical-align:top}
tr:last-child td{border-bottom:0}
td.num,th.num{text-align:right;white-space:nowrap}
code{font:12.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:var(--soft)}
.pill{display:inline-block;border-radius:99px;padding:1px 10px;font-size:12px;font-weight:600;
background:var(--track);color:var(--soft);white-space:nowrap}
.pill.good{background:var(--good-bg);color:var(--green)}
.pill.bad{background:var(--bad-bg);color:var(--red)}
.pill.open{background:var(--open-bg);color:var(--amber)}
.failure{border-left:4px solid var(--red);background:var(--bad-bg);border-radius:8px;
padding:10px 16px;margin:8px 0}
.failure b{font-size:15px}.failure p{margin:2px 0}
details{margin:8px 0}summary{cursor:pointer;color:var(--blue);font-size:13.5px}
.legend{display:flex;gap:6px 16px;flex-wrap:wrap;font-size:12.5px;color:var(--soft);
margin:2px 0 8px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:5px;
vertical-align:-1px}
table.pairs{max-width:640px}.ids{font-size:12.5px;color:var(--soft)}
.tree{font-size:13.5px}.tree div{padding:2px 0}.tree .kind{color:var(--soft)}
svg.plot{display:block;width:100%;min-width:600px;height:auto;margin:6px 0 10px;overflow:visible}
svg text{fill:var(--ink);font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,
sans-serif}
svg .s{fill:var(--soft);font-size:11.5px}svg .n{font-weight:600;font-variant-numeric:tabular-nums}
svg .h{font-weight:650;font-size:13.5px}svg .on{fill:#fff;font-weight:600}
.grid{stroke:var(--grid);stroke-width:1}.link{stroke:var(--grey);stroke-width:1.2;
stroke-dasharray:2 3}.mark{stroke:var(--ink);stroke-width:2}.alarm{stroke:var(--red);stroke-width:2}
.track{fill:var(--track)}.fill{fill:var(--blue)}
.fill.before{fill:var(--grey)}.fill.after{fill:var(--blue)}
.step1,.step2{opacity:.92}.step3,.step4{opacity:.84}.step5,.step6{opacity:.76}
.fill.done{fill:var(--blue)}.fill.reused{fill:var(--grey)}.fill.failed{fill:var(--red)}
.fill.waiting{fill:var(--amber)}svg .s.failed{fill:var(--red)}
.dot.before{fill:var(--card);stroke:var(--grey);stroke-width:2}
.dot.after{fill:var(--blue)}.dot.better{fill:var(--green)}.dot.worse{fill:var(--red)}
.dot.unsure{fill:var(--amber)}
.dot.set0{fill:var(--blue)}.dot.set1{fill:var(--red)}.dot.set2{fill:var(--green)}
.dot.set3{fill:var(--violet)}.dot.set4{fill:var(--amber)}.dot.set5{fill:var(--sky)}
.whisker{stroke-width:2}.whisker.better{stroke:var(--green)}.whisker.worse{stroke:var(--red)}
.whisker.unsure{stroke:var(--amber)}
svg .n.better{fill:var(--green)}svg .n.worse{fill:var(--red)}svg .n.unsure{fill:var(--amber)}
.heat{fill:var(--heat)}.heat.drifted{stroke:var(--red);stroke-width:1.8}
.curve{fill:none;stroke-width:2;stroke-linejoin:round}
.curve.c0{stroke:var(--blue)}.curve.c1{stroke:var(--red)}.curve.c2{stroke:var(--green)}
.curve.c3{stroke:var(--violet)}.curve.c4{stroke:var(--amber)}.curve.c5{stroke:var(--sky)}
svg .ink-c0{fill:var(--blue)}svg .ink-c1{fill:var(--red)}svg .ink-c2{fill:var(--green)}
svg .ink-c3{fill:var(--violet)}svg .ink-c4{fill:var(--amber)}svg .ink-c5{fill:var(--sky)}
footer{color:var(--soft);font-size:12.5px;margin-top:18px}
@media print{body{background:#fff}section{break-inside:avoid}}
"""
