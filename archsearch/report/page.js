"use strict";
// The sections of the page, from the facts that it carries.

const facts = JSON.parse(document.getElementById("facts").textContent);
const about = facts.about;
const members = facts.front.members;
const references = facts.front.references;
const main = document.querySelector("main");
const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6"].map((name) => `var(${name})`);
let selected = facts.front.knee;

const letter = (i) => String.fromCharCode(65 + (i % 26));
const nameOf = (row) => (row.number < 0 ? row.name : `trial ${row.number}`);

function section(title, ...children) {
  const made = html("section", {}, html("h2", {}, title), ...children);
  main.append(made);
  return made;
}

function note(text) {
  return html("p", { class: "note" }, text);
}

function about_row(row) {
  return [
    `${nameOf(row)}: ${row.design}`,
    `accuracy ${accuracy(row.accuracy)}, 95 % ${interval(row)}, worst cell ${accuracy(row.worst_cell)}`,
    `${human(row.flops)} FLOPs (${row.growth}), ${human(row.params)} parameters, ${human(row.state_floats)} floats of state`,
    `${row.seeds} ${row.seeds === 1 ? "seed" : "seeds"}, learning rate ${row.learning_rate ?? "–"}` +
      (row.p_on_front === null ? "" : `, P(on front) ${row.p_on_front.toFixed(2)}`),
  ];
}

// overview

function overview() {
  const best = members.find((m) => m.number === facts.front.best) ?? null;
  const last = facts.hypervolume.at(-1);
  const spent = Object.values(facts.spent.by_outcome).reduce((sum, one) => sum + one.seconds, 0);
  const stops = facts.decisions.wrongful_stops;
  const tiles = [
    ["on the front", String(members.length), `${members.filter((m) => m.confirmed).length} confirmed`],
    ["best accuracy", best ? accuracy(best.accuracy) : "–", best ? `${nameOf(best)}, ${percent(best.gap_closed)} of the gap` : ""],
    ["at the price of", best && best.cost_vs_full_attention !== null ? best.cost_vs_full_attention.toFixed(2) + "x" : "–", "full attention"],
    ["hypervolume", last ? last[1].toFixed(3) : "–", "of all objectives, by the search's scores"],
    ["training", duration(spent), `${duration(about.elapsed_seconds + about.confirm_seconds)} on the clock`],
    ["wrongful stops", stops.of ? `${stops.number} of ${stops.of}` : "–", stops.of ? `95 % ${percent(stops.low)} to ${percent(stops.high)}` : "none was audited"],
  ];
  main.append(html("div", { class: "tiles" }, ...tiles.map(([name, value, more]) =>
    html("div", { class: "tile" }, html("div", { class: "name" }, name),
      html("div", { class: "value" }, value), html("div", { class: "name" }, more)))));
}

// front

function frontChart() {
  const every = [...members, ...facts.front.dominated, ...references];
  if (!every.length) {
    section("Front", note("No design has been trained yet."));
    return;
  }
  const known = [...references, ...members].filter((row) => row.low !== null);
  const chart = new Chart({
    height: 440, xLog: true, x: around(every.map((r) => Math.max(1, r.cost)), true),
    y: [Math.max(0, Math.min(...every.map((r) => r.accuracy), ...known.map((r) => r.low)) - 0.03), 1.02],
    xLabel: `${facts.front.cost}, N = ${about.n_max.toLocaleString("en")} (log scale)`,
    yLabel: "accuracy, mean over the test cells",
    label: "Accuracy against cost: front, references and dominated designs",
  });
  for (const row of facts.front.dominated)
    chart.mark(row.cost, row.accuracy, "small", { class: "dominated", ...told(about_row(row)) });
  const steps = [];
  for (const m of members) {
    if (steps.length) steps.push([m.cost, steps.at(-1)[1]]);
    if (!steps.length || m.accuracy >= steps.at(-1)[1]) steps.push([m.cost, m.accuracy]);
  }
  chart.line(steps, { class: "step faint" });
  // over the line, which rises at members: where their intervals are
  for (const row of known) chart.bar(row.cost, row.low, row.high, { class: "interval", stroke: COLOURS[row.number < 0 ? 1 : 0] });
  references.forEach((row, i) => {
    chart.mark(row.cost, row.accuracy, "diamond", { class: "reference", ...told(about_row(row), () => select(row.number)) });
    chart.text(row.cost, row.accuracy, letter(i), { class: "letter", dx: 9, dy: -6 });
  });
  for (const m of members)
    chart.mark(m.cost, m.accuracy, "point", {
      class: "member" + (m.is_knee ? " knee" : ""), "data-number": m.number,
      "aria-label": about_row(m).join("; "), ...told(about_row(m), () => select(m.number)),
    });
  const shown = facts.front.dominated.length, all = facts.front.dominated_count;
  const left = shown < all ? ` Of ${all.toLocaleString("en")} dominated designs the ${shown.toLocaleString("en")} most accurate are drawn.` : "";
  section("Front", chart.node,
    note("Circles are members (the ringed one is the knee), diamonds references, which are never members, bars " +
      "95 % intervals over fresh seeds. Hover for a design, click for its details below." + left),
    membersTable());
}

