"use strict";
// The table of all trials: sorted by a click on a column, filtered by words and bounds, a page at a time.
(() => {
  const { make, readable, readableCost, percent } = smallnets;
  const ROWS = 50;
  const SHOWN = {
    number: String,
    duplicate_of: String,
    accuracy: percent,
    accuracy_top5: percent,
    accuracy_mean: percent,
    accuracy_std: percent,
    reward: (v) => v.toFixed(3),
    seconds: (v) => v.toFixed(1),
    measured_ms: (v) => v.toPrecision(3),
    latency_error: percent,
  };
  const HEADS = { number: "Trial", duplicate_of: "Repeats", accuracy_top5: "Top-5", accuracy_mean: "Confirmed", accuracy_std: "± std" };
  const BOUND = /^([\w.]+)(<=|>=|!=|<|>|=)(.+)$/;
  const OPEN_BOUND = /^([\w.]+)(<=|>=|!=|!|<|>|=)$/;

  // Columns of the model as {name, head, value(row), text(row), numeric}.
  function columnsOf(model) {
    const costs = new Map(model.costs.map((cost) => [cost.name, cost]));
    const metrics = Object.entries(model.columns).map(([name, values]) => {
      const numeric = values.some((value) => typeof value === "number");
      const cost = costs.get(name);
      const show = SHOWN[name] ?? (cost ? (value) => readableCost(cost, value) : numeric ? readable : String);
      return {
        name,
        numeric,
        head: HEADS[name] ?? cost?.label ?? capital(name),
        meaning: cost?.meaning,
        value: (row) => values[row],
        text: (row) => (name === "state" ? stateOf(model, row) : values[row] == null ? "" : show(values[row])),
      };
    });
    const decisions = model.decisions.map(({ name, short, values, codes }) => ({
      name,
      head: short,
      numeric: values.every((value) => typeof value === "number"),
      decision: true,
      value: (row) => (codes[row] < 0 ? null : values[codes[row]]),
      text: (row) => (codes[row] < 0 ? "" : plain(values[codes[row]])),
    }));
    return [...metrics, ...decisions];
  }

  const plain = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(4)) : String(value));
  const capital = (name) => (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");

  function stateOf(model, row) {
    const state = model.words[model.columns.state[row]];
    return model.columns.duplicate_of?.[row] == null ? state : `seen before, ${state}`;
  }

  // Whether a row holds every word and keeps every bound of the query; a bound that is being typed is not one yet. With it the
  // columns that the query names and nobody has.
  function matcher(query, columns) {
    const unknown = [];
    const byName = new Map(columns.flatMap((column) => [[column.name.toLowerCase(), column], [column.head.toLowerCase(), column]]));
    const tests = query.trim().split(/\s+/).filter(Boolean).map((word) => {
      if (OPEN_BOUND.test(word) && byName.has(word.match(OPEN_BOUND)[1].toLowerCase())) return () => true;
      const [, name, sign, text] = word.match(BOUND) ?? [];
      const column = byName.get(name?.toLowerCase());
      if (name && !column) unknown.push(name);
      if (!column) return (row) => columns.some((c) => c.text(row).toLowerCase().includes(word.toLowerCase()));
      const bound = Number(text);
      if (Number.isNaN(bound) || sign === "=" || sign === "!=") {
        const same = (row) => {
          const value = column.value(row);
          return value != null && (String(value).toLowerCase() === text.toLowerCase() || column.text(row).toLowerCase() === text.toLowerCase() || value === bound);
        };
        return sign === "!=" ? (row) => !same(row) : same;
      }
      const holds = { "<": (v) => v < bound, ">": (v) => v > bound, "<=": (v) => v <= bound, ">=": (v) => v >= bound }[sign];
      return (row) => typeof column.value(row) === "number" && holds(column.value(row));
    });
    return { unknown, matches: (row) => tests.every((test) => test(row)) };
  }

  class TrialsTable {
    constructor(root, open) {
      this.container = root.querySelector("[data-table=trials]");
      this.pages = root.querySelector("[data-table=pages]");
      this.text = root.querySelector("[data-filter=text]");
      this.state = root.querySelector("[data-filter=state]");
      this.open = open;
      this.sort = { name: "number", descending: true };
      this.page = 0;
      for (const input of [this.text, this.state])
        input.addEventListener("input", () => {
          this.page = 0;
          this.draw();
        });
    }

    // Takes in a model, keeping order, filters and page.
    update(model) {
      this.model = model;
      this.columns = columnsOf(model);
      this.count = model.columns.number.length;
      const states = [...new Set(Array.from({ length: this.count }, (_, row) => stateOf(model, row)))].sort();
      const chosen = this.state.value;
      this.state.replaceChildren(make("option", { value: "" }, "all"), ...states.map((state) => make("option", { value: state }, state)));
      this.state.value = states.includes(chosen) ? chosen : "";
      this.draw();
    }

    rows() {
      const { unknown, matches } = matcher(this.text.value, this.columns);
      this.unknown = unknown;
      const kept = Array.from({ length: this.count }, (_, row) => row).filter(
        (row) => (!this.state.value || stateOf(this.model, row) === this.state.value) && matches(row),
      );
      const column = this.columns.find(({ name }) => name === this.sort.name) ?? this.columns[0];
      const sign = this.sort.descending ? -1 : 1;
      const compare = (a, b) => {
        const [x, y] = [column.value(a), column.value(b)];
        if (x == null || y == null) return (x == null) - (y == null); // empty cells come last either way
        return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
      };
      return kept.sort((a, b) => compare(a, b) || a - b);
    }

    draw() {
      const rows = this.rows();
      const last = Math.max(0, Math.ceil(rows.length / ROWS) - 1);
      this.page = Math.min(this.page, last);
      const shown = rows.slice(this.page * ROWS, (this.page + 1) * ROWS);
      const focused = document.activeElement?.closest?.("th")?.dataset.column;
      const head = this.columns.map((column) => {
        const sorted = column.name === this.sort.name;
        const button = make("button", { type: "button", onclick: () => this.sortBy(column.name) }, column.head);
        return make("th", {
          scope: "col",
          title: column.meaning || false,
          class: column.numeric ? "number" : "",
          "data-column": column.name,
          "aria-sort": sorted ? (this.sort.descending ? "descending" : "ascending") : false,
        }, button);
      });
      const body = shown.map((row) =>
        make("tr", {}, ...this.columns.map((column) => {
          if (column.name === "number")
            return make("td", { class: "number" },
              make("button", { type: "button", class: "link", onclick: () => this.open(column.value(row)) }, column.text(row)));
          const text = column.text(row);
          return make("td", { class: column.numeric ? "number" : "text", title: text.length > 28 ? text : false }, text);
        })),
      );
      const { scrollLeft } = this.container;
      this.container.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
      this.container.scrollLeft = scrollLeft;
      if (focused) this.container.querySelector(`th[data-column=${CSS.escape(focused)}] button`)?.focus();
      const first = this.page * ROWS + 1;
      const turn = (by) => () => {
        this.page += by;
        this.draw();
      };
      this.pages.replaceChildren(
        make("button", { type: "button", disabled: this.page === 0, onclick: turn(-1) }, "Previous"),
        make("span", {}, rows.length ? `${first} to ${first + shown.length - 1} of ${rows.length}` : this.nothing()),
        make("button", { type: "button", disabled: this.page === last, onclick: turn(1) }, "Next"),
      );
    }

    nothing() {
      if (!this.count) return "No trial yet";
      return this.unknown.length ? `No trial matches, and there is no column ${this.unknown.join(", ")}` : "No trial matches";
    }

    sortBy(name) {
      const numeric = this.columns.find((column) => column.name === name)?.numeric;
      this.sort = { name, descending: this.sort.name === name ? !this.sort.descending : Boolean(numeric) };
      this.page = 0;
      this.draw();
    }
  }

  Object.assign(smallnets, { TrialsTable, stateOf, plain });
})();
