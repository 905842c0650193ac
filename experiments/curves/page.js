// Draws the curve from DATA (see page.py). Labels are placed as labels.py does: nearest free place, never overlapping.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plot = document.getElementById("plot");
  const state = { axis: data.axes[0], log: true, paper: 0 };
  const PAPER = 690; // pixels across a printed page
  const across = () => state.paper || plot.clientWidth;
  const font = { family: "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", color: "#222" };
  const RINGS = [8, 16, 28, 44, 64, 92], TURNS = [0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8];
  const PAD = 3;

  const on = (series) => series.points.filter((p) => p.x[state.axis])
    .sort((a, b) => a.x[state.axis][0] - b.x[state.axis][0]);
  const xs = (points) => points.map((p) => p.x[state.axis][0]);
  const ys = (points, i = 0) => points.map((p) => p.y[i]);
  const faint = (colour, alpha) => {
    const n = parseInt(colour.slice(1), 16);
    return `rgba(${n >> 16},${(n >> 8) & 255},${n & 255},${alpha})`;
  };

  function traces() {
    const steps = data.frontier[state.axis], bands = [], lines = [];
    for (const series of data.series) {
      const points = on(series);
      if (!points.length) continue;
      const { banded, strong } = series, x = xs(points), last = points.length - 1;
      const bar = (i, width) => (strong && i < last ? 0 : width);
      if (banded) {
        bands.push({
          x: [...x, ...[...x].reverse()], y: [...ys(points, 2), ...ys(points, 1).reverse()], type: "scatter",
          mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: faint(series.colour, 0.1), hoverinfo: "skip",
        });
      }
      lines.push({
        x, y: ys(points), type: "scatter", mode: "lines+markers", name: series.label,
        line: { color: series.colour, width: series.strong ? 2.4 : 1.5, dash: series.dash },
        marker: {
          symbol: series.symbol, size: series.strong ? 9 : 8, color: series.colour,
          line: { width: series.strong ? 1 : 1.6, color: series.strong ? "#fff" : series.colour },
        },
        error_y: banded ? { visible: false } : {
          type: "data", symmetric: false, thickness: 1, width: 0, color: faint(series.colour, 0.6),
          array: points.map((p, i) => bar(i, p.y[2] - p.y[0])),
          arrayminus: points.map((p, i) => bar(i, p.y[0] - p.y[1])),
        },
        text: points.map((p) => p.hover), hovertemplate: "%{text}<extra></extra>",
      });
    }
    const edge = {
      x: steps.map((p) => p[0]), y: steps.map((p) => p[1]), type: "scatter", mode: "lines",
      line: { color: "rgba(0,0,0,.55)", width: 1, shape: "hv" }, hoverinfo: "skip",
    };
    return [...bands, edge, ...lines.reverse()];
  }

  function ranges() {
    const points = data.series.flatMap(on), x = xs(points);
    const low = Math.min(...ys(points, 1)), high = Math.max(...ys(points, 2)), span = Math.max(high - low, 0.02);
    const least = Math.min(...x), most = Math.max(...x), narrow = across() < 600;
    let top = Math.min(1.02, high + 0.1 * span);
    const levels = data.series.filter((s) => !on(s).length).map((s) => ({ ...s, at: Math.max(...ys(s.points)) }));
    const near = levels.filter((s) => s.at <= top + 0.5 * span);
    for (const s of near) top = Math.max(top, Math.min(1.02, s.at + 0.06 * span));
    const right = narrow ? 0.45 : 0.25, reach = Math.max(Math.log10(most / least), 0.2);
    return {
      x: state.log ? [Math.log10(least) - 0.06 * reach, Math.log10(most) + right * reach] : [0, most * (1 + right)],
      y: [Math.max(-0.02, low - 0.06 * span), top], near, far: levels.filter((s) => !near.includes(s) && s.at > top),
    };
  }

  function layout(found, notes, shapes) {
    const narrow = across() < 600;
    const lines = found.near.map((s) => ({
      type: "line", xref: "paper", x0: 0, x1: 1, y0: s.at, y1: s.at, line: { color: "#4d4d4d", width: 1.2, dash: "dot" },
    }));
    return {
      font, paper_bgcolor: "#fff", plot_bgcolor: "#fff", showlegend: false, hovermode: "closest",
      margin: { l: narrow ? 58 : 72, r: 8, t: 26, b: 52 }, height: narrow ? 430 : 540, width: across(), autosize: false,
      hoverlabel: { bgcolor: "#fff", bordercolor: "#555", align: "left", font: { ...font, size: 13 } },
      xaxis: {
        title: { text: data.titles[state.axis], font: { size: 15 } }, type: state.log ? "log" : "linear",
        range: found.x, gridcolor: "#e8e8e8", linecolor: "#333", ticks: "outside", zeroline: false,
        tickfont: { size: 13 }, exponentformat: "none", separatethousands: true, nticks: narrow ? 4 : 8,
        ...(state.log ? ticks(found.x, narrow) : {}),
      },
      yaxis: {
        title: { text: "share right", font: { size: 15 }, standoff: 10 }, range: found.y, gridcolor: "#e8e8e8", linecolor: "#333",
        ticks: "outside", zeroline: false, tickfont: { size: 13 }, nticks: 7,
      },
      shapes: [...lines, ...shapes], annotations: notes,
    };
  }

  // Numbers that are read at a glance (1, 2, 5, 10), not powers of ten.
  function ticks([low, high], narrow) {
    const decades = high - low, steps = decades > (narrow ? 1.5 : 3.5) ? [1] : decades > (narrow ? 0.9 : 1.8) ? [1, 3] : [1, 2, 5];
    const values = [];
    for (let k = Math.floor(low); k <= high; k++) for (const s of steps) values.push(Number(`${s}e${k}`));
    return { tickmode: "array", tickvals: values, ticktext: values.map((v) => v.toLocaleString("en", { maximumFractionDigits: 9 })) };
  }

  // -- labels ---------------------------------------------------------------------------------------------------
  const pen = document.createElement("canvas").getContext("2d");
  function size(text) {
    pen.font = `13px ${font.family}`;
    return [pen.measureText(text).width + 6, 17];
  }
  const overlaps = (a, b) =>
    Math.abs(a.x - b.x) * 2 < a.w + b.w + 2 * PAD && Math.abs(a.y - b.y) * 2 < a.h + b.h + 2 * PAD;
  const holds = (b, p) => Math.abs(b.x - p[0]) * 2 <= b.w + PAD && Math.abs(b.y - p[1]) * 2 <= b.h + PAD;

  function place(wanted, covered, width, height) {
    const placed = [];
    for (const one of wanted) {
      const [w, h] = size(one.label);
      let best = null, cost = Infinity;
      for (const ring of RINGS) {
        TURNS.forEach((turn, rank) => {
          const angle = (turn * Math.PI) / 8, cos = Math.cos(angle), sin = -Math.sin(angle);
          const box = { x: one.at[0] + cos * (ring + w / 2), y: one.at[1] + sin * (ring + h / 2), w, h, one };
          if (box.x - w / 2 < 0 || box.x + w / 2 > width || box.y - h / 2 < 0 || box.y + h / 2 > height) return;
          if (placed.some((other) => overlaps(box, other))) return;
          const paid = 0.12 * ring + 0.35 * rank + 3 * covered.filter((p) => holds(box, p)).length;
          if (paid < cost) { best = box; cost = paid; }
        });
      }
      if (best) placed.push(best);
    }
    return placed;
  }

  function sampled(line) {
    const found = line.slice(0, 1);
    for (let i = 1; i < line.length; i++) {
      const [a, b] = [line[i - 1], line[i]], count = Math.max(1, Math.floor(Math.hypot(b[0] - a[0], b[1] - a[1]) / 6));
      for (let k = 1; k <= count; k++) found.push([a[0] + ((b[0] - a[0]) * k) / count, a[1] + ((b[1] - a[1]) * k) / count]);
    }
    return found;
  }

  function labels(found) {
    const { xaxis, yaxis } = plot._fullLayout, width = xaxis._length, height = yaxis._length;
    const over = (x) => {
      const [a, b] = found.x, at = state.log ? Math.log10(x) : x;
      return ((at - a) / (b - a)) * width;
    };
    const down = (y) => ((found.y[1] - y) / (found.y[1] - found.y[0])) * height;
    const pixels = (points) => points.map((p) => [over(p.x[state.axis][0]), down(p.y[0])]);
    const narrow = across() < 600, longest = narrow ? 22 : 40;
    const cut = (t) => (t.length <= longest ? t : `${t.slice(0, longest - 9)}…${t.slice(-8)}`);
    const wanted = [], covered = [];
    for (const series of data.series) {
      const at = pixels(on(series));
      if (!at.length) continue;
      covered.push(...sampled(at));
      if (series.kind === "baseline")
        on(series).forEach((p, i) => covered.push(...sampled([[at[i][0], down(p.y[1])], [at[i][0], down(p.y[2])]])));
      if (!series.named) continue;
      wanted.push({ label: cut(series.label), at: at[at.length - 1], ink: series.text, rank: series.strong ? 0 : 1 });
      if (series.first) wanted.push({ label: cut(series.first), at: at[0], ink: series.text, rank: 2 });
    }
    for (const s of found.near) {
      covered.push(...sampled([[0, down(s.at)], [width, down(s.at)]]));
      wanted.push({ label: cut(s.label), at: [4, down(s.at)], ink: s.text, rank: 1 });
    }
    const steps = data.frontier[state.axis].map((p) => [over(p[0]), down(p[1])]);
    if (steps.length > 1) {
      covered.push(...sampled(steps.flatMap((p, i) => (i ? [[p[0], steps[i - 1][1]], p] : [p]))));
      let k = 1;
      for (let i = 2; i < steps.length; i++) if (steps[i][0] - steps[i - 1][0] > steps[k][0] - steps[k - 1][0]) k = i;
      const middle = [(steps[k - 1][0] + steps[k][0]) / 2, steps[k - 1][1]];
      wanted.push({ label: "frontier", at: middle, ink: "#000", rank: 3 });
    }
    wanted.sort((a, b) => a.rank - b.rank);
    const placed = place(wanted.slice(0, narrow ? 10 : 22), covered, width, height);
    const notes = placed.map((box) => ({
      text: escaped(box.one.label), xref: "paper", yref: "paper", x: box.x / width, y: 1 - box.y / height,
      xanchor: "center", yanchor: "middle", showarrow: false, font: { size: 13, color: box.one.ink }, borderpad: 0,
    }));
    const shapes = placed.flatMap((box) => leader(box, width, height));
    if (found.far.length) {
      const text = found.far.map((s) => `${escaped(s.label)} ${s.at.toFixed(2)} ↑`).join(", ");
      notes.push({
        text, xref: "paper", yref: "paper", x: 1, y: 1, xanchor: "right", yanchor: "bottom", showarrow: false,
        font: { size: 13, color: "#4d4d4d" },
      });
    }
    return [notes, shapes];
  }

  function leader(box, width, height) {
    const [ax, ay] = box.one.at;
    const x = Math.min(Math.max(ax, box.x - box.w / 2), box.x + box.w / 2);
    const y = Math.min(Math.max(ay, box.y - box.h / 2), box.y + box.h / 2);
    if (Math.hypot(x - ax, y - ay) < 20) return [];
    return [{
      type: "line", xref: "paper", yref: "paper", x0: ax / width, y0: 1 - ay / height, x1: x / width,
      y1: 1 - y / height, line: { color: box.one.ink, width: 0.8 },
    }];
  }
  // The series' labels come as they are: plotly reads a little HTML.
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  async function draw() {
    const found = ranges(), options = {
      responsive: false, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      toImageButtonOptions: { format: "svg", filename: "accuracy-spend" }, displayModeBar: "hover",
    };
    await Plotly.react(plot, traces(), layout(found, [], []), options);
    await Plotly.relayout(plot, layout(found, ...labels(found)));
    for (const button of document.querySelectorAll("button[data-axis]"))
      button.setAttribute("aria-pressed", String(button.dataset.axis === state.axis));
    for (const button of document.querySelectorAll("button[data-scale]"))
      button.setAttribute("aria-pressed", String((button.dataset.scale === "log") === state.log));
    plot.dataset.ready = `${state.axis} ${state.log ? "log" : "linear"} ${across()}`;
  }

  for (const button of document.querySelectorAll("button[data-axis]"))
    button.addEventListener("click", () => { state.axis = button.dataset.axis; draw(); });
  for (const button of document.querySelectorAll("button[data-scale]"))
    button.addEventListener("click", () => { state.log = button.dataset.scale === "log"; draw(); });
  // A page to print is laid out at once: what is on it has to be drawn before, at its width.
  addEventListener("beforeprint", () => { state.paper = PAPER; draw().then(() => { plot.dataset.printed = PAPER; }); });
  addEventListener("afterprint", () => { state.paper = 0; draw(); });
  let width = plot.clientWidth;
  new ResizeObserver(() => {
    if (!state.paper && plot.clientWidth !== width) { width = plot.clientWidth; draw(); }
  }).observe(plot);
  draw();
})();