function membersTable() {
  const pick = (row) => html("button", { type: "button", onclick: () => select(row.number) }, String(row.number));
  const headings = [
    figure("trial"), figure("accuracy"), figure("95 % interval"), figure("P(front)"), figure("worst cell"),
    figure("gap closed"), figure("FLOPs"), figure("of attention"), figure("params"), figure("state"),
    figure("seeds"), word("status"), word("design"),
  ];
  const line = (row, first) => [
    first, accuracy(row.accuracy), interval(row), row.p_on_front === null ? "–" : row.p_on_front.toFixed(2),
    accuracy(row.worst_cell), percent(row.gap_closed), human(row.flops),
    row.cost_vs_full_attention === null ? "–" : row.cost_vs_full_attention.toFixed(2) + "x",
    human(row.params), human(row.state_floats), row.seeds,
    row.number < 0 ? "reference" : row.confirmed ? "confirmed" : "provisional",
    row.number < 0 ? `${row.name}: ${row.design}` : row.design,
  ];
  return table(headings, [
    ...members.map((row) => line(row, pick(row))),
    ...references.map((row, i) => line(row, html("button", { type: "button", onclick: () => select(row.number) }, letter(i)))),
  ], { id: "members" });
}

// details of one design

const detailsNode = html("section", { id: "details" });

function select(number) {
  selected = number;
  drawDetails();
  detailsNode.scrollIntoView({ behavior: "smooth", block: "nearest" });
}

// Of a race's first comparison: a rate that was ahead may fall back, one that was not may be scored.
const atFirstRung = `at step ${about.training.first_rung.toLocaleString("en")}`;

function ahead(found, unit = "", why = "") {
  if (found.runs.length < 2) return "–";
  if (!found.window) return "not judged" + why;
  return Math.log10(found.window[1] / found.window[0]).toFixed(1) + unit;
}

function drawDetails() {
  const found = facts.details[String(selected)];
  const row = [...members, ...references].find((one) => one.number === selected);
  if (!found || !row) {
    detailsNode.replaceChildren();
    return;
  }
  detailsNode.replaceChildren(
    html("h2", {}, `Details: ${nameOf(row)}`),
    html("p", {}, row.design),
    html("div", { class: "pair" }, curvesChart(found), capacityChart(found)),
    html("dl", {},
      ...[
        ["FLOPs as a function of N", found.form ?? "–"],
        ["growth", `${found.growth}, leading coefficient ${human(found.leading)}`],
        ["cheaper than full attention", found.crossover ?? "–"],
        ["search score", `${accuracy(row.search_accuracy)} (one seed), fresh seeds ${found.fresh.length}`],
        [`learning rates ahead ${atFirstRung}`, ahead(found, " decades", ": nothing was learned by then")],
        ["digest", row.digest],
      ].flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)])));
}

