/* What the columns of a workload (dashboards/app/configurations.py) say: amounts in words, who is shown, who is
   within limits, and the best at each cost. figures.js draws it. */
(function () {
  "use strict";
  const percent = (value) => `${+(100 * value).toPrecision(4)}%`;
  const number = (value) => (Math.abs(value) >= 1e5 ? value.toExponential(3) : `${+value.toPrecision(5)}`);
  const known = new Map();   // the same few names and values, thousands of times
  const plain = (text) => { if (!known.has(text)) known.set(text, escaped(text)); return known.get(text); };
  const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;");

  function amount(columns, metric, value) {
    if (value === null || value === undefined) return "not measured";
    const share = columns.fractions.includes(metric) || (metric === "quality" && columns.direction === "maximize");
    return share ? percent(value) : number(value);
  }

  function formatted(columns, metric) {
    return columns.fractions.includes(metric) || (metric === "quality" && columns.direction === "maximize") ? "~%" : "~s";
  }

  /* What the pointer says about a configuration, made once for these columns and odds. */
  const said = { columns: null, odds: null, texts: [] };
  function explained(columns, odds, i) {
    if (said.columns !== columns || said.odds !== odds) Object.assign(said, { columns, odds, texts: [] });
    return (said.texts[i] ??= everything(columns, odds, i));
  }

  function everything(columns, odds, i) {
    const name = plain(columns.variants[columns.variant[i]]);
    const sure = odds ? `on the frontier in ${percent(odds.probability[i] || 0)} of the resamples` : "";
    const range = odds && odds.low[i] !== null
      ? ` (${amount(columns, "quality", odds.low[i])} to ${amount(columns, "quality", odds.high[i])})` : "";
    const costs = columns.fractions.filter((m) => columns.values[m][i] !== null)
      .map((m) => `${columns.axes[m].replace(" (of uncompressed)", "")} ${percent(columns.values[m][i])}` +
        ((columns.void[m] || []).includes(i) ? " (counts for no frontier)" : ""));
    return [
      `<b>${name}</b>, keep ${number(columns.keep[i])}`,
      ...(columns.chosen[i] ? [plain(columns.chosen[i]).replaceAll(", ", "<br>")] : []),
      `schedule ${plain(columns.schedules[columns.schedule[i]])}, ${columns.seeds[i]} seed${columns.seeds[i] > 1 ? "s" : ""}`,
      `quality ${amount(columns, "quality", columns.values.quality?.[i])}${range}`,
      ...costs, ...(sure ? [sure] : []), `trial ${columns.trial[i]}`,
    ].join("<br>");
  }

  function shownIndices(columns, shown) {
    const visible = new Set(shown || columns.variants);
    const on = columns.variants.map((name) => visible.has(name));
    const found = [];
    for (let i = 0; i < columns.trial.length; i++) if (on[columns.variant[i]]) found.push(i);
    return found;
  }

  const better = (columns, metric) => (metric === "quality" && columns.direction === "maximize" ? 1 : -1);

  /* The best that can be reached at each cost, among what is shown and really measured. */
  function staircase(columns, indices, x, y) {
    const excluded = new Set([...(columns.void[x] || []), ...(columns.void[y] || [])]);
    const sign = better(columns, y), xs = columns.values[x], ys = columns.values[y];
    const members = indices.filter((i) => xs[i] !== null && ys[i] !== null && !excluded.has(i));
    members.sort((a, b) => xs[a] - xs[b] || sign * (ys[b] - ys[a]));
    const steps = [];
    for (const i of members) {
      if (!steps.length || sign * ys[i] > sign * ys[steps[steps.length - 1]]) steps.push(i);
    }
    if (!steps.length) return null;
    const right = members[members.length - 1];
    return { x: [...steps.map((i) => xs[i]), xs[right]], y: [...steps.map((i) => ys[i]), ys[steps[steps.length - 1]]] };
  }

  function within(columns, i, x, y, largest, smallest) {
    const a = columns.values[x][i], b = columns.values[y][i];
    if (largest !== null && largest !== undefined && !(a <= largest)) return false;
    return smallest === null || smallest === undefined || (better(columns, y) > 0 ? b >= smallest : b <= smallest);
  }

  function baselineOf(columns, x, y) {
    const i = columns.baseline.indexOf(1);
    return i < 0 || columns.values[x][i] === null || columns.values[y][i] === null
      ? null : { x: columns.values[x][i], y: columns.values[y][i] };
  }

  /* In words, what the limits leave. */
  function verdict(columns, shown, x, y, largest, smallest) {
    if (!columns || !columns.values[x] || !columns.values[y]) return "";
    const indices = shownIndices(columns, shown).filter((i) => columns.values[x][i] !== null && columns.values[y][i] !== null);
    const limited = [largest, smallest].some((v) => v !== null && v !== undefined);
    if (!limited) return `${indices.length.toLocaleString("en")} configurations shown`;
    const excluded = new Set([...(columns.void[x] || []), ...(columns.void[y] || [])]);
    const inside = indices.filter((i) => !excluded.has(i) && within(columns, i, x, y, largest, smallest));
    if (!inside.length) return "Nothing that is shown keeps to these limits.";
    const sign = better(columns, y);
    const best = inside.reduce((a, b) => (sign * columns.values[y][b] > sign * columns.values[y][a] ? b : a));
    return `${inside.length.toLocaleString("en")} within the limits; best: ${columns.variants[columns.variant[best]]}, keep ` +
      `${number(columns.keep[best])}: ${amount(columns, y, columns.values[y][best])} at ${amount(columns, x, columns.values[x][best])}`;
  }

  window.paretoken = {
    percent, escaped, amount, formatted, everything, explained, shownIndices, better, staircase, within, baselineOf,
    verdict,
  };
})();
