/* Figures that the browser draws from the columns of a workload (dashboards/app/configurations.py):
   whatever is toggled or turned changes at once, without a question to the server. */
window.dash_clientside = window.dash_clientside || {};

(function () {
  "use strict";
  const INK = "#1a1a1a", MUTED = "#4d4d4d", GRID = "#e3e3e3";
  const SHARP = 800;      // up to so many points are drawn as vectors, more by WebGL
  const FAINT = 0.28;     // opacity of what is on the frontier in no resample
  const FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";
  const { percent, escaped, amount, formatted, everything, explained, shownIndices, better, staircase, within,
    baselineOf, verdict } = window.paretoken;   // from columns.js, which is loaded before

  function bars(columns, odds, members, look) {
    const ys = columns.values.quality;
    const end = (ends, i) => (odds && ends[i] !== null ? Math.abs(ends[i] - ys[i]) : columns.error[i] || 0);
    return { type: "data", array: members.map((i) => end(odds?.high, i)), arrayminus: members.map((i) => end(odds?.low, i)),
      thickness: 1.2, width: 0, color: look.colour + "66" };
  }

  /* Whether a point is drawn with care: one of few, or perhaps on the frontier. */
  function careful(columns, odds, i) {
    return columns.trial.length <= SHARP || columns.frontier[i] === 1 || (odds !== null && odds.probability[i] > 0.02);
  }

  function coordinates(columns, odds, members, x, y) {
    return {
      x: members.map((i) => columns.values[x][i]),
      y: members.map((i) => columns.values[y][i]),
      text: members.map((i) => explained(columns, odds, i)),
      customdata: members.map((i) => columns.trial[i]),
      hovertemplate: "%{text}<extra></extra>", mode: "markers", showlegend: false,
    };
  }

  function sharp(columns, odds, members, x, y, withBars, look, hollow, inside) {
    const opacity = (i) => {
      if (!inside) return FAINT / 2;
      return odds ? FAINT + (1 - FAINT) * (odds.probability[i] || 0) : columns.frontier[i] ? 1 : 0.45;
    };
    return {
      type: "scatter", ...coordinates(columns, odds, members, x, y),
      error_y: withBars && y === "quality" ? bars(columns, odds, members, look) : undefined,
      marker: {
        symbol: look.symbol + (hollow ? "-open" : ""), color: look.colour,
        size: members.map((i) => (columns.frontier[i] ? 12 : 8)), opacity: members.map(opacity),
        line: { color: INK, width: members.map((i) => (columns.frontier[i] ? 1.5 : 0)) },
      },
    };
  }

  /* Thousands of points in one style, which a graphics card draws at once. */
  function mass(columns, odds, members, x, y, look, hollow, inside) {
    return {
      type: "scattergl", ...coordinates(columns, odds, members, x, y),
      marker: { symbol: look.symbol + (hollow ? "-open" : ""), color: look.colour, size: 7,
        opacity: inside ? FAINT : FAINT / 3 },
    };
  }

  /* One trace per method and way of drawing; those drawn with care come last, on top. */
  function traces(columns, odds, indices, x, y, withBars, limits) {
    const hollow = new Set([...(columns.void[x] || []), ...(columns.void[y] || [])]);
    const groups = new Map();
    for (const i of indices) {
      const inside = within(columns, i, x, y, ...limits);
      const key = [careful(columns, odds, i) ? 1 : 0, columns.variant[i], hollow.has(i) ? 1 : 0, inside ? 1 : 0].join();
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(i);
    }
    return [...groups.keys()].sort().map((key) => {
      const [care, variant, open, inside] = key.split(",").map(Number);
      const look = columns.looks[variant], members = groups.get(key);
      return care ? sharp(columns, odds, members, x, y, withBars, look, open, inside)
        : mass(columns, odds, members, x, y, look, open, inside);
    });
  }

  function line(points) {
    return { type: "line", layer: "below", line: { color: MUTED, width: 1.2, dash: "dot" }, ...points };
  }

  /* Where a budget ends, and the shaded part that is beyond it. */
  function limitShapes(columns, y, largest, smallest) {
    const shapes = [], edge = { color: "#D55E00", width: 1.6, dash: "dash" };
    if (largest !== null && largest !== undefined) {
      shapes.push({ type: "line", xref: "x", yref: "paper", x0: largest, x1: largest, y0: 0, y1: 1, line: edge });
    }
    if (smallest !== null && smallest !== undefined) {
      shapes.push({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: smallest, y1: smallest, line: edge });
    }
    return shapes;
  }

  function axis(columns, metric, values) {
    const found = { title: { text: columns.axes[metric] || metric, standoff: 8 }, gridcolor: GRID, zeroline: false,
      tickformat: formatted(columns, metric), automargin: true };
    return values && wide(values) ? { ...found, type: "log", tickvals: ticks(values) } : found;
  }

  function wide(values) {
    const known = values.filter((v) => v !== null);
    const low = Math.min(...known), high = Math.max(...known);
    return low > 0 && high >= 5 * low;
  }

  function ticks(values) {
    const known = values.filter((v) => v !== null), found = [];
    const low = Math.log10(Math.min(...known)), high = Math.log10(Math.max(...known));
    const steps = high - low > 3 ? [1] : [1, 2, 5];
    for (let power = Math.floor(low); power <= high; power++) for (const s of steps) found.push(s * 10 ** power);
    return found;
  }

  function base(columns) {
    return {
      font: { family: FONT, size: 13, color: INK }, paper_bgcolor: "white", plot_bgcolor: "white",
      margin: { t: 12, r: 12, b: 46, l: 62 }, hovermode: "closest", showlegend: false, dragmode: "pan",
      hoverlabel: { align: "left", bgcolor: "white", bordercolor: MUTED, font: { family: FONT, size: 12, color: INK } },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    };
  }

  /* A ring around what was chosen, wherever it lies. */
  function chosenRing(columns, point, x, y) {
    const i = columns.trial.indexOf(point);
    if (i < 0 || columns.values[x][i] === null || columns.values[y][i] === null) return [];
    return [{ type: "scatter", mode: "markers", x: [columns.values[x][i]], y: [columns.values[y][i]], hoverinfo: "skip",
      showlegend: false, marker: { symbol: "circle-open", size: 24, color: "#0072B2", line: { width: 3 } } }];
  }

  function frontier(columns, odds, shown, x, y, largest, smallest, options, point) {
    if (!columns || !columns.values[x] || !columns.values[y]) return { data: [], layout: {} };
    const probabilities = odds && odds.key === columns.key ? odds : null;
    const withBars = (options || []).includes("bars");
    const drawn = (i) => columns.values[x][i] !== null && columns.values[y][i] !== null && !columns.baseline[i];
    const indices = shownIndices(columns, shown);
    const data = traces(columns, probabilities, indices.filter(drawn), x, y, withBars, [largest, smallest]);
    const steps = staircase(columns, indices, x, y);
    if (steps) {
      data.push({ type: "scatter", mode: "lines", ...steps, line: { color: INK, width: 1.8, shape: "hv" },
        hoverinfo: "skip", showlegend: false });
    }
    const start = baselineOf(columns, x, y), shapes = limitShapes(columns, y, largest, smallest);
    if (start) {
      shapes.push(line({ xref: "paper", yref: "y", x0: 0, x1: 1, y0: start.y, y1: start.y }));
      data.push({ type: "scatter", mode: "markers", x: [start.x], y: [start.y], showlegend: false,
        marker: { symbol: "star", size: 16, color: "white", line: { color: INK, width: 1.5 } },
        hovertemplate: `uncompressed model: ${amount(columns, y, start.y)}<extra></extra>` });
    }
    data.push(...chosenRing(columns, point, x, y));
    const everything = columns.values[x].filter((v) => v !== null);
    return { data, layout: { ...base(columns), shapes, xaxis: axis(columns, x, everything), yaxis: axis(columns, y),
      uirevision: `${columns.key}|${x}|${y}` } };
  }

  /* Mean over everything at a keep ratio, per label and schedule, from small to large. */
  function curvesOf(columns, indices) {
    const groups = new Map();
    for (const i of indices) {
      if (columns.baseline[i] || !columns.values.quality || columns.values.quality[i] === null) continue;
      const name = `${columns.variant[i]}|${columns.schedule[i]}`;
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(i);
    }
    for (const members of groups.values()) members.sort((a, b) => columns.keep[a] - columns.keep[b]);
    return groups;
  }

  const DASHES = ["solid", "dash", "dot", "dashdot"];

  function band(columns, odds, members, look, opacity) {
    const ys = columns.values.quality;
    const high = members.map((i) => (odds && odds.high[i] !== null ? odds.high[i] : ys[i] + (columns.error[i] || 0)));
    const low = members.map((i) => (odds && odds.low[i] !== null ? odds.low[i] : ys[i] - (columns.error[i] || 0)));
    const xs = members.map((i) => columns.keep[i]);
    return { type: "scatter", mode: "lines", x: [...xs, ...xs.slice().reverse()], y: [...high, ...low.reverse()],
      fill: "toself", fillcolor: look.colour, opacity, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  }

  /* What the patterns of lines mean; nothing where there is one. */
  function scheduleKeys(columns, groups) {
    const used = [...new Set([...groups.keys()].map((key) => Number(key.split("|")[1])))];
    return used.length < 2 ? [] : used.map((s) => ({ type: "scatter", mode: "lines", x: [null], y: [null],
      name: escaped(columns.schedules[s]), line: { color: INK, width: 1.6, dash: DASHES[s % DASHES.length] } }));
  }

  function curves(columns, odds, shown, options) {
    if (!columns || !columns.values.quality) return { data: [], layout: {} };
    const probabilities = odds && odds.key === columns.key ? odds : null;
    const bands = (options || []).includes("bands"), data = [];
    const groups = curvesOf(columns, shownIndices(columns, shown));
    for (const members of groups.values()) {
      const look = columns.looks[columns.variant[members[0]]];
      if (bands) data.push(band(columns, probabilities, members, look, groups.size > 8 ? 0.05 : 0.14));
      data.push({ type: "scatter", mode: "lines+markers", x: members.map((i) => columns.keep[i]),
        y: members.map((i) => columns.values.quality[i]), name: escaped(columns.variants[columns.variant[members[0]]]),
        line: { color: look.colour, width: 1.6, dash: DASHES[columns.schedule[members[0]] % DASHES.length] },
        marker: { symbol: look.symbol, size: 7 }, text: members.map((i) => explained(columns, probabilities, i)),
        customdata: members.map((i) => columns.trial[i]), hovertemplate: "%{text}<extra></extra>", showlegend: false });
    }
    data.push(...scheduleKeys(columns, groups));
    const start = baselineOf(columns, "quality", "quality");
    const shapes = start ? [line({ xref: "paper", yref: "y", x0: 0, x1: 1, y0: start.y, y1: start.y })] : [];
    const kept = columns.keep.filter((_, i) => !columns.baseline[i]);
    const ratios = [...new Set(kept)].sort((a, b) => a - b);
    const few = ratios.length <= 8 ? { tickvals: ratios, ticktext: ratios.map(percent) } : {};
    return { data, layout: { ...base(columns), shapes, yaxis: axis(columns, "quality"),
      xaxis: { ...axis(columns, "keep", kept), title: { text: "kept (nominal keep ratio)", standoff: 8 }, tickformat: "~%", ...few },
      uirevision: columns.key, showlegend: true } };
  }

  /* Best quality over schedules, of each method at each ratio. */
  function heat(columns, shown) {
    if (!columns || !columns.values.quality) return { data: [], layout: {} };
    const indices = shownIndices(columns, shown).filter((i) => !columns.baseline[i] && columns.values.quality[i] !== null);
    const ratios = [...new Set(indices.map((i) => columns.keep[i]))].sort((a, b) => b - a);
    const sign = better(columns, "quality"), cells = new Map();
    for (const i of indices) {
      const key = `${columns.variant[i]}|${columns.keep[i]}`, now = cells.get(key);
      if (now === undefined || sign * columns.values.quality[i] > sign * columns.values.quality[now]) cells.set(key, i);
    }
    const mean = (v) => { const own = ratios.map((r) => cells.get(`${v}|${r}`)).filter((i) => i !== undefined);
      return own.reduce((sum, i) => sum + sign * columns.values.quality[i], 0) / own.length; };
    const variants = [...new Set(indices.map((i) => columns.variant[i]))].sort((a, b) => mean(a) - mean(b));
    const at = (v, r, value) => { const i = cells.get(`${v}|${r}`); return i === undefined ? null : value(i); };
    const z = variants.map((v) => ratios.map((r) => at(v, r, (i) => columns.values.quality[i])));
    const shape = columns.direction === "maximize" ? "Cividis" : "Cividis_r";
    return { data: [{ type: "heatmap", x: ratios.map((r) => percent(r)), y: variants.map((v) => escaped(columns.variants[v])), z,
        colorscale: "Cividis", reversescale: shape.endsWith("_r"), xgap: 1, ygap: 1, hoverongaps: false,
        text: variants.map((v) => ratios.map((r) => at(v, r, (i) => everything(columns, null, i)))),
        customdata: variants.map((v) => ratios.map((r) => at(v, r, (i) => columns.trial[i]))),
        hovertemplate: "%{text}<extra></extra>",
        texttemplate: variants.length * ratios.length <= 400 ? "%{z:.3~g}" : undefined,
        colorbar: { title: { text: "quality", side: "right" }, tickformat: formatted(columns, "quality"), thickness: 10, outlinewidth: 0 } }],
      layout: { ...base(columns), margin: { t: 12, r: 8, b: 46, l: 10 }, dragmode: false,
        xaxis: { title: { text: "kept", standoff: 6 }, type: "category", automargin: true },
        yaxis: { type: "category", automargin: true, tickfont: { size: variants.length > 24 ? 9 : 12 }, dtick: 1 } } };
  }

  window.dash_clientside.figures = { frontier, curves, heat, verdict };
})();