function curvesChart(found) {
  const points = found.runs.flatMap((run) => run.curve);
  if (!points.length) return note("No curve was kept.");
  const chart = new Chart({
    width: 480, height: 300, x: [0, Math.max(...points.map((p) => p[0]))], y: [0, 1.02],
    xLabel: "step", yLabel: "validation accuracy, mean of cells",
    label: "Validation accuracy by step, a line for each learning rate",
  });
  found.runs.forEach((run, i) => {
    const colour = COLOURS[i % COLOURS.length];
    const words = `rate ${run.rate}: ${run.verdict ? `${run.verdict}${run.audited ? ", finished all the same" : ""}` : run.outcome}`;
    chart.line(run.curve, { stroke: colour, class: run.is_scored ? "scored" : "other" });
    for (const step of run.rungs) {
      const at = run.curve.find((p) => p[0] === step);
      if (at) chart.mark(at[0], at[1], "small", { fill: colour, ...told([words, `rung at step ${step}: ${accuracy(at[1])}`]) });
    }
    const last = run.curve.at(-1);
    if (last) chart.text(last[0], last[1], String(run.rate), { style: `fill: ${colour}`, dx: -4, dy: -7, "text-anchor": "end" });
  });
  return html("figure", {}, chart.node, html("figcaption", {}, "Curves by learning rate; dots are rungs"));
}

function capacityChart(found) {
  if (!found.cells.length) return note("Not tested.");
  const cells = [...found.cells].sort((a, b) => a.load - b.load);
  const chart = new Chart({
    width: 480, height: 300, top: 50, xLog: true, x: around(cells.map((c) => c.load), true), y: [0, 1.02],
    xLabel: "length x pairs (log scale)", yLabel: "test accuracy",
    label: "Test accuracy by length times pairs, with intervals",
  });
  const bars = found.cells_vary_by === "seeds" ? "95 % over seeds" : "95 % of the queries of one seed";
  for (const c of cells) chart.head(c.load, c.label);
  chart.line(cells.map((c) => [c.load, c.accuracy]), { class: "step" });
  for (const c of cells) {
    chart.bar(c.load, c.low, c.high, { class: "interval", stroke: COLOURS[0] });
    chart.mark(c.load, c.accuracy, "small", { class: "member", ...told([`cell ${c.label}: ${accuracy(c.accuracy)}`, `${bars}: ${accuracy(c.low)} to ${accuracy(c.high)}`]) });
  }
  return html("figure", {}, chart.node, html("figcaption", {}, `Capacity: accuracy against the size of the task; bars: ${bars}`));
}

// the search

function hypervolumeChart() {
  const points = facts.hypervolume;
  if (points.length < 2) return;
  const chart = new Chart({
    height: 280, x: [0, points.at(-1)[0]], y: [0, Math.max(...points.map((p) => p[1])) * 1.05 || 1],
    xLabel: "hours of training, all workers together", yLabel: "hypervolume", format: (v) => String(v),
    label: "Hypervolume over training time",
  });
  const steps = points.flatMap((p, i) => (i ? [[p[0], points[i - 1][1]], p] : [p]));
  chart.line(steps, { class: "step" });
  section("Hypervolume over time", chart.node, note("By the scores of the search; confirmations come after it."));
}

