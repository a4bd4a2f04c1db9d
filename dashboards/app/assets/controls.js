/* Toggles and what the address says, without a question to the server. */
window.dash_clientside = window.dash_clientside || {};

(function () {
  "use strict";
  const same = () => window.dash_clientside.no_update;
  const text = (kind, children, props) => ({ namespace: "dash_html_components", type: kind, props: { children, ...props } });

  function swatch(look) {
    return text("Span", look.glyph, { className: "swatch", style: { color: look.colour }, "aria-hidden": "true" });
  }

  function option(columns, i) {
    return { value: columns.variants[i], label: text("Span", [swatch(columns.looks[i]), columns.variants[i]]) };
  }

  async function ask(name, asked) {
    const config = JSON.parse(document.getElementById("_dash-config").textContent);
    const answer = await fetch(`${config.requests_pathname_prefix}${name}?${new URLSearchParams(asked)}`);
    return answer.ok ? answer.json() : null;
  }

  /* The numbers of a workload; which revision of them is part of the address. */
  async function fetched(workload, revision, sweep) {
    if (!workload || !revision || !revision.startsWith(`${sweep} `)) return [same(), same()];
    const columns = await ask("columns", { sweep, workload, revision });
    if (!columns) return [null, null];
    const key = `${workload} ${revision}`;
    judged({ sweep, workload, revision }, key);
    return [{ ...columns, key, place: `${sweep} ${workload}` }, key];
  }

  /* Probabilities follow when they are there; nothing waits for them. */
  async function judged(asked, key) {
    const set = window.dash_clientside.set_props;
    window.dash_clientside.controls.wanted = key;
    set("live", { children: "resampling the examples …" });
    const odds = await ask("odds", asked);
    if (window.dash_clientside.controls.wanted !== key) return;
    set("live", { children: odds?.why_not || "" });
    if (!odds || odds.why_not) return;
    set("odds", { data: { ...odds, key } });
    set("odds-key", { data: key });
  }

  /* What is hidden stays hidden while the same workload grows; a new one is shown whole. */
  function options(columns, before, shown, families) {
    if (!columns) return [[], [], [], []];
    const known = new Set((before || []).map((each) => each.value));
    const grows = window.dash_clientside.controls.place === columns.place;
    window.dash_clientside.controls.place = columns.place;
    const visible = new Set(shown || []);
    const value = columns.variants.filter((name) => !grows || !known.has(name) || visible.has(name));
    const names = [...new Set(columns.families)];
    return [names, grows ? families : names, columns.variants.map((_, i) => option(columns, i)), value];
  }

  function pressed() {
    const found = window.dash_clientside.callback_context.triggered;
    return found.length ? found[0].prop_id.split(".")[0] : "";
  }

  function ofFamilies(columns, families, shown) {
    const on = new Set(families), visible = new Set(shown);
    const complete = (family) => columns.variants.some((n, i) => columns.families[i] === family && visible.has(n));
    return columns.variants.filter((name, i) =>
      on.has(columns.families[i]) && (visible.has(name) || !complete(columns.families[i])));
  }

  function choose(families, _all, _none, _best, columns, shown) {
    if (!columns) return [same(), same()];
    const names = [...new Set(columns.families)];
    switch (pressed()) {
      case "all-methods": return [columns.variants, names];
      case "no-methods": return [[], []];
      case "best-methods": {
        const best = new Set(columns.variant.filter((_, i) => columns.frontier[i]));
        const chosen = columns.variants.filter((_, i) => best.has(i));
        return [chosen, names.filter((f) => chosen.some((n) => columns.families[columns.variants.indexOf(n)] === f))];
      }
      default: return [ofFamilies(columns, families || [], shown || []), same()];
    }
  }

  /* The address always leads back to what is looked at. */
  function remember(sweep, workload, view, point, other) {
    if (!sweep) return view || "";
    const asked = new URLSearchParams({ sweep, workload: workload || "", view: view || "frontier" });
    if (point) asked.set("point", point);
    if (other) asked.set("other", other);
    window.history.replaceState(null, "", `?${asked}`);
    return view || "";
  }

  function clicked(data) {
    const found = data && data.points && data.points[0] && data.points[0].customdata;
    return found || same();
  }

  /* Copies what the element beside the button says, and says so. */
  async function copy(presses, content) {
    if (!presses) return same();
    try {
      await navigator.clipboard.writeText(content);
      return "Copied";
    } catch (error) {
      return "Select and copy it below";
    }
  }

  window.dash_clientside.controls = { fetched, options, choose, remember, clicked, copy, place: null };
})();
