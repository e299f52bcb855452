"use strict";
// The page: charts drawn when first looked at, hover labels, the drawing of a trial's network, and the table of trials.
(() => {
  const { make, readableCost, percent, diagram, yaml, TrialsTable, stateOf, plain } = smallnets;
  const KIND_WORDS = { front: "on the front", dominated: "dominated", stopped: "stopped early", failed: "failed", infeasible: "outside the limits" };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const coarse = matchMedia("(pointer: coarse)");

  // A name stays with its value on a line.
  const inWords = (pairs) => pairs.map(([key, value]) => `${key} ${value}`.trim().replaceAll(" ", "\u00a0")).join(", ");

  // Double clicks show what a chart showed first, and of one that left something out all there is, by turns.
  const config = ({ layout }) => ({
    responsive: true,
    doubleClick: coarse.matches ? false : layout.annotations?.length ? "reset+autosize" : "reset", // a tap counts as two clicks
    displayModeBar: coarse.matches ? false : "hover",
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { scale: 2 },
  });

  // Where a page's data come from: `figure(name)` and `model()` give promises. Here the file itself; a dashboard has its server.
  const file = {
    settings: () => read("settings"),
    figure: async (name) => read(`figure ${name}`),
    model: async () => (file.known ??= read("model")),
  };
  function read(id) {
    const element = document.getElementById(id);
    return element && JSON.parse(element.textContent);
  }

  class StudyPage {
    constructor(root, source) {
      this.root = root;
      this.source = source;
      this.settings = source.settings();
      this.cost = this.settings.cost;
      this.over = "trials";
      this.option = root.querySelector("[data-switch=option]").value;
      this.hidden = new Set(this.settings.hidden);
      this.figures = new Map();
      this.ended = new AbortController();
      this.parts = {};
      this.charts = [...root.querySelectorAll("[data-chart]")];
      this.detail = document.getElementById("detail");
      this.tip = document.getElementById("tip");
      this.table = new TrialsTable(root, (number) => this.open(number));
      this.listen();
      this.watch();
    }

    // Charts, and the table, are drawn when they come near what is seen.
    watch() {
      this.seen = new Set();
      this.observer = new IntersectionObserver((entries) => {
        for (const { target, isIntersecting } of entries)
          if (isIntersecting && !this.seen.has(target)) {
            this.seen.add(target);
            if (target.dataset.chart) this.draw(target);
            else this.fillTable();
          }
      }, { rootMargin: "250px" });
      const [first, ...others] = this.charts;
      for (const element of [...others, this.table.container]) this.observer.observe(element);
      this.seen.add(first); // at once: it need not wait for the rest of a large file to be read
      this.draw(first);
    }

    listen() {
      const { root } = this;
      root.addEventListener("change", ({ target }) => {
        const which = target.closest("[data-switch]")?.dataset.switch;
        if (which === "cost") this.showCost(target.value);
        if (which === "over") {
          this.over = target.value;
          this.redraw("hypervolume");
        }
        if (which === "option") {
          this.option = target.value;
          this.redraw("options");
        }
      });
      root.addEventListener("click", ({ target }) => {
        const legend = target.closest(".legend button");
        if (legend) this.toggle(legend.dataset.kind);
        const trial = target.closest("[data-trial]");
        if (trial) this.open(Number(trial.dataset.trial), trial);
      });
      const { signal } = this.ended;
      document.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && !this.detail.hidden) this.close();
      }, { signal });
      for (const query of [dark, narrow]) query.addEventListener("change", () => this.redraw(), { signal });
    }

    showCost(cost) {
      this.cost = cost;
      for (const table of this.root.querySelectorAll(".table[data-cost]")) table.hidden = table.dataset.cost !== cost;
      this.redraw("front");
      this.redraw("options");
    }

    toggle(kind) {
      this.hidden.has(kind) ? this.hidden.delete(kind) : this.hidden.add(kind);
      this.markLegend();
      this.redraw("front");
    }

    markLegend() {
      for (const button of this.root.querySelectorAll(".legend button"))
        button.setAttribute("aria-pressed", String(!this.hidden.has(button.dataset.kind)));
    }

    nameOf(chart) {
      const kind = chart.dataset.chart;
      if (kind === "front") return `front:${this.cost}`;
      if (kind === "options") return `options:${this.cost}:${this.option}`;
      return kind === "hypervolume" ? `hypervolume:${this.over}` : kind;
    }

    redraw(kind) {
      for (const chart of this.charts) if (this.seen.has(chart) && (!kind || chart.dataset.chart === kind)) this.draw(chart);
    }

    async draw(chart) {
      const name = this.nameOf(chart);
      if (!this.figures.has(name)) this.figures.set(name, this.source.figure(name));
      const figure = await this.figures.get(name);
      if (name !== this.nameOf(chart)) return; // another was asked for meanwhile
      const empty = !figure || figure.data.every((trace) => !(trace.x ?? trace.dimensions)?.length);
      chart.classList.toggle("empty", empty);
      if (empty && chart.dataset.chart !== "front") {
        Plotly.purge(chart);
        delete chart.dataset.listens;
        chart.replaceChildren(make("p", { class: "empty" }, "Nothing to show yet."));
      } else {
        chart.querySelector(":scope > .empty")?.remove();
        const layout = this.layout(figure, chart);
        chart.usualTicks = layout.xaxis?.dtick ?? null;
        await Plotly.react(chart, this.traces(figure, chart), layout, config(figure));
        if (!chart.dataset.listens) this.attach(chart);
      }
      chart.dataset.drawn = name;
      if (chart.dataset.chart === "options") this.listOptions();
    }

    // The figure's parts in the colours of the theme that is in force. Long arrays of numbers are passed on as they are.
    coloured(part) {
      if (!dark.matches) return part;
      if (typeof part === "string") return this.settings.dark[part] ?? part;
      if (Array.isArray(part)) return part.length && typeof part[0] === "number" ? part : part.map((inner) => this.coloured(inner));
      if (part === null || typeof part !== "object") return part;
      return Object.fromEntries(Object.entries(part).map(([key, inner]) => [key, DATA.has(key) ? inner : this.coloured(inner)]));
    }

    traces(figure, chart) {
      return figure.data.map((trace) => {
        const result = { ...this.coloured(trace) };
        if (chart.dataset.chart === "front") result.visible = !this.hidden.has(["area", "measured"].includes(trace.meta) ? "front" : trace.meta);
        if (trace.meta === "reference" && narrow.matches) result.mode = "markers"; // their names have no room
        if (chart.dataset.chart === "parallel" && narrow.matches) {
          result.dimensions = [...result.dimensions.slice(0, 3), result.dimensions.at(-1)].map((dimension) => ({
            ...dimension,
            ticktext: dimension.ticktext?.map((text) => (text.length > 12 ? `${text.slice(0, 11)}…` : text)),
          }));
        }
        return result;
      });
    }

    layout(figure, chart) {
      const layout = structuredClone(this.coloured(figure.layout));
      // A finger on the chart scrolls the page; a mouse draws the part to enlarge.
      layout.dragmode = coarse.matches ? false : "zoom";
      // What a reader has enlarged stays so while data, colours or sizes change; another axis begins anew.
      layout.uirevision = this.nameOf(chart);
      if (narrow.matches && layout.xaxis?.visible !== false) {
        layout.yaxis.title = { text: "" };
        layout.margin = { ...layout.margin, l: 2, r: 10 };
        layout.font = { ...layout.font, size: 12 };
        const [low, high] = layout.xaxis.range ?? [0, 0];
        if (layout.xaxis.dtick === "D2" && high - low > 1.6) layout.xaxis.dtick = 1; // labels at 2 and 5 have no room
        if (chart.dataset.chart === "importance") layout.yaxis.tickfont = { size: 10 };
        if (chart.dataset.chart === "effort") layout.xaxis.range[1] *= 1.25; // room for what stands beside the bars
      }
      if (narrow.matches && chart.dataset.chart === "parallel") layout.margin = { ...layout.margin, l: 50, r: 34 };
      return layout;
    }

    attach(chart) {
      chart.dataset.listens = "yes";
      const numberAt = (event) => event.points?.[0]?.customdata;
      chart.on("plotly_click", (event) => {
        const number = numberAt(event);
        if (Number.isInteger(number)) this.open(number);
      });
      if (chart.dataset.chart !== "front") return;
      chart.on("plotly_hover", (event) => this.showTip(numberAt(event), event.event));
      chart.on("plotly_unhover", () => (this.tip.hidden = true));
      chart.on("plotly_relayout", () => {
        // Labels at 1, 2 and 5 suit the whole range; an enlarged part is left to Plotly's own choice.
        const [low, high] = chart.layout.xaxis.range;
        const usual = high - low > 0.7 ? chart.usualTicks : null;
        if ((chart.layout.xaxis.dtick ?? null) !== usual) Plotly.relayout(chart, { "xaxis.dtick": usual });
      });
    }

    rowOf(model, number) {
      model.rows ??= new Map(model.columns.number.map((each, row) => [each, row]));
      return model.rows.get(number);
    }

    // Metrics of one trial as [name, value] pairs.
    figuresOf(model, row) {
      const cell = (name) => model.columns[name]?.[row];
      const pairs = [];
      if (cell("accuracy") != null) pairs.push(["Accuracy", percent(cell("accuracy"))]);
      if (cell("accuracy_mean") != null) {
        const seeds = cell("confirmations"), std = cell("accuracy_std");
        pairs.push([`Confirmed, ${seeds} seed${seeds === 1 ? "" : "s"}`, percent(cell("accuracy_mean")) + (std == null ? "" : ` ± ${percent(std)}`)]);
      }
      if (cell("accuracy_top5") != null) pairs.push(["Top-5", percent(cell("accuracy_top5"))]);
      for (const cost of model.costs)
        if (cell(cost.name) != null) pairs.push([cost.label, readableCost(cost, cell(cost.name))]);
      if (cell("measured_ms") != null) pairs.push(["Measured (ms)", cell("measured_ms").toPrecision(3)]);
      if (cell("reward") != null) pairs.push(["Reward", cell("reward").toFixed(3)]);
      if (cell("epochs") != null) pairs.push(["Epochs", String(cell("epochs"))]);
      if (cell("seconds") != null) pairs.push(["Trained for", `${cell("seconds").toFixed(1)} s`]);
      return pairs;
    }

    // Decisions by the part of the network they belong to: [part, [[name, value], ...]].
    decisionsOf(model, row) {
      const parts = new Map();
      for (const { name, short, values, codes } of model.decisions) {
        if (codes[row] < 0) continue;
        const [part, ...rest] = short.split(" ");
        const inside = rest.length > 0;
        const key = inside ? part : name.includes(".") ? name.split(".")[0] : "";
        if (!parts.has(key)) parts.set(key, []);
        const label = inside ? rest.at(-1) : short;
        parts.get(key).push([label === "block" ? "" : label, plain(values[codes[row]])]);
      }
      return [...parts];
    }

    titleOf(model, row, number) {
      const kind = model.kinds[this.cost]?.[number];
      const repeated = model.columns.duplicate_of?.[row];
      const state = repeated != null ? `seen before: repeats trial ${repeated}` : KIND_WORDS[kind] ?? stateOf(model, row);
      return [`Trial ${number}`, model.columns.name?.[row], state].filter(Boolean);
    }

    async showTip(number, event) {
      if (!Number.isInteger(number) || coarse.matches) return;
      this.hovered = number;
      const model = await this.source.model();
      const row = this.rowOf(model, number);
      if (this.hovered !== number || row === undefined) return;
      const [name, ...rest] = this.titleOf(model, row, number);
      const { tip } = this;
      const metrics = this.figuresOf(model, row).map(([key, value]) => make("div", {}, make("dt", {}, key), make("dd", {}, value)));
      const failure = model.columns.failure?.[row];
      const decisions = this.decisionsOf(model, row).map(([part, pairs]) =>
        make("p", {}, part && make("b", {}, `${part} `), inWords(pairs)));
      tip.replaceChildren(
        make("p", { class: "title" }, make("b", {}, name), ` · ${rest.join(" · ")}`),
        make("dl", {}, ...metrics),
        failure ? make("p", { class: "failure" }, failure.slice(0, 200)) : "",
        make("div", { class: "decisions" }, ...decisions),
      );
      tip.hidden = false;
      const { width, height } = tip.getBoundingClientRect();
      const left = event.clientX + 18 + width > innerWidth ? event.clientX - width - 18 : event.clientX + 18;
      tip.style.left = `${Math.max(8, left)}px`;
      tip.style.top = `${Math.max(8, Math.min(event.clientY - 20, innerHeight - height - 8))}px`;
    }

    // The panel with a trial's network, its YAML and the commands that go on from it.
    async open(number, from) {
      this.tip.hidden = true;
      const model = await this.source.model();
      const row = this.rowOf(model, number);
      if (row === undefined) return;
      if (this.detail.hidden) this.before = from ?? document.activeElement;
      this.opened = number;
      this.fillDetail(model, row, number);
      this.detail.hidden = false;
      this.root.inert = narrow.matches; // there the panel covers the page
      document.documentElement.classList.add("detailed");
      this.detail.scrollTop = 0;
      this.detail.focus({ preventScroll: true });
    }

    close() {
      this.detail.hidden = true;
      this.root.inert = false;
      this.opened = undefined;
      document.documentElement.classList.remove("detailed");
      this.before?.focus?.({ preventScroll: true });
    }

    fillDetail(model, row, number) {
      const [name, ...rest] = this.titleOf(model, row, number);
      const digest = model.columns.digest?.[row];
      const network = model.networks[digest];
      const neighbours = this.neighbours(model, number);
      const step = (to, label, sign) =>
        make("button", { type: "button", class: "step", disabled: to === undefined, "aria-label": label, onclick: () => this.open(to) }, sign);
      this.detail.replaceChildren(
        make("div", { class: "top" },
          make("h2", { id: "detail-title" }, name),
          step(neighbours[0], "The next cheaper of its kind", "‹"),
          step(neighbours[1], "The next dearer of its kind", "›"),
          make("button", { type: "button", class: "step", "aria-label": "Close", onclick: () => this.close() }, "×")),
        make("p", { class: "kind" }, rest.join(" · ")),
        make("dl", { class: "metrics" }, ...this.figuresOf(model, row).map(([key, value]) =>
          make("div", {}, make("dt", {}, key), make("dd", {}, value)))),
        model.columns.failure?.[row] ? make("p", { class: "failure" }, model.columns.failure[row]) : "",
        ...this.networkParts(model, number, digest, network),
        make("h3", {}, "Decisions"),
        make("div", { class: "decisions" }, ...this.decisionsOf(model, row).map(([part, pairs]) =>
          make("p", {}, part && make("b", {}, `${part} `), inWords(pairs)))),
      );
    }

    networkParts(model, number, digest, network) {
      if (!network) return [];
      const parts = [];
      if (network.problem)
        parts.push(make("p", { class: "failure" },
          `This network does not build under the code that made this page: ${network.problem}. `
          + "What the study stored of it stands below; the version of the code that ran the study builds it, "
          + "and so does one that brings the study's own blocks (imports=)."));
      else parts.push(make("h3", {}, "Network"), diagram(network, model.layers));
      if (!network.problem || network.description) {
        const text = yaml(network, model.layers);
        const file = `trial-${String(number).padStart(4, "0")}-${digest}.yaml`;
        const save = make("a", { class: "button", download: file, href: `data:text/yaml;charset=utf-8,${encodeURIComponent(text)}` }, "Save");
        parts.push(...this.commandParts(model, number, digest), make("h3", {}, "YAML"), this.code(text, save));
      }
      return parts;
    }

    commandParts(model, number, digest) {
      const { front, of, settings, train, placeholder, export: exporting } = model.commands;
      if (!train) return [];
      const own = `trial-${String(number).padStart(4, "0")}-${digest}`;
      const [file, exact] = front[number] ?? [];
      const folder = file ? `${String(number).padStart(4, "0")}-${digest}` : own;
      const training = exact ?? train.replaceAll(placeholder, own).replace(" train=long", ` train=long${settings[of[number]]}`);
      const first = file ? `It is the file ${file}.` : `Save the YAML below as ${own}.yaml first.`;
      return [
        make("h3", {}, "Train it in full, then export it"),
        make("p", { class: "note" }, first),
        this.code(training),
        this.code(exporting.replaceAll(placeholder, folder)),
      ];
    }

    code(text, ...buttons) {
      const copy = make("button", { type: "button", class: "button", onclick: async () => {
        await navigator.clipboard?.writeText(text).catch(() => {});
        copy.textContent = "Copied";
        document.getElementById("said").textContent = "Copied";
        setTimeout(() => (copy.textContent = "Copy"), 1500);
      } }, "Copy");
      return make("div", { class: "code" }, make("pre", { tabindex: "0" }, text), make("div", { class: "buttons" }, copy, ...buttons));
    }

    // The trials of the same kind just below and above in cost.
    neighbours(model, number) {
      const kinds = model.kinds[this.cost] ?? {};
      const costs = model.columns[this.cost];
      const same = Object.keys(kinds).map(Number).filter((other) => kinds[other] === kinds[number]);
      same.sort((a, b) => costs[this.rowOf(model, a)] - costs[this.rowOf(model, b)] || a - b);
      const at = same.indexOf(number);
      return at < 0 ? [] : [same[at - 1], same[at + 1]];
    }

    async fillTable() {
      this.table.update(await this.source.model());
    }

    async listOptions() {
      const model = await this.source.model();
      const options = model.options[this.cost]?.[this.option] ?? [];
      const head = ["Option", "Trials", "Best accuracy", "Hypervolume", "On its front"];
      const rows = options.map(([label, trials, best, volume, members]) =>
        make("tr", {}, make("td", {}, label), ...[String(trials), percent(best), volume.toPrecision(4), String(members)].map((text) =>
          make("td", { class: "number" }, text))));
      const place = this.root.querySelector("[data-table=options]");
      if (!options.length) return place.replaceChildren();
      place.replaceChildren(make("table", { class: "plain" },
        make("thead", {}, make("tr", {}, ...head.map((text, i) => make("th", { scope: "col", class: i ? "number" : "" }, text)))),
        make("tbody", {}, ...rows)));
    }

    // Lets go of everything outside the page's own elements.
    end() {
      this.ended.abort();
      this.observer.disconnect();
      for (const chart of this.charts) Plotly.purge(chart);
    }

    // New data while a search runs: the text at once, charts as far as they are seen. Whatever a reader set stays.
    async refresh(parts) {
      this.say(parts);
      this.figures.clear();
      this.redraw();
      if (this.seen.has(this.table.container)) await this.fillTable();
    }

    // Parts of the text, by name, as HTML that was escaped where it was made.
    say(parts) {
      for (const [name, html] of Object.entries(parts)) {
        if (this.parts[name] === html) continue;
        this.parts[name] = html;
        const place = this.root.querySelector(`[data-part=${name}]`);
        const [key, value] = (place.contains(document.activeElement) && Object.entries(document.activeElement.dataset)[0]) || [];
        const open = [...place.querySelectorAll("details")].map((details) => details.open);
        place.innerHTML = html;
        place.querySelectorAll("details").forEach((details, i) => (details.open = open[i] ?? details.open));
        if (key) place.querySelector(`[data-${key}="${CSS.escape(value)}"]`)?.focus({ preventScroll: true });
      }
      this.markLegend();
      for (const table of this.root.querySelectorAll(".table[data-cost]")) table.hidden = table.dataset.cost !== this.cost;
      if (parts.options !== undefined) this.chooseOption();
    }

    // Keeps the option that was chosen, where it is still there.
    chooseOption() {
      const select = this.root.querySelector("[data-switch=option]");
      const chosen = this.option;
      if ([...select.options].some(({ value }) => value === chosen)) select.value = chosen;
      this.option = select.value;
      if (this.option !== chosen) this.redraw("options");
    }
  }

  const DATA = new Set(["x", "y", "customdata", "hovertext", "values"]);

  smallnets.StudyPage = StudyPage;
  if (document.getElementById("settings")) smallnets.page = new StudyPage(document.getElementById("page"), file);
})();