function parallelChart() {
  const rows = facts.parallel;
  if (rows.length < 2) return;
  const [width, height, margin] = [720, 320, 40];
  const axes = [["d_model", false], ["depth", false], ["params", true], ["state", true], ["flops", true], ["accuracy", false]];
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Designs as lines through width, depth, parameters, state, FLOPs and accuracy" });
  const placed = axes.map(([name, log], i) => {
    const x = margin + (i * (width - 2 * margin)) / (axes.length - 1);
    const values = rows.map((r) => (log ? Math.max(1, r[name]) : r[name]));
    return { name, x, y: scale(around(values, log), [height - 50, 24], log), low: Math.min(...values), high: Math.max(...values) };
  });
  for (const row of rows) {
    const path = placed.map((a, i) => `${i ? "L" : "M"}${a.x} ${a.y(row[a.name])}`).join("");
    node.append(svg("path", { d: path, fill: "none", class: row.is_member ? "parallel member" : "parallel", ...told([`trial ${row.number}`, ...placed.map((a) => `${a.name} ${a.name === "accuracy" ? accuracy(row[a.name]) : human(row[a.name])}`)], row.is_member ? () => select(row.number) : null) }));
  }
  const text = (value, name) => (name === "accuracy" ? accuracy(value) : human(value));
  for (const a of placed)
    node.append(
      svg("line", { class: "axisline", x1: a.x, x2: a.x, y1: 24, y2: height - 50 }),
      svg("text", { class: "axis", x: a.x, y: height - 12, "text-anchor": "middle" }, a.name),
      svg("text", { class: "tick", x: a.x, y: 16, "text-anchor": "middle" }, text(a.high, a.name)),
      svg("text", { class: "tick", x: a.x, y: height - 32, "text-anchor": "middle" }, text(a.low, a.name)));
  section("Designs side by side", node, note("Each line is a design; the dark ones are on the front."));
}

function ratesTable() {
  const shown = [...members, ...references].filter((row) => (facts.details[String(row.number)]?.runs.length ?? 0) > 1);
  if (!shown.length) return;
  const rates = [...new Set(shown.flatMap((row) => facts.details[String(row.number)].runs.map((run) => run.rate)))].sort((a, b) => a - b);
  const rows = shown.map((row) => {
    const runs = facts.details[String(row.number)].runs;
    return [nameOf(row), ...rates.map((rate) => {
      const run = runs.find((one) => one.rate === rate);
      if (!run || !run.curve.length) return "–";
      const [step, value] = run.curve.at(-1);
      return html("span", { class: run.is_scored ? "scored" : "" }, `${accuracy(value)} at ${step}`);
    }), ahead(facts.details[String(row.number)])];
  });
  section("Learning rates", ratesChart(shown, rates), table([word("design"), ...rates.map((rate) => figure(String(rate))), figure(`decades ahead ${atFirstRung}`)], rows),
    note("Validation accuracy where each run ended; the one that is scored is bold, or ringed. The darker a " +
      `point the more accurate; bars are the rates that were ahead ${atFirstRung}, where they were first compared; ` +
      "no bar, and no verdict, where nothing was learned by then."));
}

function ratesChart(shown, rates) {
  const [width, left, height] = [720, 230, 26];
  const floor = height * shown.length + 8;
  const node = svg("svg", { viewBox: `0 0 ${width} ${floor + 40}`, role: "img", "aria-label": `Learning rates that were tried and those ahead ${atFirstRung}, a line for each design` });
  const windows = shown.flatMap((row) => facts.details[String(row.number)].window ?? []);
  const x = scale(around([...rates, ...windows], true), [left, width - 20], true);
  for (const rate of rates)
    node.append(
      svg("line", { class: "grid", x1: x(rate), x2: x(rate), y1: 4, y2: floor }),
      svg("text", { class: "tick", x: x(rate), y: floor + 16, "text-anchor": "middle" }, String(rate)));
  node.append(svg("text", { class: "axis", x: (left + width) / 2, y: floor + 34, "text-anchor": "middle" }, "learning rate (log scale)"));
  shown.forEach((row, i) => {
    const found = facts.details[String(row.number)];
    const y = height * (i + 0.5) + 4;
    const colour = COLOURS[row.number < 0 ? 1 : 0];
    node.append(svg("text", { class: "tick", x: left - 12, y: y + 4, "text-anchor": "end" }, nameOf(row)));
    if (found.window) node.append(svg("line", { class: "window", stroke: colour, x1: x(found.window[0]), x2: x(found.window[1]), y1: y, y2: y }));
    for (const run of found.runs) {
      if (!run.curve.length) continue;
      const [step, value] = run.curve.at(-1);
      node.append(svg("circle", { class: run.is_scored ? "rate scored" : "rate", cx: x(run.rate), cy: y, r: 6, fill: colour, stroke: colour, "fill-opacity": 0.05 + 0.95 * value, ...told([nameOf(row), `rate ${run.rate}: ${accuracy(value)} at step ${step}${run.is_scored ? ", scored" : ""}`]) }));
    }
  });
  return node;
}

function growthTable() {
  const rows = [...members, ...references].map((row) => {
    const found = facts.details[String(row.number)];
    return [nameOf(row), found.growth ?? "–", found.form ?? "–", found.crossover ?? "–"];
  });
  if (rows.length)
    section("Growth", table([word("design"), word("class"), word("FLOPs as a function of N"), word("cheaper than full attention")], rows),
      note("Closed forms, coefficients to six digits, of what can be told apart at the longest test (a window that covers all is attention), without embedding and head. Cheaper than the same design with full attention in each block; no latency was measured."));
}

function spentTables() {
  const spent = Object.entries(facts.spent.by_outcome);
  const decided = facts.decisions;
  const rate = (share) => (share.of ? `${share.number} of ${share.of} (95 % ${percent(share.low)} to ${percent(share.high)})` : "none was audited");
  const saved = (one) => percent(one.share) + (one.low === null ? "" : ` (95 % ${percent(one.low)} to ${percent(one.high)})`);
  section("Time and FLOPs",
    table([word("outcome"), figure("trials"), figure("time"), figure("training FLOPs")],
      spent.map(([name, one]) => [name, one.trials, duration(one.seconds), human(one.train_flops)])),
    html("dl", {}, ...[
      ["training FLOPs saved by races and stops", saved(decided.saved)],
      ["of what races leave, saved by stops", saved(decided.saved_by_stops)],
      ["runs that lost their race", `${decided.lost}; wrong choices: ${rate(decided.wrong_choices)}`],
      ["runs that were stopped", `${decided.stopped}; wrongful stops: ${rate(decided.wrongful_stops)}`],
      ["drop of the winners with fresh seeds", about.winners_curse === null ? "not confirmed" : accuracy(about.winners_curse)],
    ].flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)])));
  if (facts.spent.failures.length || facts.spent.violations.length)
    section("What did not train", table([word("reason"), figure("trials")],
      [...facts.spent.failures, ...facts.spent.violations.map(([name, n]) => [`infeasible: ${name}`, n])]));
}

function protocol() {
  const line = (name, value) => [html("dt", {}, name), html("dd", {}, value)];
  const training = about.training;
  section("Protocol",
    html("dl", {},
      ...line("task", `${about.task.name}, vocabulary ${about.task.vocab_size.toLocaleString("en")}, fillers ${about.task.fillers}; trained on ${about.task.cells.join(" ")}, tested on ${about.task.test_cells.join(" ")}`),
      ...line("training", `${training.steps.toLocaleString("en")} steps of ${training.batch_tokens.toLocaleString("en")} tokens at ${training.rates.join(", ")}`),
      ...line("search", `${about.sampler}, stopping ${about.stopping}, seed ${about.seed}; ${about.objectives.join(", ")}; ${about.constraints.join(", ") || "no constraints"}`),
      ...line("trials", Object.entries(about.counts).map(([name, n]) => `${n} ${name}`).join(", ") || "none"),
      ...line("versions", Object.entries(about.versions).map(([name, v]) => `${name} ${v}`).join(", ")),
      ...line("begun", about.created_at)),
    html("h3", {}, "To repeat it"),
    html("pre", {}, [about.command || "archsearch run SPACE.yaml",
      ...members.map((m) => `archsearch export ${about.directory} --trial ${m.number} && archsearch train ${about.directory}/exports/trial-${m.number}.yaml   # ${m.design}`)].join("\n")));
}

document.body.append(tip);
overview();
frontChart();
main.append(detailsNode);
drawDetails();
hypervolumeChart();
parallelChart();
ratesTable();
growthTable();
spentTables();
protocol();
document.body.dataset.ready = "true";
